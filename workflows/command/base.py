"""The base class of the workflows: where outputs go, and whether to show progress."""

from dataclasses import dataclass
import logging
import os
from pathlib import Path
import sys

from dipy.workflows.workflow import Workflow

from dipy_vqvae.data import image_kind
from dipy_vqvae.storage import checkpoints_of
from dipy_vqvae.workflows.command import ranks
from dipy_vqvae.workflows.command.bids import Derivatives, sidecar_of
from dipy_vqvae.workflows.command.errors import UsageError
from dipy_vqvae.workflows.command.outputs import (
    check_distinct,
    check_existing,
    check_inputs_stay,
    make_folders,
    place_outputs,
)

logger = logging.getLogger("dipy_vqvae")

#: Papers that commands ask to cite, after DIPY's own.
VQVAE_PAPER = (
    "van den Oord, A., O. Vinyals, and K. Kavukcuoglu. Neural Discrete Representation "
    "Learning. Advances in Neural Information Processing Systems 30, 2017."
)
PIXELCNN_PAPER = (
    "van den Oord, A., N. Kalchbrenner, L. Espeholt, K. Kavukcuoglu, O. Vinyals, and A. "
    "Graves. Conditional Image Generation with PixelCNN Decoders. Advances in Neural "
    "Information Processing Systems 29, 2016."
)
ANOMALY_PAPER = (
    "Naval Marimont, S., and G. Tarroni. Anomaly Detection through Latent Space "
    "Restoration using Vector-Quantized Variational Autoencoders. 2021 IEEE 18th "
    "International Symposium on Biomedical Imaging, 2021."
)


@dataclass(frozen=True)
class OutputPlan:
    """Paths of all outputs of a workflow, by option; None for those left out."""

    single: dict  # of the whole command
    rows: list  # a dict for each input
    derivatives: object = None  # Derivatives, with --bids

    def describe(self, outputs, source, model, *, mask_file=None, is_masked=False):
        """Write the sidecars of the outputs of an input, with --bids.

        `source` is the input and `mask_file` its mask, or None; `is_masked` says that
        the input has a mask of its own. `model` identifies the model.
        """
        if self.derivatives is None:
            return
        sources = [source] if mask_file is None else [source, mask_file]
        is_masked = is_masked or mask_file is not None
        self.derivatives.describe(outputs, sources, model, is_masked=is_masked)


class VQVAEWorkflow(Workflow):
    """A DIPY workflow that does not overwrite files by accident.

    Subclasses call :meth:`plan_outputs` in ``run`` before any long work. They raise
    ``ValueError`` and ``OSError``; only the commands turn these into exit codes.
    """

    #: Name of the command without ``dipy_``.
    short_name = None
    #: What ``--help`` asks to cite.
    papers = (VQVAE_PAPER,)
    #: Whether every input file has outputs of its own.
    outputs_per_input = False

    @classmethod
    def get_short_name(cls):
        """Return the name of the workflow in DIPY's combined workflows."""
        return cls.short_name

    @property
    def verbose(self):
        """Whether to show progress bars: with messages of level INFO, on a terminal.

        In a log file, the lines of epochs and of outputs say how far a command is.
        """
        is_shown = ranks.is_first() and logger.isEnabledFor(logging.INFO)
        return is_shown and sys.stderr.isatty()

    def plan_outputs(
        self,
        outputs,
        *,
        out_dir="",
        inputs=(),
        per_input=None,
        trained=None,
        resumed=(),
        bids=False,
    ):
        """Resolve the output paths; refuse collisions and overwriting.

        Where there are several processes, the first one decides for all.

        Parameters
        ----------
        outputs : dict of str or None
            File name of every output of the whole command, by option; None for an
            output that is left out.
        out_dir : str or Path, optional
            Folder of the outputs.
        inputs : list of str or Path, optional
            All the files that the command reads.
        per_input : tuple of (list of Path, dict of str), optional
            The inputs that have outputs of their own, and the file names of those
            outputs by option.
        trained : str, optional
            Option of a model that is trained; its checkpoints are in the same folder.
        resumed : tuple of str, optional
            Options of the model and the history of a training that is continued.
            Those that it wrote before it was killed are overwritten.
        bids : bool, optional
            Write a dataset of BIDS derivatives to `out_dir`.

        Returns
        -------
        plan : OutputPlan
            The paths of the outputs.

        Raises
        ------
        UsageError
            If names collide, or are those of inputs.
        OSError
            If outputs exist and ``--force`` is not given, or cannot be written.
        """
        self._check_strategy(per_input, bids)
        inputs_of_rows, names = per_input or ([], {})
        out_dir = "" if out_dir is None else out_dir
        derivatives = self._derivatives(out_dir) if bids else None
        rows = self._place_rows(names, inputs_of_rows, out_dir, derivatives)
        (common,) = place_outputs(_without_none(outputs), out_dir=out_dir)
        files = [item for row in [common, *rows] for item in row.items()]
        if bids:
            files += [(o, sidecar_of(p)) for row in rows for o, p in row.items()]
        checkpoints = checkpoints_of(common[trained]) if trained else []
        touched = [*files, *((trained, path) for path in checkpoints)]
        check_distinct(touched)
        check_inputs_stay(touched, inputs)

        def check_and_make_folders():
            check_existing(files, force=self._force_overwrite, resumed=resumed)
            make_folders(files)
            if derivatives is not None:
                images = [path for path in inputs if image_kind(path)]
                sources = dict.fromkeys([*inputs_of_rows, *images])
                derivatives.start(sources, common.values(), names.values())

        ranks.first_decides(check_and_make_folders)
        self.flat_outputs = [path for _, path in files]
        self.last_generated_outputs = {**common, **(rows[0] if rows else {})}
        return OutputPlan(
            single={option: common.get(option) for option in outputs},
            rows=[{option: row.get(option) for option in names} for row in rows],
            derivatives=derivatives,
        )

    def _place_rows(self, names, inputs, out_dir, derivatives):
        """Return the outputs of each input by option."""
        names = _without_none(names)
        if derivatives is None:
            return place_outputs(
                names,
                out_dir=out_dir,
                inputs=inputs,
                strategy=self._output_strategy,
                mix_names=self._mix_names,
            )
        return [
            {o: derivatives.path(path, name) for o, name in names.items()}
            for path in inputs
        ]

    def _derivatives(self, out_dir):
        groups = getattr(self.run, "groups", ())
        docs = {n: s.doc for group in groups for n, s in group.options.items()}
        docs = {name: doc.partition(" Pass None")[0] for name, doc in docs.items()}
        root = Path(os.path.expanduser(out_dir) or ".")
        return Derivatives(root, f"dipy_{self.short_name}", docs)

    def _check_strategy(self, per_input, bids):
        """Refuse DIPY's options for outputs of each input where there are none."""
        if self._output_strategy not in ("absolute", "append", "prepend"):
            raise UsageError(
                "--out_strat must be absolute, append or prepend, got "
                f"{self._output_strategy!r}"
            )
        if bids and (self._output_strategy != "absolute" or self._mix_names):
            raise UsageError("--bids and --out_strat or --mix_names exclude each other")
        if not per_input and (self._output_strategy != "absolute" or self._mix_names):
            raise UsageError(
                "--out_strat and --mix_names are for commands that write outputs for "
                "each input; use --out_dir"
            )


def _without_none(names):
    return {option: name for option, name in names.items() if name is not None}

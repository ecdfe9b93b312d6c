"""The workflow that fits a prior to the codes of images."""

from dataclasses import replace
from functools import partial
import logging

import numpy as np

from dipy_vqvae.settings import (
    PIXELCNN,
    PIXELCNN_TRAINING,
    Any,
    Flag,
    Integer,
    Setting,
)
from dipy_vqvae.workflows.coding import encode_files
from dipy_vqvae.workflows.command import (
    CARD,
    HTML,
    INPUT_FILES,
    MASK_FILES,
    OUT_DIR,
    PIXELCNN_PAPER,
    RESUME,
    SLICE_AXIS,
    VALIDATION_FILES,
    VALIDATION_FRACTION,
    VALIDATION_MASK_FILES,
    VQVAE_FILE,
    VQVAE_PAPER,
    Group,
    UsageError,
    VQVAEWorkflow,
    announce,
    as_list,
    check_device,
    existing_file,
    model_file,
    options_of,
    output,
    settings_from,
    takes_options,
)
from dipy_vqvae.workflows.conditions import (
    CLASSES_ENTRY,
    SLICE_POSITION,
    read_conditions,
)
from dipy_vqvae.workflows.fitting import (
    TrainingJob,
    fit_or_load,
    plan_training,
    write_report,
)
from dipy_vqvae.workflows.inputs import (
    check_validation,
    choose_held_out,
    find_files,
)
from dipy_vqvae.workflows.reading import reading_of, view_of

logger = logging.getLogger("dipy_vqvae")

# Entry of a prior's description: fingerprints of what it was fitted to.
_DATA_ENTRY = "given"
_DATA_NAMES = tuple(
    f"{prefix}{name}"
    for prefix in ("", "validation_")
    for name in ("codes", "mask", "labels")
)
_OF_TRAINING = PIXELCNN.only("random_seed", "use_cuda", "mixed_precision")


class FitPixelCNNFlow(VQVAEWorkflow):
    """Fit a prior to codes, see :class:`dipy_vqvae.PixelCNNModel`."""

    short_name = "fit_pixelcnn"
    papers = (VQVAE_PAPER, PIXELCNN_PAPER)

    @takes_options(
        Group(
            "What goes in",
            {
                "vqvae_file": VQVAE_FILE,
                "input_files": INPUT_FILES,
                "mask_files": replace(
                    MASK_FILES,
                    doc=f"{MASK_FILES.doc} Only codes of blocks inside count.",
                ),
                "label_file": Setting(
                    None,
                    Any(),
                    "Class of each image, to sample by class: an idx or .npy file, or "
                    "text with one integer per line, in the order of the images.",
                ),
                "condition": Setting(
                    None,
                    Any("list of str", "variable string"),
                    "What the prior is conditioned on: slice_position (where a slice "
                    "of a 2D model lies in its volume, or in the mask's part of it, "
                    "from 0 to 1) and columns of the participants table. Columns of "
                    "numbers are covariates; one column of words gives classes.",
                ),
                "participants": Setting(
                    None,
                    Any(),
                    "Table of subjects, tab-separated, with a column participant_id, "
                    "such as the participants.tsv of BIDS. A file belongs to the "
                    "participant_id that is in its path.",
                ),
                "validation_files": VALIDATION_FILES,
                "validation_mask_files": VALIDATION_MASK_FILES,
                "validation_label_file": Setting(
                    None, Any(), "Classes of validation_files, as label_file."
                ),
                "validation_fraction": replace(
                    VALIDATION_FRACTION,
                    doc=f"{VALIDATION_FRACTION.doc} With the files and the random_seed "
                    "of dipy_fit_vqvae, those that it held out.",
                ),
                "slice_axis": SLICE_AXIS,
                "skip_empty": Setting(
                    False, Flag(), "Leave out images with one value only."
                ),
                "n_shifts": Setting(
                    0,
                    Integer(0),
                    "Number of copies of each image, moved by up to half a block, "
                    "whose codes are training data as well; they reduce overfitting. "
                    "Each copy takes as long to encode as the images.",
                ),
            },
        ),
        Group("The model", options_of(PIXELCNN.without(*_OF_TRAINING))),
        Group(
            "The training",
            {
                **options_of(
                    PIXELCNN_TRAINING.only("n_epochs", "max_seconds", "patience")
                ),
                "resume": RESUME,
                **options_of(_OF_TRAINING),
                **options_of(PIXELCNN_TRAINING),
            },
        ),
        Group(
            "What comes out",
            {
                "out_dir": OUT_DIR,
                "out_pixelcnn": output(
                    "pixelcnn.safetensors", "The prior.", is_result=True
                ),
                "out_history": output(
                    "pixelcnn_history.json",
                    "Losses by epoch, as JSON.",
                ),
                "out_report": output(
                    "pixelcnn_report.html",
                    "Report, as one HTML file: a verdict with the option to try next, "
                    "samples, code lengths, loss curves. "
                    "The samples are also put into the report of dipy_fit_vqvae, if "
                    "it is in the folder of the VQ-VAE.",
                    HTML,
                ),
                **CARD,
            },
        ),
    )
    def run(self, options):
        """Fit a PixelCNN: the probability of each code given those before it.

        The images are encoded file by file; only their codes are kept in memory.
        During the training its state is saved in a checkpoint, in the folder of the
        model (the model's name and .checkpoint). It is removed when the model is
        written.
        """
        _check_together(options)
        vqvae_file = model_file(options.vqvae_file, kind="vqvae")
        files = find_files(options)
        labels = [
            existing_file(path, kind="label file")
            for path in (options.label_file, options.validation_label_file)
            if path
        ]
        table = None
        if options.participants:
            table = existing_file(options.participants, kind="table of participants")
            labels.append(table)
        conditions = read_conditions(options, files, table)
        outputs = plan_training(
            self, options, inputs=[vqvae_file, *labels, *files.all()]
        )
        encoded = [*files.images, *(files.held_out or [])]
        announce("Encoding the images of", encoded, vqvae_file)
        options.use_cuda = check_device(options.use_cuda)
        from dipy_vqvae import VQVAEFit

        fit = VQVAEFit.load(vqvae_file, use_cuda=options.use_cuda)
        if SLICE_POSITION in as_list(options.condition) and fit.spatial_dims == 3:
            raise UsageError("--condition slice_position is for models of 2D images")
        reading = reading_of(fit, slice_axis=options.slice_axis)
        training, validation = self._encode(fit, files, reading, conditions, options)
        logger.info(
            "Training on %d grids of %s codes",
            len(training),
            training.describe_grids(),
        )
        job = _job(fit, training, validation, conditions, options)
        prior, is_new = fit_or_load(self, job, outputs, options=options)

        def report():
            return _report(fit, prior, training, validation, reading, vqvae_file)

        write_report(outputs.report, report, is_new=is_new)

    def _encode(self, fit, files, reading, conditions, options):
        """Return the codes of the training images and of held-out ones, or None."""
        from dipy_vqvae.vqvae import small_shifts

        encode = partial(
            encode_files,
            fit,
            reading=reading,
            skip_empty=options.skip_empty,
            verbose=self.verbose,
        )
        training = encode(
            files.images,
            mask_files=files.masks,
            label_file=options.label_file,
            conditions=conditions.training,
            shifts=small_shifts(options.n_shifts, fit.config.downsampling),
        )
        validation = None
        if files.held_out:
            validation = encode(
                files.held_out,
                mask_files=files.held_out_masks,
                label_file=options.validation_label_file,
                conditions=conditions.held_out,
            )
        elif options.validation_fraction:
            held_out = choose_held_out(
                files.images,
                options.validation_fraction,
                random_seed=options.random_seed,
            )
            training, validation = training.split(held_out)
        if validation is not None and training.grids != validation.grids:
            # Grids of one shape have an outside only with masks.
            training = training.with_masks()
            validation = validation.with_masks()
        return training, validation


def _check_together(options):
    """Refuse options that exclude each other, and those that need another."""
    if options.kind == "plain" and options.n_attention:
        raise UsageError("--n_attention is for --kind gated")
    if options.participants and not as_list(options.condition):
        raise UsageError("--participants requires --condition: name its columns")
    check_validation(options, "validation_label_file", "validation_mask_files")
    has_labels = bool(options.label_file), bool(options.validation_label_file)
    if as_list(options.validation_files) and has_labels[0] != has_labels[1]:
        raise UsageError(
            "--label_file and --validation_label_file go together where there are "
            "--validation_files"
        )


def _job(fit, training, validation, conditions, options):
    """Return the training that the options ask for."""
    from dipy_vqvae import PixelCNNFit, PixelCNNModel
    from dipy_vqvae.training import TrainingOptions
    from dipy_vqvae.vqvae import CODEBOOK_ENTRY, codebook_fingerprint

    model = PixelCNNModel(n_codes=fit.n_codes, **settings_from(PIXELCNN, options))
    settings = settings_from(PIXELCNN_TRAINING, options)
    data = {"codes": training.joined_codes(), **training.options()}
    variants = training.joined_variants()
    if validation is not None:
        data["validation_codes"] = validation.joined_codes()
        data.update(validation.options("validation_"))
    entries = {
        _DATA_ENTRY: {name: _fingerprints(data.get(name)) for name in _DATA_NAMES},
        CODEBOOK_ENTRY: codebook_fingerprint(fit),
    }
    if variants:
        data["variants"] = variants
        entries[_DATA_ENTRY]["variants"] = [_fingerprints(v) for v in variants]
    if conditions.classes:
        entries[CLASSES_ENTRY] = conditions.classes
    for name in ("covariates", "validation_covariates"):
        if name in data:
            columns = data[name].items()
            entries[_DATA_ENTRY][name] = {n: _fingerprints(v) for n, v in columns}

    def expected():
        training_options = TrainingOptions(**settings, random_seed=options.random_seed)
        return {
            "model": model.of_consequence(),
            "fitting": training_options.of_consequence(),
            **entries,
        }

    return TrainingJob(
        model=model,
        data={**data, "spatial_dims": fit.spatial_dims},
        training=settings,
        load=partial(PixelCNNFit.load, use_cuda=options.use_cuda),
        expected=expected,
        describe=lambda prior: prior.description.update(entries),
        n_items=len(training),
        items=f"grids of {training.describe_grids()} codes",
        unit="nats per code",
    )


def _fingerprints(arrays):
    """Return the fingerprints of an array or of a list of arrays, or None."""
    from dipy_vqvae.storage import fingerprint

    if arrays is None:
        return None
    arrays = arrays if isinstance(arrays, (list, tuple)) else [arrays]
    return [fingerprint(np.asarray(array)) for array in arrays]


def _report(fit, prior, training, validation, reading, vqvae_file):
    """Return the report, and put its samples into that of the VQ-VAE."""
    from dipy_vqvae.report import prior_report, put_samples
    from dipy_vqvae.vqvae import codebook_fingerprint

    report = prior_report(
        fit,
        prior,
        training,
        held_out=validation,
        view=view_of(reading, fit.spatial_dims),
    )
    fingerprint = codebook_fingerprint(fit)
    for path in put_samples(vqvae_file.parent, fingerprint, report.samples):
        logger.info("Put samples into %s", path)
    return report

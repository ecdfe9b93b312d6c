"""The workflow that describes a model file."""

import json
import logging

from dipy_vqvae.settings import Any, Choice, Flag, Setting
from dipy_vqvae.workflows.command import (
    Group,
    UsageError,
    VQVAEWorkflow,
    model_file,
    refuse_several,
    takes_options,
)

logger = logging.getLogger("dipy_vqvae")


class DescribeVQVAEFlow(VQVAEWorkflow):
    """Show the card of a model, see :func:`dipy_vqvae.models.model_card`."""

    short_name = "describe_vqvae"
    papers = ()

    @takes_options(
        Group(
            "What goes in",
            {
                "model_file": Setting(
                    None,
                    Any(),
                    "File of a VQ-VAE or of a prior, or the name of a model, such as "
                    "mnist.",
                    is_required=True,
                ),
                "kind": Setting(
                    None,
                    Choice("vqvae", "pixelcnn"),
                    "Which file of a named model; by default all of them.",
                ),
            },
        ),
        Group(
            "What comes out",
            {"json": Setting(False, Flag(), "Write JSON instead of text.")},
        ),
    )
    def run(self, options):
        """Show what the file of a model says of it: its model card.

        Kind and settings, training data, held-out figures, bits per image, licence and
        intended use, as far as the fitting commands were told.
        """
        refuse_several("dipy_describe_vqvae")
        from dipy_vqvae.models import model_card
        from dipy_vqvae.storage import named_models

        names, name = named_models(), options.model_file
        if name in names:
            kinds = list(names[name].files)
            if options.kind is not None and options.kind not in kinds:
                raise UsageError(f"--kind: {name} has {', '.join(kinds)}")
            kinds = [options.kind] if options.kind else kinds
            cards = [model_card(name, kind=kind) for kind in kinds]
        else:
            path = model_file(name, kind=options.kind)
            cards = [model_card(path, kind=options.kind)]
        if options.json:
            entries = [card.to_dict() for card in cards]
            entries = entries[0] if len(entries) == 1 else entries
            logger.info("%s", json.dumps(entries, indent=1))
        else:
            logger.info("%s", "\n\n".join(map(str, cards)))

"""The workflow that fits a VQ-VAE to images."""

from functools import partial
import logging

import numpy as np

from dipy_vqvae.settings import (
    VQVAE,
    VQVAE_TRAINING,
    Choice,
    Flag,
    Setting,
    Settings,
    SliceAxis,
)
from dipy_vqvae.workflows.command import (
    CARD,
    HTML,
    INPUT_FILES,
    MASK_FILES,
    OUT_DIR,
    RESUME,
    VALIDATION_FILES,
    VALIDATION_FRACTION,
    VALIDATION_MASK_FILES,
    Group,
    UsageError,
    VQVAEWorkflow,
    check_device,
    options_of,
    output,
    settings_from,
    takes_options,
)
from dipy_vqvae.workflows.fitting import (
    TrainingJob,
    description_of,
    fit_or_load,
    plan_training,
    write_report,
)
from dipy_vqvae.workflows.inputs import (
    check_validation,
    choose_held_out,
    find_files,
    masks_or_none,
)
from dipy_vqvae.workflows.reading import describe_shapes

logger = logging.getLogger("dipy_vqvae")

# What the loss is relative to, by kind of loss.
_UNITS = {
    "mse": "of squared error, where 1 is the variance of the images",
    "mae": "of absolute error, where 1 is the standard deviation of the images",
}
# Settings of the model that say how it is trained.
_OF_TRAINING = VQVAE.only("random_seed", "use_cuda", "mixed_precision")
_OF_MODEL = VQVAE.without("spatial_dims", *_OF_TRAINING)
_OF_IMAGES = Settings(
    spatial_dims=VQVAE["spatial_dims"],
    slice_axis=Setting(
        2,
        SliceAxis(),
        "Slices of NIfTI volumes: of a plane, which the affine of each file tells, or "
        "along an axis of the stored array.",
    ),
    volumes_as=Setting(
        "images",
        Choice("images", "channels"),
        "The volumes of a 4D NIfTI file are images or channels.",
    ),
    skip_empty=Setting(
        False, Flag(), "Leave images with one value only out of the training."
    ),
)


class FitVQVAEFlow(VQVAEWorkflow):
    """Fit a VQ-VAE to images, see :class:`dipy_vqvae.VQVAEModel`."""

    short_name = "fit_vqvae"

    @takes_options(
        Group(
            "What goes in",
            {
                "input_files": INPUT_FILES,
                "mask_files": MASK_FILES,
                "validation_files": VALIDATION_FILES,
                "validation_mask_files": VALIDATION_MASK_FILES,
                "validation_fraction": VALIDATION_FRACTION,
                **_OF_IMAGES,
            },
        ),
        Group("The model", options_of(_OF_MODEL)),
        Group(
            "The training",
            {
                **options_of(
                    VQVAE_TRAINING.only("n_epochs", "max_seconds", "patience")
                ),
                "resume": RESUME,
                **options_of(_OF_TRAINING),
                **options_of(VQVAE_TRAINING),
            },
        ),
        Group(
            "What comes out",
            {
                "out_dir": OUT_DIR,
                "out_vqvae": output("vqvae.safetensors", "The model.", is_result=True),
                "out_history": output(
                    "vqvae_history.json",
                    "Losses by epoch, as JSON.",
                ),
                "out_report": output(
                    "report.html",
                    "Report, as one HTML file: a verdict with the option to try next, "
                    "originals and reconstructions (held-out ones, if there are any), "
                    "loss curves, codebook usage, spatial distribution of the codes, "
                    "rate.",
                    HTML,
                ),
                **CARD,
            },
        ),
    )
    def run(self, options):
        """Fit a VQ-VAE: an encoder to a grid of discrete codes, and a decoder.

        During the training its state is saved in a checkpoint, in the folder of the
        model (the model's name and .checkpoint). It is removed when the model is
        written.
        """
        _check_together(options)
        files = find_files(options)
        outputs = plan_training(self, options, inputs=files.all())
        options.use_cuda = check_device(options.use_cuda)
        training, validation = _open(files, options)
        logger.info("Training on %s", _describe(training, options))
        job = _job(training, validation, options)
        fit, is_new = fit_or_load(self, job, outputs, options=options)

        def report():
            from dipy_vqvae.report import vqvae_report

            shown = training if validation is None else validation
            return vqvae_report(fit, shown, held_out=validation is not None)

        write_report(outputs.report, report, is_new=is_new)


def _check_together(options):
    """Refuse options that exclude each other."""
    check_validation(options, "validation_mask_files")
    if options.patch_shape is None:
        return
    for name in ("rate_weight", "n_decoder_epochs"):
        if getattr(options, name):
            raise UsageError(f"--patch_shape and --{name} exclude each other")


def _open(files, options):
    """Open the training images and the held-out ones, or None."""
    from dipy_vqvae.data import open_images

    reading = {name: getattr(options, name) for name in _OF_IMAGES}
    masks = masks_or_none(files.masks)
    training = open_images(files.images, mask_files=masks, **reading)
    if files.held_out:
        masks = masks_or_none(files.held_out_masks)
        return training, open_images(files.held_out, mask_files=masks, **reading)
    if not options.validation_fraction:
        return training, None
    held_out = choose_held_out(
        files.images, options.validation_fraction, random_seed=options.random_seed
    )
    is_held_out = np.isin(list(map(str, files.images)), list(map(str, held_out)))
    return (
        training.select(np.flatnonzero(~is_held_out)),
        training.select(np.flatnonzero(is_held_out)),
    )


def _job(training, validation, options):
    """Return the training that the options ask for."""
    from dipy_vqvae import VQVAEFit, VQVAEModel
    from dipy_vqvae.training import TrainingOptions

    model = VQVAEModel(**settings_from(VQVAE, options))
    settings = settings_from(VQVAE_TRAINING, options)

    def expected():
        patch_shape, training_options = settings["patch_shape"], dict(settings)
        del training_options["n_decoder_epochs"], training_options["patch_shape"]
        joint = TrainingOptions(**training_options, random_seed=options.random_seed)
        return {
            "model": model.of_consequence(),
            "n_decoder_epochs": settings["n_decoder_epochs"],
            "fitting": {**joint.of_consequence(), "patch_shape": patch_shape},
            "training_images": description_of(training, model),
            "validation_images": description_of(validation, model, held_out=True),
        }

    return TrainingJob(
        model=model,
        data={"images": training, "validation_images": validation},
        training=settings,
        load=partial(VQVAEFit.load, use_cuda=options.use_cuda),
        expected=expected,
        n_items=len(training),
        items=f"images of {describe_shapes(training.shapes)}",
        unit=_UNITS[options.loss],
    )


def _describe(images, options):
    """Describe the images of a training and their codes in words."""
    from dipy_vqvae.data import padded_shape, plane_of_files
    from dipy_vqvae.settings import per_axis

    plane = plane_of_files(images.files) if options.spatial_dims == 2 else None
    kind = f"images ({plane} slices)" if plane else "images"
    shapes, n_files = describe_shapes(images.shapes), len(images.files)
    factors = per_axis("downsampling", options.downsampling, options.spatial_dims)
    grids = [
        [n // f for n, f in zip(padded_shape(shape, factors), factors)]
        for shape in set(images.shapes)
    ]
    return (
        f"{len(images)} {kind} of {shapes} from {n_files} file{'s' * (n_files > 1)}, "
        f"each in {describe_shapes(grids)} codes"
    )

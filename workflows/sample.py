"""The workflow that samples new images."""

from dataclasses import replace
import logging

import numpy as np

from dipy_vqvae.settings import PIXELCNN, Any, Integer, Real, Setting
from dipy_vqvae.workflows.command import (
    NIFTI,
    OUT_DIR,
    PIXELCNN_FILE,
    PIXELCNN_PAPER,
    PNG,
    USE_CUDA,
    VQVAE_FILE,
    VQVAE_PAPER,
    Group,
    UsageError,
    VQVAEWorkflow,
    announce,
    check_device,
    existing_file,
    is_first,
    model_file,
    output,
    share_rows,
    takes_options,
)
from dipy_vqvae.workflows.reading import reading_of, view_of
from dipy_vqvae.workflows.sample_conditions import conditions_of_samples

logger = logging.getLogger("dipy_vqvae")

# By number of spatial dimensions: volumes take longer.
_N_SAMPLES = {2: 100, 3: 8}
# Images in the mosaic; more cannot be told apart in one picture.
_MAX_IN_MOSAIC = 400
_TILE_PIXELS = 56


class SampleVQVAEFlow(VQVAEWorkflow):
    """Sample images from a prior, see :class:`dipy_vqvae.PixelCNNFit`."""

    short_name = "sample_vqvae"
    papers = (VQVAE_PAPER, PIXELCNN_PAPER)
    #: Conditions of the prior may be given as options: ``--age 40``.
    takes_conditions = True

    @takes_options(
        Group(
            "What goes in",
            {
                "vqvae_file": VQVAE_FILE,
                "pixelcnn_file": replace(
                    PIXELCNN_FILE,
                    doc=f"{PIXELCNN_FILE.doc} A VQ-VAE that is named has one.",
                    is_required=False,
                    is_positional=True,
                ),
                "mask_file": Setting(
                    None,
                    Any(),
                    "Mask, nonzero inside, with the shape of an image, for a prior "
                    "that was fitted with masks. Codes are drawn inside only, and the "
                    "samples are zero outside. For a 2D model, the slices of the mask "
                    "are used in turn.",
                ),
            },
        ),
        Group(
            "The samples",
            {
                "n_samples": Setting(
                    None,
                    Integer(1),
                    "Number of images to sample; by default 100 slices or 8 volumes.",
                ),
                "temperature": Setting(
                    1.0,
                    Real(0),
                    "Sampling temperature: 1 for the probabilities of the prior, less "
                    "for more probable images, 0 for the most probable code at every "
                    "position (all samples are then equal).",
                ),
                "label": Setting(
                    None,
                    Any("int or list of int", "variable int"),
                    "Classes of the samples, for a prior that was fitted with labels: "
                    "one for all samples, or several that are used in turn. By "
                    "default they are drawn at random.",
                ),
                "condition": Setting(
                    None,
                    Any("list of str", "variable string"),
                    "Conditions of the samples, as name=value or name=value,value: "
                    "covariates of the prior, and names of its classes. Several "
                    "values are used in turn. --age 40 60 is the same as --condition "
                    "age=40,60. By default covariates are drawn from the training's "
                    "range.",
                ),
                "top_k": Setting(
                    None,
                    Integer(1),
                    "Draw from so many of the likeliest codes only. Like top_p and "
                    "other temperatures, this changes the distribution.",
                ),
                "top_p": Setting(
                    1.0,
                    Real(0, 1, is_low_open=True),
                    "Draw from the fewest codes whose probabilities sum to this.",
                ),
                "random_seed": replace(
                    PIXELCNN["random_seed"],
                    doc="Seed of all random numbers; the same seed gives the same "
                    "samples.",
                    help=None,
                ),
                "batch_size": Setting(
                    256,
                    Integer(1),
                    "Grids of codes to draw at a time; lower it if memory runs out.",
                ),
                "use_cuda": USE_CUDA,
            },
        ),
        Group(
            "What comes out",
            {
                "out_dir": OUT_DIR,
                "out_samples": output(
                    "samples.nii.gz",
                    "The samples as float32 NIfTI, with the voxel size of the "
                    "training images: 2D images are stacked along the third axis, "
                    "volumes along the fourth, with the affine of the training images "
                    "if these have the same one.",
                    NIFTI,
                ),
                "out_mosaic": output(
                    "samples.png", "The first samples side by side.", PNG
                ),
            },
        ),
    )
    def run(self, options):
        """Sample images: draw codes from a PixelCNN, and decode them with a VQ-VAE."""
        vqvae_file, pixelcnn_file = _model_files(options)
        mask_file = options.mask_file
        if mask_file:
            mask_file = existing_file(mask_file, kind="mask")
        plan = self.plan_outputs(
            {
                "out_samples": options.out_samples,
                "out_mosaic": options.out_mosaic,
            },
            out_dir=options.out_dir,
            inputs=[vqvae_file, pixelcnn_file, *filter(None, [mask_file])],
        )
        announce("Sampling", [], vqvae_file, pixelcnn_file)
        use_cuda = check_device(options.use_cuda)
        from dipy_vqvae.prior import PixelCNNFit
        from dipy_vqvae.vqvae import VQVAEFit, check_pair

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        prior = PixelCNNFit.load(pixelcnn_file, use_cuda=use_cuda)
        check_pair(fit, prior, vqvae_name=vqvae_file, prior_name=pixelcnn_file)
        if options.n_samples is None:
            options.n_samples = _N_SAMPLES[fit.spatial_dims]
        reading = reading_of(fit)
        masks = None
        if mask_file:
            masks = read_masks(mask_file, fit, reading, options.n_samples)
        if options.top_k is not None and options.top_k > prior.n_codes:
            raise UsageError(
                f"--top_k must be at most {prior.n_codes}, the number of codes, got "
                f"{options.top_k}"
            )
        wanted = conditions_of_samples(options, prior)
        codes = _draw_codes(
            prior,
            options.n_samples,
            labels=wanted.labels,
            covariates=wanted.covariates,
            inside=None if masks is None else fit.positions_inside(masks),
            random_seed=options.random_seed,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            batch_size=options.batch_size,
            verbose=self.verbose,
        )
        if not is_first():
            return
        images = _decode(fit, codes, masks)
        if plan.single["out_samples"]:
            _save_samples(plan.single["out_samples"], images, fit, reading)
        if plan.single["out_mosaic"]:
            _save_mosaic(
                plan.single["out_mosaic"], images, fit, reading, wanted.n_columns
            )


def _model_files(options):
    """Return the paths of the VQ-VAE and of its prior."""
    from dipy_vqvae.storage import named_models

    vqvae, prior = options.vqvae_file, options.pixelcnn_file
    vqvae_file = model_file(vqvae, kind="vqvae")
    if prior is None and vqvae not in named_models():
        raise UsageError(
            f"pixelcnn_file is missing: give the prior for the codes of {vqvae}, as "
            "written by dipy_fit_pixelcnn"
        )
    return vqvae_file, model_file(vqvae if prior is None else prior, kind="pixelcnn")


def read_masks(path, fit, reading, n):
    """Read masks for n samples, as (n, *spatial) bool.

    The masks of the file that are not empty are used in turn.
    """
    from dipy_vqvae.data import open_images

    masks = open_images(
        [path], spatial_dims=fit.spatial_dims, slice_axis=reading.slice_axis
    )
    if masks.channel_axis:
        raise ValueError(
            f"{path}: a mask must not have channels, this one has {masks.n_channels}"
        )
    masks = masks.read(0) != 0
    masks = masks[masks.reshape(len(masks), -1).any(axis=1)]
    if not len(masks):
        raise ValueError(f"{path}: selects nothing, it is zero everywhere")
    return masks[np.arange(n) % len(masks)]


def _draw_codes(prior, n_samples, *, labels, covariates, inside, **options):
    """Draw codes, (n, *grid) int; all processes share the work."""
    if inside is not None:
        options["grid_shape"] = inside.shape[1:]

    def draw(start, stop):
        return prior.sample(
            stop - start,
            first=start,
            labels=None if labels is None else labels[start:stop],
            covariates=covariates
            and {name: values[start:stop] for name, values in covariates.items()},
            mask=None if inside is None else inside[start:stop],
            **options,
        )

    codes = share_rows(draw, n_samples)
    n_distinct = len(np.unique(codes.reshape(n_samples, -1), axis=0))
    logger.info("%d of %d samples are distinct", n_distinct, n_samples)
    return codes


def _decode(fit, codes, masks):
    """Decode samples, zero outside their masks, as (n, *spatial[, C]) float32."""
    if masks is None:
        return fit.decode(codes)
    images = fit.decode(codes, image_shape=masks.shape[1:])
    images[~masks] = 0
    return images


def _save_samples(path, images, fit, reading):
    from dipy_vqvae.workflows.results import save_image

    # (N, H, W[, C]) -> (H, W, N[, C]), or (N, X, Y, Z[, C]) -> (X, Y, Z, N[, C])
    volume = np.moveaxis(images, 0, fit.spatial_dims)
    save_image(path, volume, reading.affine(fit.spatial_dims))
    logger.info("Wrote %s", path)


def _save_mosaic(path, images, fit, reading, n_columns):
    from dipy_vqvae.report import as_pictures, save_mosaic

    view = view_of(reading, fit.spatial_dims)
    shown = as_pictures(images[:_MAX_IN_MOSAIC], view)
    zoom = max(1, -(-_TILE_PIXELS // max(shown.shape[1:])))
    save_mosaic(path, shown, n_columns=n_columns, zoom=zoom)
    logger.info("Wrote %s", path)

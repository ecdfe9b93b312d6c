"""The workflow that draws new images."""

import logging
import math

import numpy as np

from dipy_vqvae.workflows.command import (
    NIFTI,
    UsageError,
    VQVAEWorkflow,
    check_device,
    existing_file,
    positive,
    ranks,
)
from dipy_vqvae.workflows.reading import CODEBOOK_ENTRY, reading_of

logger = logging.getLogger("dipy_vqvae")

# More than can be told apart in one picture.
_MOST_IN_MOSAIC = 400
_TILE_PIXELS = 56


class SampleVQVAEFlow(VQVAEWorkflow):
    """Draw images from a prior, see :class:`dipy_vqvae.PixelCNNFit`."""

    @classmethod
    def get_short_name(cls):
        """Name of the workflow where several are combined."""
        return "sample_vqvae"

    def run(
        self,
        vqvae_file,
        pixelcnn_file,
        n_samples=100,
        temperature=1.0,
        label=None,
        mask_file=None,
        random_seed=0,
        batch_size=256,
        use_cuda=False,
        out_dir="",
        out_samples="samples.nii.gz",
        out_mosaic="samples.png",
    ):
        """Draw images: codes from a PixelCNN prior, decoded by a VQ-VAE.

        Parameters
        ----------
        vqvae_file : string
            The VQ-VAE, as written by dipy_fit_vqvae.
        pixelcnn_file : string
            The prior, as written by dipy_fit_pixelcnn for the codes of that VQ-VAE.
        n_samples : int, optional
            Number of images to draw.
        temperature : float, optional
            How freely codes are drawn: 1 as the prior says, less for likelier
            images, 0 for the likeliest code everywhere (all samples are then equal).
        label : variable int, optional
            Classes of the samples, for a prior that was fitted with labels: one for
            all, or several that are taken in turn. Without it the classes are drawn
            at random.
        mask_file : string, optional
            Mask of the shape of an image, nonzero inside, for a prior that was
            fitted with masks. Codes are drawn inside only, and the samples are zero
            outside. For a model of slices, the slices of the mask are taken in turn.
        random_seed : int, optional
            Seed of the draws; the same seed gives the same samples.
        batch_size : int, optional
            Grids of codes to draw at a time; lower it if memory runs out.
        use_cuda : bool, optional
            Whether to use the GPU.
        out_dir : string, optional
            Folder of the outputs.
        out_samples : string, optional
            The samples as float32 NIfTI, with the voxel size of the training images:
            2D images stacked along the third axis, volumes along the fourth; None
            for not written.
        out_mosaic : string, optional
            The first samples side by side, as a PNG picture; None for not written.
        """
        positive(n_samples=n_samples, batch_size=batch_size)
        if not (temperature >= 0 and math.isfinite(temperature)):
            raise UsageError(f"--temperature must be 0 or above, got {temperature}")
        vqvae_file = existing_file(vqvae_file, what="model file")
        pixelcnn_file = existing_file(pixelcnn_file, what="model file")
        mask_file = existing_file(mask_file, what="mask") if mask_file else None
        plan = self.plan_outputs(
            {"out_samples": out_samples, "out_mosaic": out_mosaic},
            out_dir=out_dir,
            inputs=[vqvae_file, pixelcnn_file, *filter(None, [mask_file])],
            extensions={"out_samples": NIFTI, "out_mosaic": (".png",)},
        )
        use_cuda = check_device(use_cuda)
        from dipy_vqvae.prior import PixelCNNFit
        from dipy_vqvae.vqvae import VQVAEFit

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        prior = PixelCNNFit.load(pixelcnn_file, use_cuda=use_cuda)
        check_pair(fit, prior, vqvae_file, pixelcnn_file)
        reading = reading_of(fit)
        labels = _labels(label, n_samples, prior, random_seed)
        masks, options = None, {}
        if mask_file:
            masks = read_masks(mask_file, fit, reading, n_samples)
            inside = fit.positions_inside(masks)
            options["grid_shape"] = inside.shape[1:]

        def draw(start, stop):
            if masks is not None:
                options["mask"] = inside[start:stop]
            return prior.sample(
                stop - start,
                first=start,
                random_seed=random_seed,
                temperature=temperature,
                labels=None if labels is None else labels[start:stop],
                batch_size=batch_size,
                verbose=self.verbose,
                **options,
            )

        codes = ranks.share_range(draw, n_samples)
        if not ranks.is_first():
            return
        images = fit.decode(
            codes, image_shape=None if masks is None else masks.shape[1:]
        )
        if masks is not None:
            images[~masks] = 0
        n_distinct = len(np.unique(codes.reshape(n_samples, -1), axis=0))
        logger.info("%d of %d samples are distinct", n_distinct, n_samples)
        if plan.single["out_samples"]:
            from dipy_vqvae.workflows.results import save_image, stack_images

            data = stack_images(images, spatial_dims=fit.spatial_dims)
            affine = reading.affine(fit.spatial_dims)
            save_image(plan.single["out_samples"], data, affine)
            logger.info("Wrote %s", plan.single["out_samples"])
        if plan.single["out_mosaic"]:
            from dipy_vqvae.report import save_mosaic, upright

            shown = images[:_MOST_IN_MOSAIC]
            if shown.ndim > fit.spatial_dims + 1:
                shown = shown.mean(axis=-1)  # channels
            if reading.kind == "nifti" and fit.spatial_dims == 2:
                shown = upright(shown)
            zoom = max(1, -(-_TILE_PIXELS // max(shown.shape[1:])))
            # Classes taken in turn: a column for each.
            n_columns = len(label) if isinstance(label, list) and label[1:] else None
            save_mosaic(
                plan.single["out_mosaic"], shown, n_columns=n_columns, zoom=zoom
            )
            logger.info("Wrote %s", plan.single["out_mosaic"])


def check_pair(fit, prior, vqvae_file, pixelcnn_file):
    """Refuse a prior that is not for the codes of a VQ-VAE.

    Parameters
    ----------
    fit : VQVAEFit
        The VQ-VAE.
    prior : PixelCNNFit
        The prior.
    vqvae_file, pixelcnn_file : Path
        Their files, for the message.

    Raises
    ------
    ValueError
        If the codebook is another; of a prior that was not fitted by
        dipy_fit_pixelcnn, if the codes' number or grid differ.
    """
    from dipy_vqvae.codes import codebook_fingerprint

    if prior.n_codes != fit.n_codes:
        raise ValueError(
            f"{pixelcnn_file} is for {prior.n_codes} codes, but {vqvae_file} has "
            f"{fit.n_codes}: fit the prior on the codes of this VQ-VAE"
        )
    known = prior.description.get(CODEBOOK_ENTRY)
    if known is not None:
        if known != codebook_fingerprint(fit):
            raise ValueError(
                f"{pixelcnn_file} was fitted on codes of another VQ-VAE than "
                f"{vqvae_file}"
            )
    elif tuple(prior.grid_shape) != tuple(fit.latent_shape):
        raise ValueError(
            f"{pixelcnn_file} is for codes on a grid of {tuple(prior.grid_shape)}, but "
            f"{vqvae_file} has {tuple(fit.latent_shape)}: fit the prior on the codes "
            "of this VQ-VAE"
        )


def read_masks(path, fit, reading, n):
    """A mask for each of n samples.

    Parameters
    ----------
    path : Path
        A file with a mask, or with several as slices.
    fit : VQVAEFit
        The VQ-VAE.
    reading : Reading
        How its images were read.
    n : int
        Number of samples.

    Returns
    -------
    masks : array, shape (n, *spatial), bool
        Those with something inside, in turn.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, or selects nothing.
    """
    from dipy_vqvae.data import open_images

    masks = open_images(
        [path], spatial_dims=fit.spatial_dims, slice_axis=reading.slice_axis
    )
    if masks.channel_axis:
        raise ValueError(f"{path}: a mask has no channels, this has {masks.n_channels}")
    masks = masks.read(0) != 0
    masks = masks[masks.reshape(len(masks), -1).any(axis=1)]
    if not len(masks):
        raise ValueError(f"{path}: selects nothing, it is zero everywhere")
    return masks[np.arange(n) % len(masks)]


def _labels(label, n_samples, prior, random_seed):
    classes = [] if label is None else np.atleast_1d(label).tolist()
    n_classes = prior.n_classes or 0
    if not classes:
        if not n_classes:
            return None
        rng = np.random.default_rng(random_seed)
        return rng.integers(n_classes, size=n_samples)
    if not n_classes:
        raise UsageError("--label: this prior was fitted without labels")
    if not all(0 <= c < n_classes for c in classes):
        raise UsageError(
            f"--label must be in 0..{n_classes - 1} for this prior, got {classes}"
        )
    return np.resize(classes, n_samples)

"""The workflow that shows what a VQ-VAE keeps of images."""

import logging
import math

import numpy as np

from dipy_vqvae.workflows.coding import checked_batch_size, encode_file, open_file
from dipy_vqvae.workflows.command import (
    NIFTI,
    VQVAEWorkflow,
    as_list,
    check_device,
    existing_file,
    ranks,
)
from dipy_vqvae.workflows.each_file import FileTask, each_file, raise_for_failed
from dipy_vqvae.workflows.masks import pair_masks
from dipy_vqvae.workflows.reading import checked_slice_axis, reading_of

logger = logging.getLogger("dipy_vqvae")

# More than can be told apart in one picture.
_MOST_IN_MOSAIC = 24
_MOST_OF_ONE_FILE = 16


class ReconstructVQVAEFlow(VQVAEWorkflow):
    """Reconstruct images with a VQ-VAE, see :class:`dipy_vqvae.VQVAEFit`."""

    outputs_per_input = True

    @classmethod
    def get_short_name(cls):
        """Name of the workflow where several are combined."""
        return "reconstruct_vqvae"

    def run(
        self,
        vqvae_file,
        input_files,
        mask_files=None,
        slice_axis=None,
        batch_size=None,
        use_cuda=False,
        out_dir="",
        out_reconstruction="reconstruction.nii.gz",
        out_residual="residual.nii.gz",
        out_metrics="metrics.csv",
        out_mosaic="mosaic.png",
    ):
        """Encode and decode images with a VQ-VAE, and measure what was lost.

        Every input file gets a reconstruction and a residual (image minus
        reconstruction) on its own grid, with its affine and in its units. With
        several input files, the file names begin with the input's name. A file that
        cannot be used is reported, and the others are done.

        Parameters
        ----------
        vqvae_file : string
            The VQ-VAE, as written by dipy_fit_vqvae.
        input_files : variable string
            Images, as NIfTI, .npy or idx files, globs or folders of them. A 2D model
            takes volumes as slices.
        mask_files : variable string, optional
            Masks, nonzero inside, of the shape of the images' volumes. One for all
            images, or one for each in the same order. What lies outside has no
            influence, does not count in the table, and is zero in the outputs.
        slice_axis : int, optional
            Axis (0, 1 or 2) along which a 2D model takes the slices of volumes, and
            along which reconstructions of .npy and idx images are stacked; without
            it, that of the model's training images.
        batch_size : int, optional
            Images to work on at a time; without it, as many as have about 260,000
            voxels.
        use_cuda : bool, optional
            Whether to use the GPU.
        out_dir : string, optional
            Folder of the outputs.
        out_reconstruction : string, optional
            Reconstruction of each input, float32 NIfTI; None for not written.
        out_residual : string, optional
            Residual of each input, float32 NIfTI; None for not written.
        out_metrics : string, optional
            Table with a row for each input, of what lies inside its mask. Mean squared
            and mean absolute error (in the image's units), the range of its values,
            PSNR and SSIM for that range, the codes used and their perplexity; None
            for not written.
        out_mosaic : string, optional
            Originals, reconstructions and residuals side by side, as a PNG picture;
            None for not written.
        """
        from dipy_vqvae.data import expand_paths

        checked_batch_size(batch_size)
        checked_slice_axis(slice_axis)
        vqvae_file = existing_file(vqvae_file, what="model file")
        paths = expand_paths(as_list(input_files))
        masks = pair_masks(paths, mask_files)
        plan = self.plan_outputs(
            {"out_metrics": out_metrics, "out_mosaic": out_mosaic},
            out_dir=out_dir,
            inputs=[vqvae_file, *paths, *filter(None, masks)],
            per_input=(
                paths,
                {
                    "out_reconstruction": out_reconstruction,
                    "out_residual": out_residual,
                },
            ),
            extensions={
                "out_reconstruction": NIFTI,
                "out_residual": NIFTI,
                "out_mosaic": (".png",),
            },
        )
        use_cuda = check_device(use_cuda)
        from dipy_vqvae.vqvae import VQVAEFit

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        reading = reading_of(fit, slice_axis=slice_axis)
        n_shown = _MOST_OF_ONE_FILE if len(paths) == 1 else 1
        n_shown = n_shown if plan.single["out_mosaic"] else 0

        def compute(task):
            opened = open_file(
                fit, task.path, reading=reading, mask_file=task.mask_file
            )
            return opened, reconstruct(
                fit, opened, batch_size=batch_size, n_shown=n_shown
            )

        def save(task, results):
            opened, (restored, metrics, examples) = results
            _write(task.outputs, opened, restored)
            return {"file": str(task.path), **metrics}, examples

        tasks = [FileTask(*item) for item in zip(paths, plan.rows, masks)]
        kept = each_file(tasks, compute, save, verbose=self.verbose)
        done = [result for result in kept if result is not None]
        if done and ranks.is_first():
            _write_summary(plan.single, done)
        raise_for_failed(tasks, kept)


def reconstruct(fit, opened, *, batch_size=None, n_shown=0):
    """Reconstruct the images of one file and measure the error.

    Parameters
    ----------
    fit : VQVAEFit
        The model.
    opened : Opened
        The images.
    batch_size : int, optional
        Images at a time.
    n_shown : int, optional
        How many of them to keep for a picture.

    Returns
    -------
    restored : array, shape (n, *spatial[, C]), float32
        What the model makes of the images; zero outside the mask.
    metrics : dict
        The file's row of the table, see :func:`measure`.
    examples : list of Example
        For the picture.
    """
    from dipy_vqvae.codes import decode_images
    from dipy_vqvae.report import examples_of

    coded = encode_file(fit, opened, batch_size=batch_size)
    restored = decode_images(fit, coded, batch_size=batch_size)
    metrics = measure(opened.images, restored, coded.codes, fit, mask=opened.mask)
    examples = examples_of(opened.file, opened.images, restored, coded, n=n_shown)
    return restored, metrics, examples


def measure(images, restored, codes, fit, *, mask=None):
    """Put the error of reconstructions and the use of the codebook into numbers.

    Parameters
    ----------
    images, restored : array, shape (n, *spatial[, C])
        Images and what the model made of them.
    codes : array, shape (n, *grid)
        Their codes.
    fit : VQVAEFit
        The model.
    mask : array, shape (n, *spatial), bool, optional
        What counts.

    Returns
    -------
    metrics : dict
        Errors averaged over the voxels; PSNR of the averaged squared error; PSNR
        and SSIM for the range of values in `images`, NaN where that is zero.
    """
    from dipy_vqvae.metrics import reconstruction as metrics

    if mask is None:
        weights = np.full(len(images), math.prod(images.shape[1:]))
        low, high = float(images.min()), float(images.max())
        inside = None
    else:
        weights = np.count_nonzero(mask.reshape(len(mask), -1), axis=1)
        values = images[mask]
        low, high = float(values.min()), float(values.max())
        inside = fit.positions_inside(mask)

    def mean(of_images):
        # Images with nothing inside have no error.
        return float(np.sum(np.nan_to_num(of_images) * weights) / weights.sum())

    mse = mean(metrics.mean_squared_error(images, restored, mask=mask))
    mae = mean(metrics.mean_absolute_error(images, restored, mask=mask))
    psnr = ssim = float("nan")
    if high > low:
        options = {"data_range": high - low, "spatial_dims": fit.spatial_dims}
        with np.errstate(divide="ignore"):
            psnr = float(20 * np.log10(high - low) - 10 * np.log10(mse))
        ssim = mean(metrics.ssim(images, restored, mask=mask, **options))
    usage = metrics.code_usage(codes, fit.n_codes, mask=inside)
    return {
        "n_images": len(images),
        "n_voxels": int(weights.sum()),
        "mse": mse,
        "mae": mae,
        "data_range": high - low,
        "psnr": psnr,
        "ssim": ssim,
        "codes_used": usage.n_used,
        "perplexity": usage.perplexity,
    }


def _write(outputs, opened, restored):
    from dipy_vqvae.workflows.results import save_image

    affine, layout = opened.file.affine, opened.layout
    if outputs["out_reconstruction"]:
        save_image(outputs["out_reconstruction"], layout.to_volume(restored), affine)
        logger.info("Wrote %s", outputs["out_reconstruction"])
    if outputs["out_residual"]:
        # Not in float32: the difference of large values would lose digits.
        residual = opened.images.astype(np.float64) - restored
        if opened.mask is not None:
            residual[~opened.mask] = 0
        save_image(outputs["out_residual"], layout.to_volume(residual), affine)
        logger.info("Wrote %s", outputs["out_residual"])


def _write_summary(outputs, done):
    if outputs["out_metrics"]:
        from dipy_vqvae.workflows.results import save_table

        save_table(outputs["out_metrics"], [row for row, _ in done])
        logger.info("Wrote %s", outputs["out_metrics"])
    examples = [example for _, some in done for example in some][:_MOST_IN_MOSAIC]
    if outputs["out_mosaic"] and examples:
        from dipy_vqvae.report import draw_examples, save_png

        save_png(outputs["out_mosaic"], draw_examples(examples))
        logger.info("Wrote %s", outputs["out_mosaic"])

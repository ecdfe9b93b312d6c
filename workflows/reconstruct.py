"""The workflow that shows what a VQ-VAE keeps of images."""

import logging

import numpy as np
from tqdm import tqdm

from dipy_vqvae.workflows.base import (
    NIFTI,
    VQVAEWorkflow,
    as_list,
    check_device,
    existing_file,
    positive,
)
from dipy_vqvae.workflows.errors import SomeFilesFailed, explain
from dipy_vqvae.workflows.reading import checked_slice_axis, reading_of

logger = logging.getLogger("dipy_vqvae")


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
        slice_axis=None,
        batch_size=256,
        use_cuda=False,
        out_dir="",
        out_reconstruction="reconstruction.nii.gz",
        out_residual="residual.nii.gz",
        out_metrics="metrics.csv",
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
            Images: NIfTI, .npy or idx files, globs or folders of them. A 2D model
            takes volumes as slices.
        slice_axis : int, optional
            Axis (0, 1 or 2) along which a 2D model takes the slices of volumes, and
            along which reconstructions of .npy and idx images are stacked; without
            it, that of the model's training images.
        batch_size : int, optional
            Images to work on at a time; lower it if memory runs out.
        use_cuda : bool, optional
            Whether to use the GPU.
        out_dir : string, optional
            Folder of the outputs.
        out_reconstruction : string, optional
            Reconstruction of each input, float32 NIfTI; None for not written.
        out_residual : string, optional
            Residual of each input, float32 NIfTI; None for not written.
        out_metrics : string, optional
            Table with a row for each input: mean squared and mean absolute error
            (in the image's units), the range of its values, PSNR and SSIM for that
            range, the codes used and their perplexity; None for not written.
        """
        from dipy_vqvae.images import expand_paths

        positive(batch_size=batch_size)
        checked_slice_axis(slice_axis)
        vqvae_file = existing_file(vqvae_file, what="model file")
        paths = expand_paths(as_list(input_files))
        plan = self.plan_outputs(
            {"out_metrics": out_metrics},
            out_dir=out_dir,
            inputs=[vqvae_file, *paths],
            per_input=(
                paths,
                {
                    "out_reconstruction": out_reconstruction,
                    "out_residual": out_residual,
                },
            ),
            extensions={"out_reconstruction": NIFTI, "out_residual": NIFTI},
        )
        use_cuda = check_device(use_cuda)
        from dipy_vqvae.vqvae import VQVAEFit

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        reading = reading_of(fit, slice_axis=slice_axis)
        rows, failed = [], []
        several = len(paths) > 1
        progress = tqdm(paths, desc="files", disable=not (several and self.verbose))
        for path, outputs in zip(progress, plan.rows):
            try:
                original, reconstruction, affine, row = reconstruct_file(
                    fit, path, reading=reading, batch_size=batch_size
                )
            # One bad file among fifty is no reason to lose the others.
            except Exception as error:  # noqa: BLE001
                failed.append(path)
                _report(error, path)
                continue
            rows.append(row)
            self._write(outputs, original, reconstruction, affine)
        if rows and plan.single["out_metrics"]:
            from dipy_vqvae.workflows.results import save_table

            save_table(plan.single["out_metrics"], rows)
            logger.info("Wrote %s", plan.single["out_metrics"])
        if failed:
            raise SomeFilesFailed(
                f"{len(failed)} of {len(paths)} files failed: "
                + ", ".join(str(path) for path in failed)
            )

    def _write(self, outputs, original, reconstruction, affine):
        from dipy_vqvae.workflows.results import save_image

        if outputs["out_reconstruction"]:
            save_image(outputs["out_reconstruction"], reconstruction, affine)
            logger.info("Wrote %s", outputs["out_reconstruction"])
        if outputs["out_residual"]:
            # Not in float32: the difference of large values would lose digits.
            residual = original.astype(np.float64) - reconstruction
            save_image(outputs["out_residual"], residual, affine)
            logger.info("Wrote %s", outputs["out_residual"])


def reconstruct_file(fit, path, *, reading, batch_size=256):
    """Reconstruct the images of one file and measure the error.

    Parameters
    ----------
    fit : VQVAEFit
        The model.
    path : Path
        The file.
    reading : Reading
        How to take it apart.
    batch_size : int, optional
        Images at a time.

    Returns
    -------
    original, reconstruction : array
        The file's content and its reconstruction, with the axes of a NIfTI file.
    affine : array (4, 4) or None
        The file's affine.
    metrics : dict
        The file's row of the table.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, or its images do not suit the model.
    """
    from dipy_vqvae.images import load_images

    image_set = load_images(
        [path],
        spatial_dims=fit.spatial_dims,
        slice_axis=reading.slice_axis,
        volumes_as=reading.volumes_as,
    )
    images = image_set.images
    codes = fit.encode(images, batch_size=batch_size)
    # What `predict` does, without encoding twice.
    spatial_shape = images.shape[1 : 1 + fit.spatial_dims]
    reconstruction = fit.decode(
        codes, image_shape=spatial_shape, batch_size=batch_size
    ).reshape(images.shape)
    metrics = {"file": str(path), **measure(images, reconstruction, codes, fit)}
    ((source, data),) = image_set.sources.put_back(reconstruction)
    ((_, original),) = image_set.sources.put_back(images)
    if source.kind != "nifti":
        original, data = (
            _as_nifti(array, source, fit.spatial_dims, reading.slice_axis)
            for array in (original, data)
        )
    return original, data, source.affine, metrics


def measure(images, reconstruction, codes, fit):
    """Put the error of reconstructions and the use of the codebook into numbers.

    Parameters
    ----------
    images, reconstruction : array (N, *spatial) or (N, *spatial, C)
        Images and what the model made of them.
    codes : array (N, *grid)
        Their codes.
    fit : VQVAEFit
        The model.

    Returns
    -------
    metrics : dict
        Errors averaged over the images; PSNR of the averaged squared error; PSNR
        and SSIM for the range of values in `images`, NaN where that is zero.
    """
    from dipy_vqvae import metrics

    mse = float(metrics.mean_squared_error(images, reconstruction).mean())
    mae = float(metrics.mean_absolute_error(images, reconstruction).mean())
    data_range = float(images.max()) - float(images.min())
    psnr = ssim = float("nan")
    if data_range > 0:
        with np.errstate(divide="ignore"):
            psnr = float(20 * np.log10(data_range) - 10 * np.log10(mse))
        ssim = float(
            metrics.ssim(
                images,
                reconstruction,
                data_range=data_range,
                spatial_dims=fit.spatial_dims,
            ).mean()
        )
    usage = metrics.code_usage(codes, fit.n_codes)
    return {
        "n_images": len(images),
        "mse": mse,
        "mae": mae,
        "data_range": data_range,
        "psnr": psnr,
        "ssim": ssim,
        "codes_used": usage.n_used,
        "perplexity": usage.perplexity,
    }


def _as_nifti(data, source, spatial_dims, slice_axis):
    from dipy_vqvae.workflows.results import stack_images

    if source.slice_axis is None and source.volume_axis is None:
        data = data[np.newaxis]  # a single image
    return stack_images(data, spatial_dims=spatial_dims, slice_axis=slice_axis)


def _report(error, path):
    line = explain(error)
    logger.error(line if str(path) in line else f"{path}: {line}")
    logger.debug("traceback:", exc_info=error)

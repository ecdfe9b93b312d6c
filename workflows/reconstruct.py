"""The workflow that reconstructs images and measures the error."""

from dataclasses import replace
import logging

import numpy as np

from dipy_vqvae.workflows.coding import (
    FileTask,
    describe_model,
    encode_file,
    process_files,
    raise_for_failed,
    read_file,
)
from dipy_vqvae.workflows.command import (
    BATCH_SIZE,
    BIDS,
    INPUT_FILES,
    MASK_FILES,
    NIFTI,
    OUT_DIR,
    PNG,
    SLICE_AXIS,
    USE_CUDA,
    VQVAE_FILE,
    Group,
    VQVAEWorkflow,
    announce,
    check_device,
    is_first,
    model_file,
    output,
    takes_options,
)
from dipy_vqvae.workflows.inputs import images_and_masks
from dipy_vqvae.workflows.reading import reading_of

logger = logging.getLogger("dipy_vqvae")

# Images in the mosaic; more cannot be told apart in one picture.
_MAX_IN_MOSAIC = 24
_MAX_OF_ONE_FILE = 16


class ReconstructVQVAEFlow(VQVAEWorkflow):
    """Reconstruct images with a VQ-VAE, see :class:`dipy_vqvae.VQVAEFit`."""

    short_name = "reconstruct_vqvae"
    outputs_per_input = True

    @takes_options(
        Group(
            "What goes in",
            {
                "vqvae_file": VQVAE_FILE,
                "input_files": INPUT_FILES,
                "mask_files": replace(
                    MASK_FILES,
                    doc=f"{MASK_FILES.doc} They do not count in the table, and are "
                    "zero in the outputs.",
                ),
                "slice_axis": replace(
                    SLICE_AXIS,
                    doc=f"{SLICE_AXIS.doc} Reconstructions of .npy and idx images are "
                    "stacked along the same axis.",
                ),
            },
        ),
        Group("The computation", {"batch_size": BATCH_SIZE, "use_cuda": USE_CUDA}),
        Group(
            "What comes out",
            {
                "out_dir": OUT_DIR,
                "bids": BIDS,
                "out_reconstruction": output(
                    "reconstruction.nii.gz",
                    "Reconstruction of each input, as float32 NIfTI.",
                    NIFTI,
                ),
                "out_residual": output(
                    "residual.nii.gz",
                    "Residual of each input, as float32 NIfTI.",
                    NIFTI,
                ),
                "out_metrics": output(
                    "metrics.csv",
                    "Table with a row for each input, of the voxels inside its mask: "
                    "mean squared and mean absolute error (in the image's units), "
                    "range of its values, PSNR and SSIM for that range, number of "
                    "codes used and their perplexity.",
                ),
                "out_mosaic": output(
                    "mosaic.png",
                    "Images, reconstructions and residuals side by side.",
                    PNG,
                ),
            },
        ),
    )
    def run(self, options):
        """Encode and decode images with a VQ-VAE, and measure the error.

        Every input file gets a reconstruction and a residual (image minus
        reconstruction) with its grid, affine and units. With several input files, the
        names of these outputs begin with that of the input. If a file cannot be
        reconstructed, the error is reported and the other files are reconstructed.
        """
        vqvae_file = model_file(options.vqvae_file, kind="vqvae")
        paths, masks = images_and_masks(options.input_files, options.mask_files)
        plan = self.plan_outputs(
            {
                "out_metrics": options.out_metrics,
                "out_mosaic": options.out_mosaic,
            },
            out_dir=options.out_dir,
            inputs=[vqvae_file, *paths, *filter(None, masks)],
            per_input=(
                paths,
                {
                    "out_reconstruction": options.out_reconstruction,
                    "out_residual": options.out_residual,
                },
            ),
            bids=options.bids,
        )
        announce("Reconstructing", paths, vqvae_file)
        use_cuda = check_device(options.use_cuda)
        from dipy_vqvae.vqvae import VQVAEFit

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        model = describe_model(vqvae_file, fit)
        reading = reading_of(fit, slice_axis=options.slice_axis)
        n_shown = 0
        if plan.single["out_mosaic"]:
            n_shown = _MAX_OF_ONE_FILE if len(paths) == 1 else 1

        def compute(task):
            opened = read_file(
                fit, task.path, reading=reading, mask_file=task.mask_file
            )
            return opened, *reconstruct(
                fit, opened, batch_size=options.batch_size, n_shown=n_shown
            )

        def save(task, results):
            opened, restored, metrics, examples = results
            _save_images(task.outputs, opened, restored)
            plan.describe(task.outputs, task.path, model, mask_file=task.mask_file)
            return {"file": str(task.path), **metrics}, examples

        tasks = [FileTask(*item) for item in zip(paths, plan.rows, masks)]
        summaries = process_files(tasks, compute, save, verbose=self.verbose)
        if is_first():
            _save_summary(plan.single, [item for item in summaries if item is not None])
        raise_for_failed(tasks, summaries)


def reconstruct(fit, opened, *, batch_size=None, n_shown=0):
    """Reconstruct the images of one file, and measure the error.

    Return the reconstructions, (n, *spatial[, C]) float32, zero outside the mask; the
    file's row of the table, see :func:`measure`; and `n_shown` images for the mosaic.
    """
    from dipy_vqvae.report import examples_of
    from dipy_vqvae.vqvae import decode_images

    coded = encode_file(fit, opened, batch_size=batch_size)
    restored = decode_images(fit, coded, batch_size=batch_size)
    metrics = measure(opened.images, restored, coded.codes, fit, mask=opened.mask)
    examples = examples_of(
        opened.file,
        opened.images,
        restored,
        coded,
        n=n_shown,
        mask=opened.mask,
        has_own_unit=fit.config.scaling.method == "volume",
    )
    return restored, metrics, examples


def measure(images, restored, codes, fit, *, mask=None):
    """Measure the error of reconstructions and the use of the codebook."""
    from dipy_vqvae.metrics import code_usage, reconstruction_errors

    inside = None if mask is None else fit.positions_inside(mask)
    usage = code_usage(codes, fit.n_codes, mask=inside)
    return {
        **reconstruction_errors(
            images, restored, spatial_dims=fit.spatial_dims, mask=mask
        ),
        "codes_used": usage.n_used,
        "perplexity": usage.perplexity,
    }


def _save_images(outputs, opened, restored):
    from dipy_vqvae.workflows.results import save_image

    images = {"out_reconstruction": restored}
    if outputs["out_residual"]:
        # In float64: in float32 the difference of large values would lose digits.
        residual = opened.images.astype(np.float64) - restored
        if opened.mask is not None:
            residual[~opened.mask] = 0
        images["out_residual"] = residual
    for option, data in images.items():
        if outputs[option]:
            volume = opened.layout.to_volume(data)
            save_image(
                outputs[option],
                volume,
                opened.file.affine,
                space=opened.file.space,
            )
            logger.info("Wrote %s", outputs[option])


def _save_summary(outputs, summaries):
    """Write the table and the mosaic of the files that did not fail."""
    from dipy_vqvae.report import draw_examples, save_png
    from dipy_vqvae.workflows.results import save_table

    rows = [row for row, _ in summaries]
    if outputs["out_metrics"] and rows:
        save_table(outputs["out_metrics"], rows)
        logger.info("Wrote %s", outputs["out_metrics"])
    examples = [example for _, examples in summaries for example in examples]
    if outputs["out_mosaic"] and examples:
        save_png(outputs["out_mosaic"], draw_examples(examples[:_MAX_IN_MOSAIC]))
        logger.info("Wrote %s", outputs["out_mosaic"])

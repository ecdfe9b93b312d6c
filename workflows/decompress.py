"""The workflow that restores compressed images."""

import logging

from dipy_vqvae.workflows.coding import (
    FileTask,
    describe_model,
    process_files,
    raise_for_failed,
)
from dipy_vqvae.workflows.command import (
    BATCH_SIZE,
    BIDS,
    NIFTI,
    OUT_DIR,
    PIXELCNN_FILE,
    PIXELCNN_PAPER,
    USE_CUDA,
    VQVAE_FILE,
    VQVAE_PAPER,
    Group,
    VQVAEWorkflow,
    announce,
    as_list,
    check_device,
    files,
    model_file,
    output,
    takes_options,
)

logger = logging.getLogger("dipy_vqvae")


class DecompressVQVAEFlow(VQVAEWorkflow):
    """Restore compressed images, see :func:`dipy_vqvae.decompress_images`."""

    short_name = "decompress_vqvae"
    papers = (VQVAE_PAPER, PIXELCNN_PAPER)
    outputs_per_input = True

    @takes_options(
        Group(
            "What goes in",
            {
                "vqvae_file": VQVAE_FILE,
                "pixelcnn_file": PIXELCNN_FILE,
                "compressed_files": files(
                    "Files of dipy_compress_vqvae: .vqz files, globs or folders of "
                    "them.",
                    is_required=True,
                ),
            },
        ),
        Group("The computation", {"batch_size": BATCH_SIZE, "use_cuda": USE_CUDA}),
        Group(
            "What comes out",
            {
                "out_dir": OUT_DIR,
                "bids": BIDS,
                "out_decompressed": output(
                    "decompressed.nii.gz",
                    "Image of each input, as float32 NIfTI.",
                    NIFTI,
                    is_result=True,
                ),
            },
        ),
    )
    def run(self, options):
        """Restore the images that dipy_compress_vqvae compressed, with the same models.

        The images have the shape, affine and units of those that were compressed, and
        are the same as the reconstructions of dipy_reconstruct_vqvae, if they were
        compressed without another rate. With several input files, the names of the
        outputs begin with that of the input. If a file cannot be decompressed, the
        error is reported and the other files are decompressed.
        """
        from dipy_vqvae.data import expand_paths

        vqvae_file = model_file(options.vqvae_file, kind="vqvae")
        pixelcnn_file = model_file(options.pixelcnn_file, kind="pixelcnn")
        paths = expand_paths(as_list(options.compressed_files), extension=".vqz")
        plan = self.plan_outputs(
            {},
            out_dir=options.out_dir,
            inputs=[vqvae_file, pixelcnn_file, *paths],
            per_input=(paths, {"out_decompressed": options.out_decompressed}),
            bids=options.bids,
        )
        announce("Decompressing", paths, vqvae_file, pixelcnn_file)
        use_cuda = check_device(options.use_cuda)
        from dipy_vqvae.compression import unpack_images
        from dipy_vqvae.prior import PixelCNNFit
        from dipy_vqvae.vqvae import VQVAEFit, decode_images
        from dipy_vqvae.workflows.results import save_image

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        prior = PixelCNNFit.load(pixelcnn_file, use_cuda=use_cuda)
        model = describe_model(vqvae_file, fit, prior_file=pixelcnn_file)

        def decompress(task):
            coded, _ = unpack_images(fit, prior, task.path.read_bytes())
            if len(coded) != 1:
                raise ValueError(
                    f"holds the images of {len(coded)} subjects, which "
                    "dipy_vqvae.decompress_images returns as a list"
                )
            images = decode_images(fit, coded[0], batch_size=options.batch_size)
            return coded[0].layout.to_volume(images), coded[0]

        def save(task, results):
            volume, coded = results
            path = task.outputs["out_decompressed"]
            save_image(path, volume, coded.affine, space=coded.space)
            is_masked = coded.mask is not None
            plan.describe(task.outputs, task.path, model, is_masked=is_masked)
            logger.info("Wrote %s", path)
            return task.path

        tasks = [FileTask(*item) for item in zip(paths, plan.rows)]
        summaries = process_files(tasks, decompress, save, verbose=self.verbose)
        raise_for_failed(tasks, summaries)

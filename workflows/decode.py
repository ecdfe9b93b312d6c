"""The workflow that decodes codes."""

from dataclasses import replace
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
    USE_CUDA,
    VQVAE_FILE,
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


class DecodeVQVAEFlow(VQVAEWorkflow):
    """Decode codes with a VQ-VAE, see :meth:`dipy_vqvae.VQVAEFit.decode`."""

    short_name = "decode_vqvae"
    outputs_per_input = True

    @takes_options(
        Group(
            "What goes in",
            {
                "vqvae_file": replace(
                    VQVAE_FILE, doc="VQ-VAE that the codes were made with."
                ),
                "code_files": files(
                    "Codes of dipy_encode_vqvae: files, globs or folders of them.",
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
                "out_decoded": output(
                    "decoded.nii.gz",
                    "Image of each input, as float32 NIfTI.",
                    NIFTI,
                    is_result=True,
                ),
            },
        ),
    )
    def run(self, options):
        """Decode the codes of dipy_encode_vqvae into images.

        The images have the shape, affine and units of those that were encoded, and are
        the same as the reconstructions of dipy_reconstruct_vqvae. With several input
        files, the names of the outputs begin with that of the input. If a file cannot
        be decoded, the error is reported and the other files are decoded.
        """
        from dipy_vqvae.data import expand_paths

        vqvae_file = model_file(options.vqvae_file, kind="vqvae")
        paths = expand_paths(as_list(options.code_files))
        plan = self.plan_outputs(
            {},
            out_dir=options.out_dir,
            inputs=[vqvae_file, *paths],
            per_input=(paths, {"out_decoded": options.out_decoded}),
            bids=options.bids,
        )
        announce("Decoding", paths, vqvae_file)
        use_cuda = check_device(options.use_cuda)
        from dipy_vqvae.codes import load_codes
        from dipy_vqvae.vqvae import VQVAEFit, decode_images
        from dipy_vqvae.workflows.results import save_image

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        model = describe_model(vqvae_file, fit)

        def decode(task):
            coded = load_codes(task.path)
            images = decode_images(fit, coded, batch_size=options.batch_size)
            return coded.layout.to_volume(images), coded

        def save(task, results):
            volume, coded = results
            save_image(
                task.outputs["out_decoded"], volume, coded.affine, space=coded.space
            )
            is_masked = coded.mask is not None
            plan.describe(task.outputs, task.path, model, is_masked=is_masked)
            logger.info("Wrote %s", task.outputs["out_decoded"])
            return task.path

        tasks = [FileTask(*item) for item in zip(paths, plan.rows)]
        summaries = process_files(tasks, decode, save, verbose=self.verbose)
        raise_for_failed(tasks, summaries)

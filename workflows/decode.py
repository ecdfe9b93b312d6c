"""The workflow that decodes codes."""

import logging

from dipy_vqvae.workflows.coding import FileTask, process_files, raise_for_failed
from dipy_vqvae.workflows.command import (
    NIFTI,
    VQVAEWorkflow,
    as_list,
    check_batch_size,
    check_device,
    existing_file,
    required,
)

logger = logging.getLogger("dipy_vqvae")


class DecodeVQVAEFlow(VQVAEWorkflow):
    """Decode codes with a VQ-VAE, see :meth:`dipy_vqvae.VQVAEFit.decode`."""

    short_name = "decode_vqvae"
    outputs_per_input = True

    def run(
        self,
        vqvae_file,
        code_files,
        batch_size=None,
        use_cuda=False,
        out_dir="",
        out_decoded="decoded.nii.gz",
    ):
        """Decode the codes of dipy_encode_vqvae into images.

        The images have the shape, affine and units of those that were encoded, and are
        the same as the reconstructions of dipy_reconstruct_vqvae. With several input
        files, the names of the outputs begin with that of the input. If a file cannot
        be decoded, the error is reported and the other files are decoded.

        Parameters
        ----------
        vqvae_file : string
            VQ-VAE that the codes were made with.
        code_files : variable string
            Codes of dipy_encode_vqvae; also globs or folders.
        batch_size : int, optional
            Images to decode at a time. The default is as many as have about 260,000
            voxels; lower it if memory runs out.
        use_cuda : bool, optional
            Use the GPU.
        out_dir : string, optional
            Folder of the outputs.
        out_decoded : string, optional
            Image of each input, as float32 NIfTI.
        """
        from dipy_vqvae.data import expand_paths

        required(out_decoded=out_decoded)
        check_batch_size(batch_size)
        vqvae_file = existing_file(vqvae_file, what="model file")
        paths = expand_paths(as_list(code_files))
        plan = self.plan_outputs(
            {},
            out_dir=out_dir,
            inputs=[vqvae_file, *paths],
            per_input=(paths, {"out_decoded": out_decoded}),
            extensions={"out_decoded": NIFTI},
        )
        use_cuda = check_device(use_cuda)
        from dipy_vqvae.codes import decode_images, load_codes
        from dipy_vqvae.vqvae import VQVAEFit
        from dipy_vqvae.workflows.results import save_image

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)

        def decode(task):
            coded = load_codes(task.path)
            images = decode_images(fit, coded, batch_size=batch_size)
            return coded.layout.to_volume(images), coded.affine

        def save(task, results):
            save_image(task.outputs["out_decoded"], *results)
            logger.info("Wrote %s", task.outputs["out_decoded"])
            return task.path

        tasks = [FileTask(*item) for item in zip(paths, plan.rows)]
        summaries = process_files(tasks, decode, save, verbose=self.verbose)
        raise_for_failed(tasks, summaries)

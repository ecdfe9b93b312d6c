"""The workflow that turns codes into images again."""

import logging

from dipy_vqvae.workflows.coding import checked_batch_size
from dipy_vqvae.workflows.command import (
    NIFTI,
    VQVAEWorkflow,
    as_list,
    check_device,
    existing_file,
    required,
)
from dipy_vqvae.workflows.each_file import FileTask, each_file, raise_for_failed

logger = logging.getLogger("dipy_vqvae")


class DecodeVQVAEFlow(VQVAEWorkflow):
    """Decode codes with a VQ-VAE, see :meth:`dipy_vqvae.VQVAEFit.decode`."""

    outputs_per_input = True

    @classmethod
    def get_short_name(cls):
        """Name of the workflow where several are combined."""
        return "decode_vqvae"

    def run(
        self,
        vqvae_file,
        code_files,
        batch_size=None,
        use_cuda=False,
        out_dir="",
        out_decoded="decoded.nii.gz",
    ):
        """Turn the codes of dipy_encode_vqvae into images again.

        The images have the shape, the affine and the units of those that were
        encoded, and are what dipy_reconstruct_vqvae makes of them. With several
        input files, the file names begin with the input's name. A file that cannot
        be used is reported, and the others are done.

        Parameters
        ----------
        vqvae_file : string
            The VQ-VAE that the codes were made with.
        code_files : variable string
            Codes, as written by dipy_encode_vqvae; files, globs or folders of them.
        batch_size : int, optional
            Images to work on at a time; without it, as many as have about 260,000
            voxels.
        use_cuda : bool, optional
            Whether to use the GPU.
        out_dir : string, optional
            Folder of the outputs.
        out_decoded : string, optional
            Image of each input, as float32 NIfTI.
        """
        from dipy_vqvae.data import expand_paths

        required(out_decoded=out_decoded)
        checked_batch_size(batch_size)
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

        def compute(task):
            coded = load_codes(task.path)
            images = decode_images(fit, coded, batch_size=batch_size)
            return coded.layout.to_volume(images), coded.affine

        def save(task, results):
            save_image(task.outputs["out_decoded"], *results)
            logger.info("Wrote %s", task.outputs["out_decoded"])
            return True

        tasks = [FileTask(*item) for item in zip(paths, plan.rows)]
        kept = each_file(tasks, compute, save, verbose=self.verbose)
        raise_for_failed(tasks, kept)

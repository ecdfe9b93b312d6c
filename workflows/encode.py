"""The workflow that turns images into codes."""

import logging

from dipy_vqvae.workflows.coding import checked_batch_size, encode_file, open_file
from dipy_vqvae.workflows.command import (
    NIFTI,
    VQVAEWorkflow,
    as_list,
    check_device,
    existing_file,
    required,
)
from dipy_vqvae.workflows.each_file import FileTask, each_file, raise_for_failed
from dipy_vqvae.workflows.masks import pair_masks
from dipy_vqvae.workflows.reading import checked_slice_axis, reading_of

logger = logging.getLogger("dipy_vqvae")


class EncodeVQVAEFlow(VQVAEWorkflow):
    """Encode images with a VQ-VAE, see :meth:`dipy_vqvae.VQVAEFit.encode`."""

    outputs_per_input = True

    @classmethod
    def get_short_name(cls):
        """Name of the workflow where several are combined."""
        return "encode_vqvae"

    def run(
        self,
        vqvae_file,
        input_files,
        mask_files=None,
        slice_axis=None,
        batch_size=None,
        use_cuda=False,
        out_dir="",
        out_codes="codes.nii.gz",
    ):
        """Turn images into codes, from which dipy_decode_vqvae makes images again.

        The codes of an image are a NIfTI image of integers with an affine that puts
        them where the image is, so that viewers lay one over the other. What else
        decoding needs is kept in their header. With several input files, the file
        names begin with the input's name. A file that cannot be used is reported,
        and the others are done.

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
            influence, and is zero after decoding.
        slice_axis : int, optional
            Axis (0, 1 or 2) along which a 2D model takes the slices of volumes, and
            along which codes of .npy and idx images are stacked; without it, that of
            the model's training images.
        batch_size : int, optional
            Images to work on at a time; without it, as many as have about 260,000
            voxels.
        use_cuda : bool, optional
            Whether to use the GPU.
        out_dir : string, optional
            Folder of the outputs.
        out_codes : string, optional
            Codes of each input, as int16 NIfTI (int32 for large codebooks).
        """
        from dipy_vqvae.data import expand_paths

        required(out_codes=out_codes)
        checked_batch_size(batch_size)
        checked_slice_axis(slice_axis)
        vqvae_file = existing_file(vqvae_file, what="model file")
        paths = expand_paths(as_list(input_files))
        masks = pair_masks(paths, mask_files)
        plan = self.plan_outputs(
            {},
            out_dir=out_dir,
            inputs=[vqvae_file, *paths, *filter(None, masks)],
            per_input=(paths, {"out_codes": out_codes}),
            extensions={"out_codes": NIFTI},
        )
        use_cuda = check_device(use_cuda)
        from dipy_vqvae.codes import save_codes
        from dipy_vqvae.metrics import code_usage
        from dipy_vqvae.vqvae import VQVAEFit

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        reading = reading_of(fit, slice_axis=slice_axis)

        def compute(task):
            opened = open_file(
                fit, task.path, reading=reading, mask_file=task.mask_file
            )
            coded = encode_file(fit, opened, batch_size=batch_size)
            inside = None if coded.mask is None else fit.positions_inside(coded.mask)
            return coded, code_usage(coded.codes, fit.n_codes, mask=inside)

        def save(task, results):
            coded, usage = results
            save_codes(task.outputs["out_codes"], coded)
            logger.info(
                "Wrote %s: %d codes, %d of %d in use, perplexity %.1f",
                task.outputs["out_codes"],
                coded.codes.size,
                usage.n_used,
                fit.n_codes,
                usage.perplexity,
            )
            return True

        tasks = [FileTask(*item) for item in zip(paths, plan.rows, masks)]
        kept = each_file(tasks, compute, save, verbose=self.verbose)
        raise_for_failed(tasks, kept)

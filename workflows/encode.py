"""The workflow that encodes images."""

import logging

from dipy_vqvae.workflows.coding import (
    FileTask,
    encode_file,
    process_files,
    raise_for_failed,
    read_file,
)
from dipy_vqvae.workflows.command import (
    NIFTI,
    VQVAEWorkflow,
    check_batch_size,
    check_device,
    check_slice_axis,
    existing_file,
    required,
)
from dipy_vqvae.workflows.inputs import images_and_masks
from dipy_vqvae.workflows.reading import reading_of

logger = logging.getLogger("dipy_vqvae")


class EncodeVQVAEFlow(VQVAEWorkflow):
    """Encode images with a VQ-VAE, see :meth:`dipy_vqvae.VQVAEFit.encode`."""

    short_name = "encode_vqvae"
    outputs_per_input = True

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
        """Encode images; dipy_decode_vqvae turns the codes into images again.

        The codes of an image are a NIfTI image of integers. Its affine places them on
        the image, so that viewers can overlay the two. Its header contains what else
        decoding needs. With several input files, the names of the outputs begin with
        that of the input. If a file cannot be encoded, the error is reported and the
        other files are encoded.

        Parameters
        ----------
        vqvae_file : string
            VQ-VAE of dipy_fit_vqvae.
        input_files : variable string
            Images, as NIfTI, .npy or idx files; also globs or folders. A 2D model
            encodes the slices of volumes.
        mask_files : variable string, optional
            Masks of the shape of the images' volumes, nonzero inside: one for all
            images, or one for each in the same order. Voxels outside have no
            influence, and are zero after decoding.
        slice_axis : int, optional
            Axis (0, 1 or 2) of the slices of volumes, for a 2D model; codes of .npy and idx
            images are stacked along it. The default is that of the training images.
        batch_size : int, optional
            Images to encode at a time. The default is as many as have about 260,000
            voxels; lower it if memory runs out.
        use_cuda : bool, optional
            Use the GPU.
        out_dir : string, optional
            Folder of the outputs.
        out_codes : string, optional
            Codes of each input, as int16 NIfTI (int32 for large codebooks).
        """
        required(out_codes=out_codes)
        check_batch_size(batch_size)
        check_slice_axis(slice_axis)
        vqvae_file = existing_file(vqvae_file, what="model file")
        paths, masks = images_and_masks(input_files, mask_files)
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

        def encode(task):
            opened = read_file(
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
            return usage

        tasks = [FileTask(*item) for item in zip(paths, plan.rows, masks)]
        summaries = process_files(tasks, encode, save, verbose=self.verbose)
        raise_for_failed(tasks, summaries)

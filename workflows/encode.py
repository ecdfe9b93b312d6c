"""The workflow that encodes images."""

from dataclasses import replace
import logging

from dipy_vqvae.settings import Setting
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
    SLICE_AXIS,
    TEXT,
    USE_CUDA,
    VQVAE_FILE,
    FileName,
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


class EncodeVQVAEFlow(VQVAEWorkflow):
    """Encode images with a VQ-VAE, see :meth:`dipy_vqvae.VQVAEFit.encode`."""

    short_name = "encode_vqvae"
    outputs_per_input = True

    @takes_options(
        Group(
            "What goes in",
            {
                "vqvae_file": VQVAE_FILE,
                "input_files": INPUT_FILES,
                "mask_files": replace(
                    MASK_FILES, doc=f"{MASK_FILES.doc} They are zero after decoding."
                ),
                "slice_axis": replace(
                    SLICE_AXIS,
                    doc=f"{SLICE_AXIS.doc} Codes of .npy and idx images are stacked "
                    "along the same axis.",
                ),
            },
        ),
        Group("The computation", {"batch_size": BATCH_SIZE, "use_cuda": USE_CUDA}),
        Group(
            "What comes out",
            {
                "out_dir": OUT_DIR,
                "bids": BIDS,
                "out_codes": output(
                    "codes.nii.gz",
                    "Codes of each input, as a label image of int16 (int32 for large "
                    "codebooks): label k + 1 is code k, 0 is background (outside of the "
                    "mask).",
                    NIFTI,
                    is_result=True,
                ),
                "out_lut": Setting(
                    None,
                    FileName(TEXT),
                    "Table to write the colours of the labels to, such as codes_lut.txt, "
                    "in the format of FreeSurfer's look-up tables: similar colours for "
                    "codes whose vectors are near each other.",
                ),
            },
        ),
    )
    def run(self, options):
        """Encode images; dipy_decode_vqvae turns the codes into images again.

        The codes of an image are a NIfTI image of labels. Its affine places them on
        the image, so that viewers can overlay the two. Its header contains what else
        decoding needs. With several input files, the names of the outputs begin with
        that of the input. If a file cannot be encoded, the error is reported and the
        other files are encoded.
        """
        vqvae_file = model_file(options.vqvae_file, kind="vqvae")
        paths, masks = images_and_masks(options.input_files, options.mask_files)
        plan = self.plan_outputs(
            {"out_lut": options.out_lut},
            out_dir=options.out_dir,
            inputs=[vqvae_file, *paths, *filter(None, masks)],
            per_input=(paths, {"out_codes": options.out_codes}),
            bids=options.bids,
        )
        announce("Encoding", paths, vqvae_file)
        use_cuda = check_device(options.use_cuda)
        from dipy_vqvae.codes import save_codes
        from dipy_vqvae.metrics import code_usage
        from dipy_vqvae.vqvae import VQVAEFit
        from dipy_vqvae.workflows.results import save_colours

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        model = describe_model(vqvae_file, fit)
        reading = reading_of(fit, slice_axis=options.slice_axis)

        def encode(task):
            opened = read_file(
                fit, task.path, reading=reading, mask_file=task.mask_file
            )
            coded = encode_file(fit, opened, batch_size=options.batch_size)
            inside = None if coded.mask is None else fit.positions_inside(coded.mask)
            return coded, code_usage(coded.codes, fit.n_codes, mask=inside)

        def save(task, results):
            coded, usage = results
            save_codes(task.outputs["out_codes"], coded)
            plan.describe(task.outputs, task.path, model, mask_file=task.mask_file)
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
        if plan.single["out_lut"] and is_first():
            save_colours(plan.single["out_lut"], fit.codebook)
            logger.info("Wrote %s", plan.single["out_lut"])
        raise_for_failed(tasks, summaries)

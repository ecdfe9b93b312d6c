"""The workflow that compresses images."""

from dataclasses import replace
import logging
from math import log, prod

import numpy as np

from dipy_vqvae.data import slice_positions
from dipy_vqvae.settings import Any, Real, Setting
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
    OUT_DIR,
    PIXELCNN_FILE,
    PIXELCNN_PAPER,
    SLICE_AXIS,
    USE_CUDA,
    VQVAE_FILE,
    VQVAE_PAPER,
    Group,
    UsageError,
    VQVAEWorkflow,
    announce,
    check_device,
    existing_file,
    is_first,
    model_file,
    output,
    takes_options,
)
from dipy_vqvae.workflows.conditions import (
    CLASSES_ENTRY,
    conditions_of_prior,
)
from dipy_vqvae.workflows.inputs import (
    images_and_masks,
    read_labels,
    split_labels,
)
from dipy_vqvae.workflows.reading import reading_of

logger = logging.getLogger("dipy_vqvae")


class CompressVQVAEFlow(VQVAEWorkflow):
    """Compress images, see :func:`dipy_vqvae.compress_images`."""

    short_name = "compress_vqvae"
    papers = (VQVAE_PAPER, PIXELCNN_PAPER)
    outputs_per_input = True

    @takes_options(
        Group(
            "What goes in",
            {
                "vqvae_file": VQVAE_FILE,
                "pixelcnn_file": PIXELCNN_FILE,
                "input_files": INPUT_FILES,
                "mask_files": replace(
                    MASK_FILES,
                    doc=f"{MASK_FILES.doc} They are zero after decompression.",
                ),
                "label_file": Setting(
                    None,
                    Any(),
                    "Class of each image, for a prior that was fitted with labels: an "
                    "idx or .npy file, or text with one integer per line, in the order "
                    "of the images.",
                ),
                "participants": Setting(
                    None,
                    Any(),
                    "Table of subjects, for a prior that was fitted with one; it has "
                    "the same columns.",
                ),
                "slice_axis": SLICE_AXIS,
            },
        ),
        Group(
            "The computation",
            {
                "rate": Setting(
                    None,
                    Real(0),
                    "Price of a nat of code length under the prior, in units of the "
                    "mean square of the latent channels, such as 0.01: a higher one "
                    "gives smaller files and more distortion. By default the codes are "
                    "those of dipy_encode_vqvae.",
                    may_be_none=True,
                ),
                "batch_size": BATCH_SIZE,
                "use_cuda": USE_CUDA,
            },
        ),
        Group(
            "What comes out",
            {
                "out_dir": OUT_DIR,
                "bids": BIDS,
                "out_compressed": output(
                    "compressed.vqz",
                    "Compressed images of each input.",
                    (".vqz",),
                    is_result=True,
                ),
                "out_sizes": output(
                    "sizes.csv",
                    "Table with a row for each input: bytes of the file, those of its "
                    "codes inside the mask, bits per voxel of the image, bits of the "
                    "codes by the prior, PSNR and SSIM of the voxels inside its mask.",
                ),
            },
        ),
    )
    def run(self, options):
        """Compress images to about as many bits as the prior says of their codes.

        dipy_decompress_vqvae restores the reconstructions of the VQ-VAE, bit for bit,
        with the same two models, on any machine. With several input files, the names of
        the outputs begin with that of the input. If a file cannot be compressed, the
        error is reported and the other files are compressed.
        """
        vqvae_file = model_file(options.vqvae_file, kind="vqvae")
        pixelcnn_file = model_file(options.pixelcnn_file, kind="pixelcnn")
        options.label_file = options.label_file and existing_file(
            options.label_file, kind="label file"
        )
        options.participants = options.participants and existing_file(
            options.participants, kind="table of participants"
        )
        paths, masks = images_and_masks(options.input_files, options.mask_files)
        more = filter(None, [*masks, options.label_file, options.participants])
        plan = self.plan_outputs(
            {"out_sizes": options.out_sizes},
            out_dir=options.out_dir,
            inputs=[vqvae_file, pixelcnn_file, *paths, *more],
            per_input=(paths, {"out_compressed": options.out_compressed}),
            bids=options.bids,
        )
        announce("Compressing", paths, vqvae_file, pixelcnn_file)
        use_cuda = check_device(options.use_cuda)
        from dipy_vqvae.prior import PixelCNNFit
        from dipy_vqvae.vqvae import VQVAEFit, check_pair

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        prior = PixelCNNFit.load(pixelcnn_file, use_cuda=use_cuda)
        check_pair(fit, prior, vqvae_name=vqvae_file, prior_name=pixelcnn_file)
        model = describe_model(vqvae_file, fit, prior_file=pixelcnn_file)
        work = _Compression(fit, prior, paths, options)

        def save(task, results):
            content, row = results
            _save_bytes(task.outputs["out_compressed"], content)
            plan.describe(task.outputs, task.path, model, mask_file=task.mask_file)
            return {"file": str(task.path), **row}

        tasks = [
            FileTask(*item, index=index)
            for index, item in enumerate(zip(paths, plan.rows, masks))
        ]
        rows = process_files(tasks, work.compress, save, verbose=self.verbose)
        if is_first():
            _save_sizes(plan.single["out_sizes"], [row for row in rows if row])
        raise_for_failed(tasks, rows)


class _Compression:
    """Compress files, each with its conditions."""

    def __init__(self, fit, prior, paths, options):
        self._fit = fit
        self._prior = prior
        self._options = options
        self._reading = reading_of(fit, slice_axis=options.slice_axis)
        self._conditions = conditions_of_prior(prior, paths, options.participants)
        self._labels = _labels_of_files(
            prior, fit, options.label_file, paths, self._reading
        )

    def compress(self, task):
        """Return the bytes of a file, and its row of the table."""
        opened = read_file(
            self._fit, task.path, reading=self._reading, mask_file=task.mask_file
        )
        return compress_file(
            self._fit,
            self._prior,
            opened,
            self._conditions_of(task.index, opened),
            rate=self._options.rate,
            batch_size=self._options.batch_size,
        )

    def _conditions_of(self, index, opened):
        """Return the conditions of the images of a file, as the prior takes them."""
        n, given = len(opened.images), {}
        if self._labels is not None:
            given["labels"] = self._labels[index]
        elif self._conditions.labels is not None:
            given["labels"] = np.full(n, self._conditions.labels[index])
        positions = None
        if self._conditions.has_position:
            positions = slice_positions(
                opened.file.n_slices, opened.file.n_volumes, opened.mask
            )
        columns = self._conditions.of_images(index, n, positions)
        return {**given, "covariates": columns} if columns else given


def compress_file(fit, prior, opened, conditions, *, rate=None, batch_size=None):
    """Compress the images of one file; return the bytes, and its row of the table."""
    from dipy_vqvae.compression import code_bytes, encode_at_rate, pack_images
    from dipy_vqvae.metrics import reconstruction_errors
    from dipy_vqvae.vqvae import decode_images

    coded = encode_file(fit, opened, batch_size=batch_size)
    if rate:
        (coded,) = encode_at_rate(
            fit,
            prior,
            [coded],
            [opened.images],
            rate=rate,
            batch_size=batch_size,
            **conditions,
        )
    content = pack_images(fit, prior, [coded], **conditions)
    inside = None
    if opened.mask is not None and prior.outside_code is not None:
        inside = fit.positions_inside(opened.mask)
    nats = -prior.log_prob(coded.codes, mask=inside, **conditions).sum()
    errors = reconstruction_errors(
        opened.images,
        decode_images(fit, coded, batch_size=batch_size),
        spatial_dims=fit.spatial_dims,
        mask=opened.mask,
    )
    n_voxels = len(coded.codes) * prod(coded.image_shape)
    row = {
        "bytes": len(content),
        "bytes_of_codes": code_bytes(content),
        "bits_per_voxel": 8 * len(content) / n_voxels,
        "bits_by_prior": float(nats / log(2)),
        "psnr": errors["psnr"],
        "ssim": errors["ssim"],
    }
    return content, row


def _labels_of_files(prior, fit, label_file, paths, reading):
    """Return the labels of the images of each file, or None without any."""
    has_classes = bool(prior.n_classes)
    if not label_file:
        if has_classes and not prior.description.get(CLASSES_ENTRY):
            raise UsageError(
                "the prior was fitted with labels: it requires --label_file"
            )
        return None
    if not has_classes:
        raise UsageError("--label_file: the prior was fitted without labels")
    from dipy_vqvae.data import open_images

    counts = open_images(
        paths,
        spatial_dims=fit.spatial_dims,
        slice_axis=reading.slice_axis,
        volumes_as=reading.volumes_as,
    ).counts
    return split_labels(read_labels(label_file), counts, label_file)


def _save_sizes(path, rows):
    """Write the table of the files that did not fail."""
    from dipy_vqvae.workflows.results import save_table

    if path and rows:
        save_table(path, rows)
        logger.info("Wrote %s", path)


def _save_bytes(path, content):
    from dipy_vqvae.storage import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    logger.info("Wrote %s: %d bytes", path, len(content))

"""Files of images to codes: one file, many files, and all codes for a prior."""

from dataclasses import dataclass
import logging
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from dipy_vqvae.data import slice_positions
from dipy_vqvae.workflows.command import (
    SomeFilesFailed,
    explain,
    share_items,
)
from dipy_vqvae.workflows.inputs import read_labels, split_labels

logger = logging.getLogger("dipy_vqvae")

# One file


@dataclass(frozen=True, eq=False)
class FileImages:
    """The images of one file."""

    file: object  # SourceFile, with the affine
    images: np.ndarray  # (n, *spatial[, C]), in the data type of the file
    mask: np.ndarray | None  # (n, *spatial) bool, True inside
    layout: object  # the axes of the images in the file


def read_file(fit, path, *, reading, mask_file=None):
    """Read the images of one file, and its mask, as a model needs them."""
    from dipy_vqvae.codes import is_coded
    from dipy_vqvae.data import layout_of, open_images

    if is_coded(path):
        raise ValueError(
            f"{path}: contains codes of dipy_encode_vqvae, not images; "
            "dipy_decode_vqvae turns them into images"
        )
    collection = open_images(
        [path],
        spatial_dims=fit.spatial_dims,
        slice_axis=reading.slice_axis,
        volumes_as=reading.volumes_as,
        mask_files=None if mask_file is None else [mask_file],
    )
    n_channels = collection.n_channels
    if n_channels != fit.n_channels_in:
        raise ValueError(
            f"{path}: its images have {n_channels} channel{'s' * (n_channels > 1)}, "
            f"the model was trained on {fit.n_channels_in}"
        )
    (file,) = collection.files
    _warn_of_orientation(file, reading)
    return FileImages(
        file=file,
        images=collection.read(0),
        mask=collection.read_mask(0),
        layout=layout_of(
            file, spatial_dims=fit.spatial_dims, slice_axis=reading.slice_axis
        ),
    )


def _warn_of_orientation(file, reading):
    from dipy_vqvae.data import orientation_of

    orientation = None if file.turn else orientation_of(file.affine)
    if reading.kind == "nifti" and orientation not in (None, reading.orientation):
        logger.warning(
            "%s: its orientation is %s, that of the training images %s; it is not "
            "resampled",
            file.path,
            orientation,
            reading.orientation,
        )


def encode_file(fit, opened, *, batch_size=None):
    """Encode the images of one file, as `dipy_vqvae.codes.CodedImages`."""
    from dipy_vqvae.vqvae import encode_images

    return encode_images(
        fit,
        opened.images,
        layout=opened.layout,
        mask=opened.mask,
        affine=opened.file.affine,
        space=opened.file.space,
        batch_size=batch_size,
    )


def describe_model(vqvae_file, fit, *, prior_file=None):
    """Return what identifies a model in the sidecars of its outputs."""
    from dipy_vqvae.vqvae import codebook_fingerprint

    record = {"File": Path(vqvae_file).name, "Codebook": codebook_fingerprint(fit)}
    return {**record, "Prior": Path(prior_file).name} if prior_file else record


# Many files with outputs of their own


@dataclass(frozen=True)
class FileTask:
    """One input file, the paths of its outputs by option, and its mask."""

    path: Path
    outputs: dict
    mask_file: Path | None = None
    index: int = 0  # of the file


def process_files(tasks, compute, save, *, verbose=False):
    """Compute and save the results of many files, one at a time.

    ``compute(task)`` gives the results of a task. If it fails, the error is reported
    and the other files are processed all the same. ``save(task, results)`` gives the
    summary of a file; its errors are raised, because a full disk is full for all.
    Return the summary of each file, None for those that failed.
    """
    hidden = not (verbose and len(tasks) > 1)
    with tqdm(total=len(tasks), desc="files", unit="file", disable=hidden) as progress:

        def work(task):
            try:
                results = compute(task)
            except Exception as error:  # noqa: BLE001
                _report(error, task.path)
                return None
            finally:
                progress.update()
            return save(task, results)

        return share_items(work, tasks)


def raise_for_failed(tasks, summaries):
    """Raise `SomeFilesFailed` with the names of the files without a summary."""
    failed = [
        str(task.path) for task, summary in zip(tasks, summaries) if summary is None
    ]
    if failed:
        raise SomeFilesFailed(
            f"{len(failed)} of {len(tasks)} files failed: {', '.join(failed)}"
        )


def _report(error, path):
    line = explain(error)
    logger.error(line if str(path) in line else f"{path}: {line}")
    logger.debug("traceback:", exc_info=error)


# All codes for a prior


def encode_files(
    fit,
    paths,
    *,
    reading,
    mask_files=None,
    label_file=None,
    conditions=None,
    skip_empty=False,
    shifts=(),
    verbose=False,
):
    """Encode the images of files for a prior, one file in memory at a time.

    Images without voxels inside their mask, and constant ones with `skip_empty`, are
    left out. `label_file` has a class for each image, including those left out;
    `conditions` are `FileConditions`. Each of `shifts` gives variants of all images. The
    result is a `dipy_vqvae.codes.CodeSet`.
    """
    from dipy_vqvae.codes import CodeSet

    mask_files = [None] * len(paths) if mask_files is None else mask_files
    all_labels = None if label_file is None else read_labels(label_file)
    items = list(zip(range(len(paths)), paths, mask_files))
    with tqdm(
        total=len(items), desc="encoding", unit="file", disable=not verbose
    ) as progress:

        def work(item):
            index, path, mask_file = item
            opened = read_file(fit, path, reading=reading, mask_file=mask_file)
            progress.update()
            keep, codes, inside = _encode(
                fit, opened, skip_empty=skip_empty, shifts=shifts
            )
            columns = None
            if conditions is not None:
                positions = slice_positions(
                    opened.file.n_slices, opened.file.n_volumes, opened.mask
                )
                columns = conditions.of_images(index, len(keep), positions)
                columns = {name: values[keep] for name, values in columns.items()}
            return keep, codes, inside, columns

        encoded = share_items(work, items)
    kept = [keep for keep, *_ in encoded]
    used = [i for i, keep in enumerate(kept) if keep.any()]
    if not used:
        n_images = sum(map(len, kept))
        raise ValueError(f"{paths[0]}: all {n_images} images are empty (constant)")
    labels = None
    if all_labels is not None:
        of_files = split_labels(all_labels, list(map(len, kept)), label_file)
        labels = [of_files[i][kept[i]] for i in used]
    elif conditions is not None and conditions.labels is not None:
        labels = [np.full(kept[i].sum(), conditions.labels[i]) for i in used]
    columns = [encoded[i][3] for i in used]
    return CodeSet(
        paths=[paths[i] for i in used],
        codes=[encoded[i][1][0] for i in used],
        masks=[encoded[i][2] for i in used] if mask_files[0] is not None else None,
        labels=labels,
        covariates=columns if columns[0] else None,
        variants=[[encoded[i][1][k] for i in used] for k in range(1, 1 + len(shifts))],
    )


def _encode(fit, opened, *, skip_empty, shifts):
    """Return the images to keep (n,) bool, their codes, and the positions inside.

    The codes are those of the images and of the images moved by each of the shifts.
    """
    images, mask = opened.images, opened.mask
    keep = np.ones(len(images), bool)
    if skip_empty:
        from dipy_vqvae.data import is_varying

        keep = is_varying(images, fit.spatial_dims, mask)
    if mask is not None:
        keep = keep & mask.reshape(len(mask), -1).any(axis=1)
    if not keep.any():
        return keep, None, None
    # All images of a file together: its scaling may depend on them.
    codes = [
        fit.encode(images, mask=mask, shift=shift)[keep] for shift in (None, *shifts)
    ]
    return keep, codes, None if mask is None else fit.positions_inside(mask[keep])

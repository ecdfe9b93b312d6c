"""The files that a command reads: images, masks, labels, and those held out."""

from dataclasses import dataclass
import logging
import os
from pathlib import Path

import numpy as np

from dipy_vqvae.data import subject_of
from dipy_vqvae.workflows.command import UsageError, as_list

logger = logging.getLogger("dipy_vqvae")


@dataclass(frozen=True)
class InputFiles:
    """Files of a training: images, those held out, and a mask or None for each."""

    images: list
    held_out: list
    masks: list
    held_out_masks: list

    def all(self):
        """Return all of them in one list."""
        masks = filter(None, [*self.masks, *self.held_out_masks])
        return [*self.images, *self.held_out, *masks]


def find_files(options):
    """Return the files that the options of a training name, as `InputFiles`."""
    # With labels, images are pairs with them, and may be named twice.
    images, masks = images_and_masks(
        options.input_files,
        options.mask_files,
        in_pairs=bool(getattr(options, "label_file", None)),
    )
    held_out, held_out_masks = images_and_masks(
        options.validation_files,
        options.validation_mask_files,
        option="validation_mask_files",
        in_pairs=bool(getattr(options, "validation_label_file", None)),
    )
    if options.validation_fraction and len(set(map(subject_of, images))) < 2:
        raise UsageError(
            f"--validation_fraction holds out whole subjects, and {images[0]} is the "
            "only one: give several, or --validation_files"
        )
    files = InputFiles(
        images=images,
        held_out=held_out,
        masks=masks,
        held_out_masks=held_out_masks,
    )
    if held_out:
        if (masks[0] is None) != (held_out_masks[0] is None):
            raise UsageError(
                "--mask_files and --validation_mask_files go together where there are "
                "--validation_files"
            )
        _warn_of_common_files(images, held_out)
    return files


def _warn_of_common_files(images, held_out):
    training = {subject_of(os.path.realpath(path)) for path in images}
    common = [
        path for path in held_out if subject_of(os.path.realpath(path)) in training
    ]
    if common:
        logger.warning(
            "--validation_files: %d of %d are of subjects of the training (%s%s): the "
            "validation loss says little about other subjects",
            len(common),
            len(held_out),
            common[0],
            ", ..." if common[1:] else "",
        )


# Held-out files


def check_validation(options, *others):
    """Refuse options of validation that contradict each other.

    `others` are names of options that need ``--validation_files``.
    """
    has_files = bool(as_list(options.validation_files))
    if has_files and options.validation_fraction:
        raise UsageError(
            "--validation_files and --validation_fraction exclude each other"
        )
    if options.patience and not (has_files or options.validation_fraction):
        raise UsageError(
            "--patience requires --validation_files or --validation_fraction"
        )
    for name in others:
        if as_list(getattr(options, name)) and not has_files:
            raise UsageError(f"--{name} requires --validation_files")


def choose_held_out(paths, fraction, *, random_seed):
    """Draw the subjects to hold out, at least one; return their files in order.

    Files whose names have the same BIDS entity ``sub-`` are of one subject.
    """
    paths = list(dict.fromkeys(paths))
    subjects = list(dict.fromkeys(map(subject_of, paths)))
    n_held = min(max(1, round(fraction * len(subjects))), len(subjects) - 1)
    order = np.random.default_rng(random_seed).permutation(len(subjects))
    chosen = {subjects[i] for i in order[:n_held]}
    held_out = [path for path in paths if subject_of(path) in chosen]
    names = ", ".join(str(path) for path in held_out[:5])
    more = f" and {len(held_out) - 5} more" if held_out[5:] else ""
    logger.info("Held out: %s%s", names, more)
    return held_out


# Masks


def images_and_masks(image_files, mask_files, *, option="mask_files", in_pairs=False):
    """Return the paths of images, and a mask for each; None for each without masks.

    `mask_files` are files, globs or folders: one mask for all images, or those of each,
    which are paired by their names, see `dipy_vqvae.data.pair_masks`. With one for each,
    images and masks are pairs: a file may be named more than once.
    """
    from dipy_vqvae.data import PairingError, expand_with_masks

    image_files, mask_files = as_list(image_files), as_list(mask_files)
    if not image_files:
        return [], []
    try:
        paths, masks = expand_with_masks(image_files, mask_files, in_pairs=in_pairs)
    except PairingError as error:
        raise UsageError(f"--{option}: {error}") from None
    if masks is None:
        return paths, [None] * len(paths)
    for path, mask in zip(paths, masks):
        logger.debug("%s has the mask %s", path, mask)
    if len(set(masks)) > 1:
        logger.info(
            "Masks: %s with %s, to %s with %s", paths[0], masks[0], paths[-1], masks[-1]
        )
    return paths, masks


def masks_or_none(masks):
    """Return masks of `images_and_masks` as `dipy_vqvae.open_images` takes them."""
    if not masks or masks[0] is None:
        return None
    return masks[:1] if len(set(masks)) == 1 else masks


# Labels


def read_labels(path):
    """Read one class per image, as (N,) int64.

    The file is idx (of one axis), .npy, or text with whole numbers from 0.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".npy"):
        from dipy_vqvae.data import read_image

        labels = read_image(path).data
    elif "idx1" in name or name.removesuffix(".gz").endswith(".idx"):
        from dipy_vqvae.data import read_idx

        labels = read_idx(path, n_axes=1)
    else:
        labels = _read_numbers(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise ValueError(
            f"{path}: labels must be whole numbers in one row, got {labels.dtype} "
            f"of shape {labels.shape}"
        )
    if labels.min() < 0:
        raise ValueError(f"{path}: labels must not be negative, got {labels.min()}")
    return labels.astype(np.int64)


def split_labels(labels, counts, path):
    """Divide the labels of all images among files; `counts` are their images."""
    if len(labels) != sum(counts):
        raise ValueError(
            f"{path} has {len(labels)} labels, there are {sum(counts)} images"
        )
    return np.split(labels, np.cumsum(counts)[:-1])


def _read_numbers(path):
    try:
        words = path.read_text(encoding="utf-8-sig").replace(",", " ").split()
        return np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: not a list of labels, one whole number for each image"
        ) from error

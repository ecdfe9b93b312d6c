"""The codes of many files, for a prior."""

import numpy as np
from tqdm import tqdm

from dipy_vqvae.codes import CodeSet
from dipy_vqvae.workflows.coding import open_file
from dipy_vqvae.workflows.command import ranks
from dipy_vqvae.workflows.reading import read_labels


def encode_files(
    fit,
    paths,
    *,
    reading,
    mask_files=None,
    label_file=None,
    skip_empty=False,
    verbose=False,
):
    """Encode the images of files, one file in memory at a time.

    Parameters
    ----------
    fit : VQVAEFit
        The model.
    paths : list of Path
        The files.
    reading : Reading
        How to take them apart.
    mask_files : list of Path or None, optional
        A mask for each. Images with nothing inside are left out.
    label_file : str or Path, optional
        A class for each image, counting those that are left out.
    skip_empty : bool, optional
        Leave out constant images.
    verbose : bool, optional
        Show progress.

    Returns
    -------
    codes : CodeSet
        The codes of all files.

    Raises
    ------
    OSError, ValueError
        If a file cannot be used, or labels do not fit.
    """
    all_labels = None if label_file is None else read_labels(label_file)
    mask_files = [None] * len(paths) if mask_files is None else mask_files
    items = list(zip(paths, mask_files))
    with tqdm(
        total=len(items), desc="encoding", unit="file", disable=not verbose
    ) as bar:

        def work(item):
            path, mask_file = item
            opened = open_file(fit, path, reading=reading, mask_file=mask_file)
            bar.update()
            return _encode(fit, opened, skip_empty=skip_empty)

        encoded = ranks.share_out(work, items)
    n_seen = np.cumsum([0, *(len(keep) for keep, _, _ in encoded)])
    used = [i for i, (keep, _, _) in enumerate(encoded) if keep.any()]
    if not used:
        raise ValueError(f"{paths[0]}: all {n_seen[-1]} images are empty (constant)")
    labels = None
    if all_labels is not None:
        if len(all_labels) != n_seen[-1]:
            raise ValueError(
                f"{label_file} has {len(all_labels)} labels, there are {n_seen[-1]} "
                "images"
            )
        labels = [all_labels[n_seen[i] :][: len(encoded[i][0])] for i in used]
        labels = [found[encoded[i][0]] for i, found in zip(used, labels)]
    has_masks = mask_files[0] is not None
    return CodeSet(
        paths=[paths[i] for i in used],
        codes=[encoded[i][1] for i in used],
        masks=[encoded[i][2] for i in used] if has_masks else None,
        labels=labels,
    )


def _encode(fit, opened, *, skip_empty):
    """Which images of a file to keep, their codes, and the positions that count."""
    images, mask = opened.images, opened.mask
    keep = np.ones(len(images), bool)
    if skip_empty:
        keep = _varying(images, fit.spatial_dims)
    if mask is not None:
        keep = keep & mask.reshape(len(mask), -1).any(axis=1)
    if not keep.any():
        return keep, None, None
    # All of a file together: its scaling may depend on them.
    codes = fit.encode(images, mask=mask)[keep]
    return keep, codes, None if mask is None else fit.positions_inside(mask[keep])


def _varying(images, spatial_dims):
    # As `load_images` tells it: over space, in any channel.
    space = tuple(range(1, 1 + spatial_dims))
    varies = images.min(axis=space) != images.max(axis=space)
    return varies.reshape(len(images), -1).any(axis=1)

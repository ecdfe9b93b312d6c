"""Images as codes for the report of a prior."""

from pathlib import Path

import numpy as np

from dipy_vqvae.arrays import is_list_of_arrays
from dipy_vqvae.codes import CodeSet


def encode_all(vqvae, images, *, mask=None, labels=None, covariates=None):
    """Encode images for a report.

    Parameters
    ----------
    vqvae : VQVAEFit
        The VQ-VAE.
    images, mask
        As for ``vqvae.encode``.
    labels : int array, shape (N,), or None
        Class of each image.
    covariates : dict of array, shape (N,), or None
        Conditions by name; a number counts for all images.

    Returns
    -------
    codes : CodeSet
    """
    n_axes = vqvae.spatial_dims
    encoded = vqvae.encode(images, mask=mask)
    is_list = isinstance(encoded, list)
    # (*grid,) or (n, *grid) -> (n, *grid)
    stacks = [
        grids.reshape(-1, *grids.shape[-n_axes:])
        for grids in (encoded if is_list else [encoded])
    ]
    masks = _masks(vqvae, images, mask, stacks)
    ends = np.cumsum([len(stack) for stack in stacks])
    if labels is not None:
        labels = np.split(np.asarray(labels), ends[:-1])
    if covariates is not None:
        columns = {
            name: np.split(np.broadcast_to(values, ends[-1]), ends[:-1])
            for name, values in dict(covariates).items()
        }
        covariates = [
            {name: parts[i] for name, parts in columns.items()}
            for i in range(len(stacks))
        ]
    files = getattr(images, "files", None)
    paths = [Path(f"images[{i}]") for i in range(len(stacks))]
    return CodeSet(
        paths=paths if files is None else [file.path for file in files],
        codes=stacks,
        masks=masks,
        labels=labels,
        covariates=covariates,
    )


def _masks(vqvae, images, mask, stacks):
    """Return the positions inside the masks, (n, *grid) of each stack, or None."""
    if getattr(images, "has_masks", False):
        given = [images.read_mask(i) for i in range(len(stacks))]
    elif mask is None:
        return None
    else:
        given = mask if is_list_of_arrays(mask) else [mask]
    return [
        np.broadcast_to(vqvae.positions_inside(inside), stack.shape)
        for inside, stack in zip(given, stacks)
    ]

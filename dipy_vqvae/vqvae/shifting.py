"""Images moved by some voxels: other codes for a prior to learn from.

A block of voxels has one code. Images that move by less than a block have other codes,
and are as likely to be seen.
"""

from itertools import islice, product
import math

import torch
import torch.nn.functional as F

from dipy_vqvae.settings import check_number
from dipy_vqvae.vqvae.batches import Batch


def small_shifts(n, factors):
    """Return the n smallest shifts, in voxels along each axis.

    Along an axis with f voxels per code they are at most f / 2.

    Parameters
    ----------
    n : int
        How many.
    factors : tuple of int
        Voxels per code along each axis.

    Returns
    -------
    shifts : list of tuple of int

    Raises
    ------
    ValueError
        If there are not so many.

    Examples
    --------
    >>> small_shifts(4, (4, 4))
    [(0, 1), (1, 0), (-1, 0), (0, -1)]
    """
    check_number("n_shifts", n, at_least=0, whole=True)
    ranges = [range(-(f // 2), f // 2 + 1) for f in factors]
    # By length, and then in an order that begins with different axes.
    ranked = sorted(
        product(*ranges),
        key=lambda shift: (sum(i * i for i in shift), [-i for i in reversed(shift)]),
    )
    if n >= len(ranked):
        raise ValueError(
            f"n_shifts must be at most {len(ranked) - 1} for {factors} voxels per code, "
            f"got {n}"
        )
    return list(islice(ranked, 1, n + 1))


def check_shift(shift, spatial_dims):
    """Check a shift; return it as a tuple of int."""
    if not isinstance(shift, (tuple, list)) or len(shift) != spatial_dims:
        raise ValueError(
            f"shift must be a number of voxels for each of {spatial_dims} axes, got "
            f"{shift!r}"
        )
    return tuple(
        int(check_number("shift", n, at_least=-math.inf, whole=True)) for n in shift
    )


def shifted(batch, shift, shape):
    """Move the images of a batch within their shape; their edges are repeated.

    The padding after them stays where it is.
    """

    def move(x):
        for axis, (by, size) in enumerate(zip(shift, shape), start=2):
            places = torch.arange(x.shape[axis], device=x.device)
            places[:size] = (places[:size] - by).clamp(0, size - 1)
            x = x.index_select(axis, places)
        return x

    weight, inside = batch.weight, batch.inside
    if weight is not None:
        weight = move(weight)
    if inside is not None:
        factors = [m // g for m, g in zip(batch.x.shape[2:], inside.shape[1:])]
        pool = (None, F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(factors)]
        inside = pool(weight, factors)[:, 0] > 0
        inside = inside.expand(len(batch.x), *inside.shape[1:])
    return Batch(move(batch.x), weight, inside)


def shifted_codes(fit, images, n_shifts):
    """Encode moved images, for the `variants` of a prior's training.

    Parameters
    ----------
    fit : VQVAEFit
        The model.
    images : array, list of arrays, or ImageCollection
        As for :meth:`VQVAEFit.encode`.
    n_shifts : int
        Number of copies, moved by the smallest shifts.

    Returns
    -------
    variants : list of int arrays or of lists of them
        The codes of each copy.
    """
    return [
        fit.encode(images, shift=shift)
        for shift in small_shifts(n_shifts, fit.config.downsampling)
    ]

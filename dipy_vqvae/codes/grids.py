"""Grids of codes of which only a part counts, or that differ in shape."""

import numpy as np

from dipy_vqvae.codes.checks import check_codes


def is_list_of_grids(codes):
    """Whether codes are a list with an array for each of several subjects."""
    return isinstance(codes, (list, tuple)) and any(
        isinstance(entry, np.ndarray) for entry in codes
    )


def mark_outside(codes, mask, *, n_codes, spatial_dims=None, name="codes"):
    """Check codes, and put the symbol K where they do not count.

    Parameters
    ----------
    codes : int array, shape (N, *grid)
        Codes in [0, K); outside of the mask anything.
    mask : array, shape (*grid,) or (N, *grid), bool, or None
        Positions that count.
    n_codes : int
        Number of codes K.
    spatial_dims : int, optional
        Number of axes of the grid, if it is known.
    name : str, optional
        What the messages call the codes.

    Returns
    -------
    codes : int array, shape (N, *grid), int32
        K outside.

    Raises
    ------
    TypeError
        For codes that are not integers, or a mask that is not bool.
    ValueError
        For codes out of range, a mask of another shape or one that selects nothing.
    """
    if mask is None:
        return check_codes(codes, n_codes=n_codes, spatial_dims=spatial_dims, name=name)
    codes, mask = np.asarray(codes), np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"the mask of {name} must be bool, got {mask.dtype}")
    if mask.shape not in (codes.shape, codes.shape[1:]):
        raise ValueError(
            f"the mask of {name} must have shape {codes.shape[1:]} or {codes.shape}, "
            f"got {mask.shape}"
        )
    if not mask.any():
        raise ValueError(f"the mask of {name} selects nothing")
    if codes.dtype.kind in "iu":
        codes = np.where(mask, codes, 0)
    codes = check_codes(codes, n_codes=n_codes, spatial_dims=spatial_dims, name=name)
    return np.where(mask, codes, np.int32(n_codes))


def stack_grids(grids, masks, *, n_codes, spatial_dims, name="codes"):
    """Check a list of grids and of their masks; mark what is outside.

    Parameters
    ----------
    grids : list of int arrays, shape (*grid,) or (n, *grid)
        Codes; grids may differ in shape.
    masks : list of bool arrays, or None
        As many, of the same shapes or of one grid of them.
    n_codes : int
        Number of codes K.
    spatial_dims : int
        Number of axes of a grid.
    name : str, optional
        What the messages call the codes.

    Returns
    -------
    stacks : list of int arrays, shape (n, *grid), int32
        K outside.

    Raises
    ------
    TypeError, ValueError
        As `mark_outside`, and for a number of masks other than that of grids.
    """
    if masks is not None and (
        not isinstance(masks, (list, tuple)) or len(masks) != len(grids)
    ):
        raise ValueError(f"mask must be a list of {len(grids)} masks for {name}")
    stacks = []
    for index, grid in enumerate(grids):
        grid = np.asarray(grid)
        if grid.ndim == spatial_dims:
            grid = grid[np.newaxis]
        mask = None if masks is None else masks[index]
        one = f"{name}[{index}]"
        how = {"n_codes": n_codes, "spatial_dims": spatial_dims, "name": one}
        stacks.append(mark_outside(grid, mask, **how))
    return stacks


def pad_grids(codes, grid_shape, *, n_codes):
    """Pad grids at the end of their axes with the symbol K.

    Parameters
    ----------
    codes : int array, shape (N, *grid)
        Codes.
    grid_shape : tuple of int
        Shape to reach, along the axes where it is larger.
    n_codes : int
        Number of codes K.

    Returns
    -------
    codes : int array, shape (N, *padded)

    Examples
    --------
    >>> pad_grids(np.zeros((1, 2, 1), int), (1, 2), n_codes=8)[0]
    array([[0, 8],
           [0, 8]])
    """
    more = [max(0, full - n) for n, full in zip(codes.shape[1:], grid_shape)]
    if not any(more):
        return codes
    return np.pad(codes, [(0, 0), *((0, n) for n in more)], constant_values=n_codes)


def with_something_inside(codes, n_codes):
    """Which grids ``(N, *grid)`` have a code other than the symbol K."""
    return (codes != n_codes).reshape(len(codes), -1).any(axis=1)


def most_frequent_outside(codes, inside):
    """The code that is found most often outside, 0 where nothing is outside.

    Parameters
    ----------
    codes : list of int arrays, shape (n, *grid)
        Codes as they were given, everywhere.
    inside : list of bool arrays
        Masks that broadcast to them.

    Returns
    -------
    code : int
    """
    counts = np.zeros(1, np.int64)
    for some, mask in zip(codes, inside):
        outside = some[~np.broadcast_to(mask, some.shape)]
        found = np.bincount(outside[outside >= 0].astype(np.int64), minlength=1)
        if len(found) > len(counts):
            counts, found = found, counts
        counts[: len(found)] += found
    return int(counts.argmax())

"""Checks on grids of codes that are to be completed."""

import numpy as np


def check_completion(codes, keep, *, n, n_codes, spatial_dims, grid_shape=None):
    """Check grids of codes and which of them to keep.

    Parameters
    ----------
    codes : int array, shape (n, *grid) or (*grid,)
        Codes; those that are not kept may be anything.
    keep : bool array, shape (n, *grid) or (*grid,)
        Which of them to keep.
    n : int
        Number of grids.
    n_codes : int
        Codebook size K: kept codes are in [0, K).
    spatial_dims : int
        Number of axes of the grid.
    grid_shape : tuple of int, optional
        The grid, if it is known.

    Returns
    -------
    codes : int array, shape (n, *grid)
    keep : bool array, shape (n, *grid)

    Raises
    ------
    ValueError
        For one without the other, wrong shapes, or kept codes out of range.
    TypeError
        For codes that are not integers, or a mask that is not bool.
    """
    if codes is None or keep is None:
        raise ValueError("codes and keep belong together: give both, or none")
    codes, keep = np.asarray(codes), np.asarray(keep)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"codes must be integers, got {codes.dtype}")
    if keep.dtype != bool:
        raise TypeError(f"keep must be bool, got {keep.dtype}")
    if codes.ndim not in (spatial_dims, spatial_dims + 1):
        raise ValueError(
            f"codes must have shape (n, *grid) or (*grid,) with {spatial_dims} axes of "
            f"the grid, got {codes.shape}"
        )
    grid = codes.shape[codes.ndim - spatial_dims :]
    if grid_shape is not None and grid != tuple(grid_shape):
        raise ValueError(f"codes have a grid of {grid}, grid_shape is {grid_shape}")
    if 0 in grid:
        raise ValueError(f"codes are empty, their shape is {codes.shape}")
    for name, array in (("codes", codes), ("keep", keep)):
        if array.shape not in ((n, *grid), grid):
            raise ValueError(
                f"{name} must have shape {(n, *grid)} or {grid}, got {array.shape}"
            )
    codes = np.broadcast_to(codes, (n, *grid))
    keep = np.broadcast_to(keep, (n, *grid))
    kept = codes[keep]
    low, high = (int(kept.min()), int(kept.max())) if kept.size else (0, 0)
    if low < 0 or high >= n_codes:
        raise ValueError(
            f"codes to keep range from {low} to {high}, but must lie in [0, {n_codes})"
        )
    return codes, keep


def fix_outside(codes, keep, mask, *, n, grid_shape, n_codes):
    """Put the symbol K where grids do not count, and keep it there.

    Parameters
    ----------
    codes : int array, shape (n, *grid), or None
        Grids to complete, if any.
    keep : bool array, shape (n, *grid), or None
        Which of their codes to keep.
    mask : bool array, shape (*grid,) or (n, *grid), or None
        Positions that count; None: all of them.
    n : int
        Number of grids.
    grid_shape : tuple of int
        Their shape.
    n_codes : int
        Codebook size K.

    Returns
    -------
    codes : int array, shape (n, *grid)
    keep : bool array, shape (n, *grid)

    Raises
    ------
    ValueError
        For a mask of another shape.
    TypeError
        For a mask that is not bool.
    """
    shape = (n, *grid_shape)
    mask = np.ones(grid_shape, bool) if mask is None else np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask must be bool, got {mask.dtype}")
    if mask.shape not in (shape, shape[1:]):
        raise ValueError(
            f"mask must have shape {shape[1:]} or {shape}, got {mask.shape}"
        )
    if codes is None:
        codes, keep = np.zeros(shape, np.int32), np.zeros(shape, bool)
    return np.where(mask, codes, n_codes), keep | ~mask

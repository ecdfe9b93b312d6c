"""Grids of codes: checks, positions that count, padding.

The symbol K, one more than the largest code, marks positions that do not count.
"""

import numpy as np

from dipy_vqvae.arrays import as_array, is_list_of_arrays


class GridList(list):
    """Codes of several subjects, an array for each, that know the axes of a grid.

    An array of three axes may be several grids of two, or one of three.

    Parameters
    ----------
    arrays : iterable of int array, shape (n, *grid) or (*grid,)
        Codes of each subject.
    spatial_dims : int
        Number of axes of a grid.

    Examples
    --------
    >>> codes = GridList([np.zeros((5, 4, 3), int), np.zeros((2, 4, 4), int)], 2)
    >>> codes[:1].spatial_dims
    2
    """

    def __init__(self, arrays=(), spatial_dims=None):
        super().__init__(arrays)
        self.spatial_dims = spatial_dims

    def __getitem__(self, index):
        chosen = super().__getitem__(index)
        if isinstance(index, slice):
            return type(self)(chosen, self.spatial_dims)
        return chosen


# A network has weights for each class, up to the largest label.
MOST_CLASSES = 65_536


def check_grids(codes, mask=None, *, n_codes, spatial_dims=None, name="codes"):
    """Check codes and their masks, and put the symbol K where they do not count.

    Parameters
    ----------
    codes : int array, shape (N, *grid), or list of int arrays
        Codes in [0, K); anything outside of the mask. Grids of a list may differ, and
        an entry may be one grid, of shape (*grid,).
    mask : bool array, shape (*grid,) or (N, *grid), or list of them, optional
        Positions that count; for a list of codes one mask for each entry.
    n_codes : int
        Codebook size K.
    spatial_dims : int, optional
        Number of axes of the grid; required for a list.
    name : str, optional
        What messages call the codes.

    Returns
    -------
    stacks : list of int arrays, shape (n, *grid), int32
        One for each entry of a list, or one alone; K outside.

    Raises
    ------
    TypeError, ValueError
        For codes that are not integers, out of range or of a wrong shape, a mask that
        is not bool, of another shape or that selects nothing, or if the numbers of
        masks and grids differ.
    """
    if not is_list_of_arrays(codes):
        return [_check_stack(codes, mask, n_codes, spatial_dims, name)]
    masks = [None] * len(codes) if mask is None else mask
    if not isinstance(masks, (list, tuple)) or len(masks) != len(codes):
        raise ValueError(f"mask must be a list of {len(codes)} masks for {name}")
    stacks = []
    for index, (grids, mask_of_grids) in enumerate(zip(codes, masks)):
        grids = as_array(grids, f"{name}[{index}]")
        if grids.ndim == spatial_dims:
            grids = grids[np.newaxis]
        stack = _check_stack(
            grids, mask_of_grids, n_codes, spatial_dims, f"{name}[{index}]"
        )
        stacks.append(stack)
    return stacks


def _check_stack(codes, mask, n_codes, spatial_dims, name):
    """Check codes (N, *grid) and put K outside of their mask."""
    codes = as_array(codes, name)
    _check_integers(codes, name)
    if mask is not None:
        mask = as_array(mask, f"the mask of {name}")
        _check_mask(mask, codes.shape, f"the mask of {name}")
        if not mask.any():
            raise ValueError(f"the mask of {name} selects nothing")
        codes = np.where(mask, codes, 0)
    allowed = (1, 2, 3) if spatial_dims is None else (spatial_dims,)
    if codes.ndim - 1 not in allowed:
        raise ValueError(
            f"{name} must have shape (N, *grid) with {' or '.join(map(str, allowed))} "
            f"axes of the grid, got {codes.shape}"
        )
    if codes.size == 0:
        raise ValueError(f"{name} are empty, their shape is {codes.shape}")
    _check_range(codes, n_codes, name)
    codes = codes.astype(np.int32, copy=False)
    return codes if mask is None else np.where(mask, codes, np.int32(n_codes))


def check_labels(labels, *, n, n_classes=None, name="labels"):
    """Check class labels.

    Parameters
    ----------
    labels : int array, shape (n,)
        Labels.
    n : int
        Number of labels there must be.
    n_classes : int, optional
        Labels are in [0, n_classes), if that is known; else below `MOST_CLASSES`.
    name : str, optional
        What messages call the labels.

    Returns
    -------
    labels : array, shape (n,), int64

    Raises
    ------
    TypeError, ValueError
        For labels that are not integers, of a wrong shape or out of range.
    """
    labels = as_array(labels, name, in_files=False)
    _check_integers(labels, name)
    if labels.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {labels.shape}")
    low, high = (int(labels.min()), int(labels.max())) if n else (0, 0)
    if low < 0 or (n_classes is not None and high >= n_classes):
        limit = "0 on" if n_classes is None else f"[0, {n_classes})"
        raise ValueError(f"{name} range from {low} to {high}, but must be from {limit}")
    if high >= MOST_CLASSES:
        raise ValueError(
            f"{name} go up to {high}: number the classes from 0 on, at most "
            f"{MOST_CLASSES} of them"
        )
    return labels.astype(np.int64)


def pad_grids(codes, grid_shape, *, n_codes):
    """Pad grids at the end of their axes with the symbol K.

    Parameters
    ----------
    codes : int array, shape (N, *grid)
        Codes.
    grid_shape : tuple of int
        Shape to reach, along the axes where it is larger.
    n_codes : int
        Codebook size K.

    Returns
    -------
    codes : int array, shape (N, *padded)

    Examples
    --------
    >>> pad_grids(np.zeros((1, 2, 1), int), (1, 2), n_codes=8)[0]
    array([[0, 8],
           [0, 8]])
    """
    widths = [max(0, full - n) for n, full in zip(codes.shape[1:], grid_shape)]
    if not any(widths):
        return codes
    return np.pad(codes, [(0, 0), *((0, n) for n in widths)], constant_values=n_codes)


def check_completion(
    codes, keep, *, n, n_codes, spatial_dims, grid_shape=None, mask=None
):
    """Check grids of codes to be completed.

    Parameters
    ----------
    codes : int array, shape (n, *grid) or (*grid,)
        Codes; anything where they are not kept.
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
    mask : bool array, shape (*grid,) or (n, *grid), optional
        Positions that count; codes elsewhere are not looked at.

    Returns
    -------
    codes : int array, shape (n, *grid)
    keep : bool array, shape (n, *grid)

    Raises
    ------
    TypeError, ValueError
        For one without the other, wrong types or shapes, or kept codes out of range.
    """
    if codes is None or keep is None:
        raise ValueError("codes and keep belong together: give both, or none")
    codes, keep = as_array(codes, "codes"), as_array(keep, "keep")
    _check_integers(codes, "codes")
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
    if codes.shape not in ((n, *grid), grid):
        raise ValueError(
            f"codes must have shape {grid} or {(n, *grid)}, got {codes.shape}"
        )
    _check_mask(keep, (n, *grid), "keep")
    codes = np.broadcast_to(codes, (n, *grid))
    keep = np.broadcast_to(keep, (n, *grid))
    inside = True
    if mask is not None:
        inside = as_array(mask, "mask")
        _check_mask(inside, (n, *grid), "mask")
    _check_range(codes[keep & inside], n_codes, "codes to keep")
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
    TypeError, ValueError
        For a mask that is not bool, or of another shape.
    """
    shape = (n, *grid_shape)
    mask = np.ones(grid_shape, bool) if mask is None else as_array(mask, "mask")
    _check_mask(mask, shape, "mask")
    if codes is None:
        codes, keep = np.zeros(shape, np.int32), np.zeros(shape, bool)
    return np.where(mask, codes, n_codes), keep | ~mask


def _check_integers(array, name):
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {array.dtype}")


def _check_range(codes, n_codes, name):
    """Refuse codes outside of [0, n_codes)."""
    low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    if low < 0 or high >= n_codes:
        raise ValueError(
            f"{name} range from {low} to {high}, but must lie in [0, {n_codes})"
        )


def _check_mask(mask, shape, name):
    """Refuse a mask that is not bool, or neither of `shape` nor of one grid."""
    if mask.dtype != bool:
        raise TypeError(f"{name} must be bool, got {mask.dtype}")
    if mask.shape not in (shape, shape[1:]):
        raise ValueError(
            f"{name} must have shape {shape[1:]} or {shape}, got {mask.shape}"
        )

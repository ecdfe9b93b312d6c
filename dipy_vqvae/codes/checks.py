"""Checks on arrays of codes and labels."""

import numpy as np

# A network has weights for each class, up to the largest label.
MOST_CLASSES = 65_536


def check_codes(codes, *, n_codes, spatial_dims=None, name="codes"):
    """Check an array of codes.

    Parameters
    ----------
    codes : int array, shape (N, *grid)
        Codes.
    n_codes : int
        Codebook size K: codes are in [0, K).
    spatial_dims : int, optional
        Number of axes of the grid, if it is known.
    name : str, optional
        What the messages call the codes.

    Returns
    -------
    codes : int array, shape (N, *grid)

    Raises
    ------
    TypeError
        For numbers that are not integers.
    ValueError
        For a wrong number of axes, an empty array, or codes out of range.
    """
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {codes.dtype}")
    allowed = (1, 2, 3) if spatial_dims is None else (spatial_dims,)
    if codes.ndim - 1 not in allowed:
        raise ValueError(
            f"{name} must have shape (N, *grid) with {' or '.join(map(str, allowed))} "
            f"axes of the grid, got {codes.shape}"
        )
    if codes.size == 0:
        raise ValueError(f"{name} are empty, their shape is {codes.shape}")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= n_codes:
        raise ValueError(
            f"{name} range from {low} to {high}, but must lie in [0, {n_codes})"
        )
    return codes.astype(np.int32, copy=False)


def check_labels(labels, *, n, n_classes=None, name="labels"):
    """Check class labels.

    Parameters
    ----------
    labels : int array, shape (n,)
        Labels.
    n : int
        How many there must be.
    n_classes : int, optional
        Labels are in [0, n_classes), if that is known; else below `MOST_CLASSES`.
    name : str, optional
        What the messages call the labels.

    Returns
    -------
    labels : array, shape (n,), int64

    Raises
    ------
    TypeError
        For numbers that are not integers.
    ValueError
        For a wrong shape, or labels out of range.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {labels.dtype}")
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

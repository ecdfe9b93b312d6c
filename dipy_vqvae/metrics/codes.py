"""Codebook usage and perplexity."""

from dataclasses import dataclass

import numpy as np

from dipy_vqvae.arrays import as_array, as_mask


@dataclass(frozen=True, eq=False)
class CodeUsage:
    """Codebook usage and perplexity.

    Attributes
    ----------
    n_used : int
        Number of codes that occur at least once.
    perplexity : float
        Exponential of the histogram's entropy in nats: the number of equally frequent
        codes with the same entropy.
    histogram : array (n_codes,), int64
        How often each code occurs.
    """

    n_used: int
    perplexity: float
    histogram: np.ndarray


def code_usage(codes, n_codes, *, mask=None):
    """Compute the codebook usage and perplexity of codes.

    Parameters
    ----------
    codes : array of int, any shape
        Codes from 0 to ``n_codes - 1``.
    n_codes : int
        Size of the codebook.
    mask : array of bool, optional
        Positions that count: any shape that broadcasts to that of `codes`.

    Returns
    -------
    usage : CodeUsage

    Raises
    ------
    TypeError
        If `codes` are not integers.
    ValueError
        If there are none, or some are outside the codebook.

    Examples
    --------
    >>> usage = code_usage([[0, 0], [3, 3]], 4)
    >>> usage.n_used, round(usage.perplexity, 6)
    (2, 2.0)
    """
    codes = as_array(codes, "codes")
    if codes.dtype.kind not in "iu":
        raise TypeError(f"codes must be integers, got {codes.dtype}")
    if mask is not None:
        codes = codes[np.broadcast_to(as_mask(mask, "mask"), codes.shape)]
    if codes.size == 0:
        raise ValueError("there are no codes to count")
    lowest, highest = int(codes.min()), int(codes.max())
    if lowest < 0 or highest >= n_codes:
        raise ValueError(
            f"codes must be in 0..{n_codes - 1}, got values from {lowest} to {highest}"
        )
    histogram = np.bincount(codes.ravel().astype(np.int64), minlength=n_codes)
    frequency = histogram[histogram > 0] / codes.size
    return CodeUsage(
        n_used=len(frequency),
        perplexity=float(np.exp(-np.sum(frequency * np.log(frequency)))),
        histogram=histogram,
    )

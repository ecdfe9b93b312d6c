r"""Error rates from healthy subjects alone: p-values, thresholds, clusters.

The unit is the subject: voxels and slices of one person are alike, so that many of them
say less than as many persons would.

**Conformal p-values** :footcite:p:`Vovk2005`. If a new subject is exchangeable with the n
healthy ones,

.. math::

    p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1}

is at most :math:`\alpha` with probability at most :math:`\alpha`, whatever the score. It is
never below 1 / (n + 1).

**Family-wise errors** :footcite:p:`Nichols2002`. The largest value of the map of each
healthy subject is its score: above the k-th largest of them, with k the whole part of
:math:`\alpha (n + 1)`, a new healthy subject has any voxel with probability at most
:math:`\alpha`.

**False discoveries** :footcite:p:`Benjamini1995`, from the p-values of voxels: the share of
a healthy subject's voxels with at least that value, on average over the subjects.

References
----------
.. footbibliography::
"""

import numpy as np


def conformal_p(scores, healthy):
    """Return the p-value of each score, given those of healthy subjects.

    Parameters
    ----------
    scores : array
        Larger is less like them.
    healthy : array, shape (n,)
        One score for each healthy subject; NaN is left out.

    Returns
    -------
    p : array, float64
        In [1 / (n + 1), 1], NaN for a score of NaN.

    Examples
    --------
    >>> conformal_p([0.5, 3.0], healthy=[1.0, 2.0, 0.0])
    array([0.75, 0.25])
    """
    healthy = np.sort(healthy)
    healthy = healthy[~np.isnan(healthy)]
    n_larger = len(healthy) - np.searchsorted(healthy, scores, side="left")
    return np.where(np.isnan(scores), np.nan, (1 + n_larger) / (len(healthy) + 1))


def max_threshold(maxima, alpha):
    """Return the value that a healthy subject exceeds anywhere at most in a share alpha.

    Raises
    ------
    ValueError
        If there are too few subjects to tell.
    """
    k = int(np.floor(alpha * (len(maxima) + 1) + 1e-9))
    if k < 1:
        raise ValueError(
            f"alpha={alpha:g}: {len(maxima)} healthy subjects cannot tell rates below "
            f"1/{len(maxima) + 1}; use a larger alpha, or more subjects"
        )
    return np.sort(maxima)[-k]


def benjamini_hochberg(p, alpha):
    """Return which of many tests to reject, so that a share alpha of them is false."""
    ordered = np.sort(p, axis=None)
    limits = alpha * np.arange(1, ordered.size + 1) / ordered.size
    (below,) = np.nonzero(ordered <= limits)
    return p <= ordered[below[-1]] if below.size else np.zeros(np.shape(p), bool)

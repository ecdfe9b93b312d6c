"""Colours for codes."""

import numpy as np


def code_colours(codebook):
    """A colour for each code, alike for codes that are near each other.

    Parameters
    ----------
    codebook : array (K, D)

    Returns
    -------
    colours : array (K, 3), in [0, 1]
        Ranks along the first three principal axes as red, green and blue: spread
        evenly, so that codes are told apart.
    """
    centred = codebook - codebook.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    scores = u[:, :3] * s[:3]
    ranks = scores.argsort(0).argsort(0) / max(1, len(codebook) - 1)
    colours = np.full((len(codebook), 3), 0.5)
    colours[:, : ranks.shape[1]] = ranks
    return 0.12 + 0.83 * colours

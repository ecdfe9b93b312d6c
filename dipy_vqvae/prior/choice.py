"""Codes for latents, by their distance and by their length under a prior."""

import numpy as np

from dipy_vqvae.prior.coding import Protocol


class Distances:
    """Squared distances of latents to all codes, in units of a nat.

    Parameters
    ----------
    stacks : list of arrays, shape (n, *grid, D) or (*grid, D)
        The latents.
    codebook : array, shape (K, D)
        The codes' vectors.
    price : float
        Squared distance that a nat is worth.
    """

    def __init__(self, stacks, codebook, price):
        n_axes = max(z.ndim for z in stacks)
        self._stacks = [z if z.ndim == n_axes else z[np.newaxis] for z in stacks]
        self._codebook = codebook
        self._price = price

    def __call__(self, places, position):
        """Return the distances of some (stack, row) at a position, float64 ``(n, K)``."""
        z = np.stack([self._stacks[stack][(row, *position)] for stack, row in places])
        differences = z[:, np.newaxis].astype(np.float64) - self._codebook
        return np.square(differences).sum(2) / self._price


def choose_codes(fit, stacks, conditions, distances, **options):
    """Choose the codes of stacks of grids in place, but where they are K."""
    Protocol(fit, **options).choose(stacks, conditions, distances)

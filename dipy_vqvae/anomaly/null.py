"""The distribution of healthy subjects' maps, and the thresholds that follow."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from dipy_vqvae.anomaly.calibration import max_threshold

# Shares of a subject's voxels, from all of them to one in 100,000.
SHARES = np.logspace(0, -5, 201)
# Clusters are of voxels whose value this share of a healthy subject's voxels reaches.
RATE_OF_CLUSTERS = 0.01


@dataclass(frozen=True, eq=False)
class Null:
    """Healthy subjects' values.

    Attributes
    ----------
    values : array, shape (n, 201), float64
        For each subject, the values that `SHARES` of its voxels reach.
    maxima : array, shape (n,), float64
        Largest value of each subject.
    clusters : array, shape (n,), float64
        Voxels of the largest cluster of each subject.
    z : array, shape (n,), float64
        Surprisal of each subject.
    image_z, image_maxima : array, shape (N,), float64
        Surprisal of each image, and the largest value of its map.
    """

    values: np.ndarray
    maxima: np.ndarray
    clusters: np.ndarray
    z: np.ndarray
    image_z: np.ndarray
    image_maxima: np.ndarray

    @property
    def n_subjects(self):
        """Number of healthy subjects."""
        return len(self.maxima)

    def p(self, values):
        """Return the share of a healthy subject's voxels that reach each value.

        The mean over the subjects; at least the smallest of `SHARES`.
        """
        return shares_above(self.values, values)

    def rate_threshold(self, alpha):
        """Return the value that a share alpha of a healthy subject's voxels reaches."""
        return threshold_of_rate(self.values, alpha)

    def family_threshold(self, alpha):
        """Return what a healthy subject's map exceeds anywhere at the rate alpha."""
        return max_threshold(self.maxima, alpha)

    @cached_property
    def cluster_threshold(self):
        """Value above which voxels form clusters."""
        return self.rate_threshold(RATE_OF_CLUSTERS)


def null_of(sizes, insides, z, image_z):
    """Compute the distribution of healthy maps ``(n, *image)``, one for each subject."""
    chosen = [size[inside] for size, inside in zip(sizes, insides)]
    values = np.stack([values_at_shares(own) for own in chosen])
    threshold = threshold_of_rate(values, RATE_OF_CLUSTERS)
    return Null(
        values=values,
        maxima=np.array([own.max() for own in chosen]),
        clusters=np.array(
            [
                largest_cluster(size, inside, threshold)
                for size, inside in zip(sizes, insides)
            ]
        ),
        z=z,
        image_z=image_z,
        image_maxima=np.concatenate(
            [maxima_of_images(*pair) for pair in zip(sizes, insides)]
        ),
    )


def values_at_shares(values):
    """Return the values that `SHARES` of some values reach."""
    return np.quantile(values, 1 - SHARES)


def shares_above(of_subjects, values):
    """Return the share of a subject's voxels that reach each value, mean over subjects."""
    total = np.zeros(np.shape(values))
    for own in of_subjects:
        share = np.interp(values, own, np.log10(SHARES))
        total += 10**share * (values <= own[-1])
    return np.maximum(total / len(of_subjects), SHARES[-1])


def threshold_of_rate(of_subjects, alpha):
    """Return the least value that at most a share alpha of the voxels reaches."""
    candidates = np.sort(of_subjects, axis=None)
    reached = shares_above(of_subjects, candidates) <= alpha
    return candidates[np.argmax(reached)] if reached.any() else candidates[-1]


def largest_cluster(size, inside, threshold):
    """Return the number of voxels of the largest connected part above a threshold."""
    labels, n = ndimage.label((size > threshold) & inside)
    return float(np.bincount(labels.ravel())[1:].max()) if n else 0.0


def maxima_of_images(size, inside):
    """Return the largest value inside of each image; NaN where nothing is inside."""
    chosen = np.where(inside, size, -np.inf).reshape(len(size), -1).max(1)
    return np.where(np.isfinite(chosen), chosen, np.nan)

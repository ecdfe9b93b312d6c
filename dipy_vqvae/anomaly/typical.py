"""How typical whole images are, in both directions.

What is unlike the training images need not be unlikely: blurred or blank images have codes
that are likelier than those of healthy images. So several statistics of an image are
compared with those of healthy images :footcite:p:`Morningstar2021`. The first, how rare
the codes of its rarest part are, counts as it is; the others only where they are beyond
two standard deviations, above or below, so that they do not hide the first.

References
----------
.. footbibliography::
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Standard deviation of the Gaussian that smooths the rarity of codes, in codes.
PEAK_SMOOTHING = 1.5
# Standard deviations within which a statistic other than the first does not count.
USUAL = 2.0
N_STATISTICS = 4


def image_statistics(surprisals, errors, images, inside):
    """Return statistics of images, shape (N, 4), float64.

    Logarithms of the largest smoothed rarity of the codes; and surprisal z, logarithms of
    the mean error of the reconstruction, and sharpness.

    Parameters
    ----------
    surprisals : list of Surprisal
        In one direction or both.
    errors : array, shape (N, *spatial)
        Absolute errors of the reconstructions, in units of the scaling.
    images : array, shape (N, *spatial)
    inside : array, shape (N, *spatial), bool
        Voxels that count; some of each image.
    """
    axes = tuple(range(1, errors.ndim))
    nats = np.mean([_minus_log(s.p, s.inside) for s in surprisals], axis=0)
    sigma = (0, *[PEAK_SMOOTHING] * len(axes))
    peak = ndimage.gaussian_filter(nats, sigma, mode="constant").max(axes)
    error = (errors * inside).sum(axes) / inside.sum(axes)
    return np.stack(
        [
            np.log(peak + 1e-6),
            np.mean([s.z for s in surprisals], axis=0),
            np.log(error + 1e-4),
            sharpness(images, inside),
        ],
        axis=1,
    )


def _minus_log(p, inside):
    """Return -log p of codes, 0 outside; a sum of probabilities may be above 1."""
    return np.where(inside, -np.log(np.clip(p, 1e-6, 1)), 0)


def rarity(surprisals):
    """Return how rare codes are, shape (N, *grid): sqrt(-2 log p).

    As many standard deviations has the radius in a normal distribution of the plane that
    is exceeded with probability p. The mean over both directions; 0 outside.
    """
    each = [np.sqrt(2 * _minus_log(s.p, s.inside)) for s in surprisals]
    return np.mean(each, axis=0)


def sharpness(images, inside):
    """Return the logarithm of second over first differences, shape (N,), float64.

    It does not depend on the units of an image, and little on what it shows, but much on
    blur and on noise. Only differences of voxels inside count.
    """
    sums = np.zeros((2, len(images)))
    axes = tuple(range(1, images.ndim))
    for axis in axes:
        difference, known = images.astype(np.float64), inside
        for order in range(2):
            difference = np.diff(difference, axis=axis)
            after, before = (
                np.delete(known, end, axis=axis) for end in (0, known.shape[axis] - 1)
            )
            known = after & before
            sums[order] += (np.abs(difference) * known).sum(axes)
    first, second = sums
    # A constant image has neither.
    return np.log(np.where(first > 0, second / np.where(first > 0, first, 1), 1) + 1e-3)


@dataclass(frozen=True, eq=False)
class Typical:
    """Statistics of healthy images.

    Attributes
    ----------
    mean, deviation : array, shape (F,), float64
    """

    mean: np.ndarray
    deviation: np.ndarray

    def atypicality(self, statistics):
        """Return how unlike healthy images others are, from their statistics (N, F).

        NaN for images that have no statistics.
        """
        z = (statistics - self.mean) / self.deviation
        return z[:, 0] + np.maximum(0, np.abs(z[:, 1:]) - USUAL).sum(1)


def typical_of(statistics):
    """Compute mean and deviation from the statistics (N, F) of images."""
    known = statistics[np.isfinite(statistics).all(1)]
    deviation = known.std(0, ddof=1 if len(known) > 1 else 0)
    return Typical(known.mean(0), np.maximum(deviation, 1e-6))


def left_out_atypicality(of_subjects):
    """Return that of each subject's images ``(n, F)`` among those of all others."""
    return [
        typical_of(np.concatenate(of_subjects[:i] + of_subjects[i + 1 :])).atypicality(
            own
        )
        for i, own in enumerate(of_subjects)
    ]


def of_subject(atypicality):
    """Return the atypicality of a subject: the largest of those of its images."""
    known = atypicality[np.isfinite(atypicality)]
    return known.max() if len(known) else np.nan

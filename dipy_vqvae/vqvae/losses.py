r"""Reconstruction losses, free of units.

A loss of single voxels gets the differences of reconstructions and images in the
network's units, a function that averages over the voxels inside, and the variance
:math:`\sigma^2` of the training images. To it a multiple of the structural dissimilarity
can be added :footcite:p:`Zhao2017`: errors of single voxels do not tell a blurred texture
from a shifted one.

References
----------
.. footbibliography::
"""

from dataclasses import dataclass
from math import prod

import torch

# Voxels of a window of the structural similarity along each axis, from one to the next.
_WINDOW, _STRIDE = 7, 3
# Wang et al. 2004: constants, relative to the range of the images.
_K1, _K2 = 0.01, 0.03


def mean_squared_error(difference, mean, variance):
    r"""Compute :math:`\overline{d^2} / \sigma^2`."""
    return mean(difference.square()) / variance


def mean_absolute_error(difference, mean, variance):
    r"""Compute :math:`\overline{|d|} / \sigma`."""
    return mean(difference.abs()) / variance**0.5


# By the value of the setting `loss`.
LOSSES = {"mse": mean_squared_error, "mae": mean_absolute_error}


@dataclass(frozen=True)
class ReconstructionLoss:
    """A reconstruction loss for images of some variance and range.

    Parameters
    ----------
    kind : str
        Error of single voxels, one of `LOSSES`.
    variance : float
        Variance of the training images, in the network's units.
    ssim_weight : float
        Weight of the structural dissimilarity, 1 - SSIM.
    data_range : float
        Range of the training images, in the network's units.
    """

    kind: str
    variance: float
    ssim_weight: float = 0.0
    data_range: float = 1.0

    def __call__(self, image, reference, weight):
        """Return the loss, the mean squared error (detached), the number of voxels.

        ``(B, C, *spatial)``; `weight` ``(B or 1, 1, *spatial)`` is 1 inside and 0
        outside, None if everything is inside. Times their numbers of voxels, the
        losses of the parts of a batch add up to that of the batch.
        """
        difference = image - reference
        n_inside = difference.numel()
        if weight is not None:
            n_inside = weight.expand_as(difference).sum()

        def mean(values):
            return (values if weight is None else values * weight).sum() / n_inside

        loss = LOSSES[self.kind](difference, mean, self.variance)
        if self.ssim_weight:
            total = dissimilarity(image, reference, weight, data_range=self.data_range)
            loss = loss + self.ssim_weight * total / n_inside
        return loss, mean(difference.detach().square()), n_inside


def dissimilarity(image, reference, weight, *, data_range):
    r"""Sum 1 - SSIM over windows, one for each voxel inside.

    The windows are cubes with equal weights :footcite:p:`Wang2004`, at every third
    voxel; each counts by the part of it that is inside, and as many times as there are
    voxels to a window. Arguments as for :class:`ReconstructionLoss`.
    """
    # The differences of squares of large numbers are small.
    image, reference = image.double(), reference.double()
    inside = None if weight is None else _pool(weight.double())

    def local_mean(values):
        if inside is None:
            return _pool(values)
        return _pool(values * weight) / inside.clamp(min=1e-6)

    means = [local_mean(x) for x in (image, reference)]
    mean_product = means[0] * means[1]
    squares = means[0].square() + means[1].square()
    covariance = local_mean(image * reference) - mean_product
    variances = local_mean(image.square() + reference.square()) - squares
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    luminance = (2 * mean_product + c1) / (squares + c1)
    structure = (2 * covariance + c2) / (variances.clamp(min=0) + c2)
    difference = 1 - luminance * structure
    if inside is not None:
        difference = difference * inside
    n_voxels, n_windows = (prod(x.shape[2:]) for x in (image, difference))
    return (difference.sum() * (n_voxels / n_windows)).float()


def _pool(values):
    """Average windows, (B, C, *spatial) -> (B, C, *windows), axis by axis.

    By products of matrices, whose gradient is the same each time on a GPU too.
    """
    for axis in range(2, values.dim()):
        n = values.shape[axis]
        size = min(_WINDOW, n)
        starts = torch.arange(0, n - size + 1, _STRIDE, device=values.device)
        offsets = torch.arange(n, device=values.device)[:, None] - starts
        window = ((offsets >= 0) & (offsets < size)).to(values.dtype) / size
        values = (values.movedim(axis, -1) @ window).movedim(-1, axis)
    return values

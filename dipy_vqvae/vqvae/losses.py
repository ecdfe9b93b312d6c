r"""Reconstruction losses, free of units.

A loss gets the differences of reconstructions and images in the network's units, a
function that averages over the voxels inside, and the variance :math:`\sigma^2` of the
training images.
"""


def mean_squared_error(difference, mean, variance):
    r"""Compute :math:`\overline{d^2} / \sigma^2`."""
    return mean(difference.square()) / variance


def mean_absolute_error(difference, mean, variance):
    r"""Compute :math:`\overline{|d|} / \sigma`."""
    return mean(difference.abs()) / variance**0.5


# By the value of the setting `loss`.
LOSSES = {"mse": mean_squared_error, "mae": mean_absolute_error}


def reconstruction_loss(difference, weight, *, kind, variance):
    """Return the loss, the mean squared error (detached) and the number of voxels.

    `weight` is 1 inside and 0 outside; None if everything is inside.
    """
    n_inside = difference.numel()
    if weight is not None:
        n_inside = weight.expand_as(difference).sum()

    def mean(values):
        return (values if weight is None else values * weight).sum() / n_inside

    loss = LOSSES[kind](difference, mean, variance)
    return loss, mean(difference.detach().square()), n_inside

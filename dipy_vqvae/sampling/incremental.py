"""Logits of a prior for one position after the other, in linear time.

A full pass for each code costs the square of the number of codes. Here what was
computed for earlier positions is kept; see
:mod:`dipy_vqvae.sampling.gated`.
"""

from functools import partial
from math import prod

from dipy_vqvae.nn import GatedPixelCNN, PlainPixelCNN
from dipy_vqvae.sampling.gated import GatedWeights, IncrementalGated
from dipy_vqvae.sampling.plain import IncrementalPlain, PlainWeights

__all__ = ["IncrementalGated", "IncrementalPlain", "kept_numbers", "prepare"]


def prepare(net):
    """Lay out the weights of a network once, for any number of batches."""
    if isinstance(net, GatedPixelCNN):
        return partial(IncrementalGated, net, weights=GatedWeights(net))
    if isinstance(net, PlainPixelCNN):
        return partial(IncrementalPlain, net, weights=PlainWeights(net))
    raise TypeError(f"no incremental pass is known for a {type(net).__name__}")


def kept_numbers(net, grid_shape):
    """Estimate how many numbers the incremental pass keeps for each grid."""
    layers = net.layers if isinstance(net, GatedPixelCNN) else net.blocks
    # Two slices of states and the gates of one, for the first axis of the grid.
    return prod(grid_shape[1:]) * net.n_channels * (4 * len(layers) + 8)

"""Choose the incremental pass of a prior: logits of all positions in linear time."""

from functools import partial
from math import prod

from dipy_vqvae.nn import GatedPixelCNN, PlainPixelCNN
from dipy_vqvae.sampling.gated import GatedWeights, IncrementalGated
from dipy_vqvae.sampling.plain import IncrementalPlain, PlainWeights


def prepare(net):
    """Lay out the weights of a network once; return ``stepper(codes, labels, covariates)``."""
    if isinstance(net, GatedPixelCNN):
        return partial(IncrementalGated, GatedWeights(net))
    if isinstance(net, PlainPixelCNN):
        return partial(IncrementalPlain, PlainWeights(net))
    raise TypeError(f"no incremental pass is known for a {type(net).__name__}")


def kept_numbers(net, grid_shape):
    """Estimate how many numbers the incremental pass keeps for each grid."""
    layers = net.layers if isinstance(net, GatedPixelCNN) else net.blocks
    # Two slices of states and the gates of one, for the first axis of the grid.
    kept = prod(grid_shape[1:]) * net.n_channels * (4 * len(layers) + 8)
    if isinstance(net, GatedPixelCNN) and net.attention is not None:
        # Keys and values of all positions.
        n_blocks = len(net.attention.blocks)
        kept += 2 * n_blocks * prod(grid_shape) * net.n_channels
    return kept

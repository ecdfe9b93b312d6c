"""Incremental pass of causal attention: keys and values are kept."""

import torch


class IncrementalAttention:
    """Apply attention to one position after the other, in raster order.

    For each block the keys and values of the positions so far are kept, so that a
    position costs what it costs in a pass over the whole grid. `attention` is
    :class:`dipy_vqvae.nn.attention.Attention`, `before` (K, C) is what each code adds to
    the position after it, `codes` (B, *grid) are filled in by the caller.
    """

    def __init__(self, attention, before, codes):
        self._before = before
        self._codes = codes.flatten(1)  # a view
        self._blocks = [
            (block, *(_room(block, self._codes.shape) for _ in range(2)))
            for block in attention.blocks
        ]
        self._n_seen = 0

    def next(self, x):
        """Map the states of the next position (B, C), given those before, to (B, C)."""
        i, self._n_seen = self._n_seen, self._n_seen + 1
        if i:
            x = x + self._before[self._codes[:, i - 1]]
        for block, keys, values in self._blocks:
            normed = block.norm(x)
            query, keys[:, i], values[:, i] = (
                part(normed).view(len(keys), -1)
                for part in (block.query, block.key, block.value)
            )
            scores = torch.bmm(keys[:, : i + 1], query.unsqueeze(2)).squeeze(2)
            weights = torch.softmax(scores * query.shape[1] ** -0.5, dim=1)
            mixed = torch.bmm(weights.unsqueeze(1), values[:, : i + 1])
            x = x + block.out(mixed.view(len(x), -1))
            x = x + block.inner(x)
        return x


def _room(block, shape):
    """Allocate the keys or the values of (B, positions), (B * H, positions, d)."""
    batch, n_positions = shape
    width = block.key.weight.shape[0] // block.n_heads
    return block.key.weight.new_empty(batch * block.n_heads, n_positions, width)

"""Causal self-attention over the positions of a grid.

Convolutions reach a few positions; attention looks at all positions before. It follows
the gated layers of a prior, as in PixelSNAIL :footcite:p:`Chen2018`: the state of a
position depends on the codes before it only, so a position may look at its own state and
at those before it in raster order.

References
----------
.. footbibliography::
"""

from math import inf

import torch
from torch import nn
import torch.nn.functional as F

from dipy_vqvae.device import dropout

# Channels of a head.
HEAD_SIZE = 16
# Up to these, products of matrices are faster than the fused kernel.
FEW_POSITIONS = 64


class AttentionBlock(nn.Module):
    """Look at the positions before, then at each position by itself.

    For rows x of shape ``(B, N, C)``, positions in raster order::

        x' = x + out(softmax(q(x) k(x)^T / sqrt(d), causal) v(x))
        y = x' + down(gelu(up(x')))

    with a layer norm before both.
    """

    def __init__(self, n_channels, *, dropout):
        super().__init__()
        self.dropout = dropout
        self.n_heads = max(1, n_channels // HEAD_SIZE)
        width = self.n_heads * HEAD_SIZE
        self.norm = nn.LayerNorm(n_channels)
        self.query = nn.Linear(n_channels, width, bias=False)
        self.key = nn.Linear(n_channels, width, bias=False)
        self.value = nn.Linear(n_channels, width, bias=False)
        self.out = nn.Linear(width, n_channels)
        self.norm_up = nn.LayerNorm(n_channels)
        self.up = nn.Linear(n_channels, 4 * n_channels)
        self.down = nn.Linear(4 * n_channels, n_channels)
        for last in (self.out, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def heads(self, x):
        """Split the channels into heads, ``(B, N, H * d) -> (B, H, N, d)``."""
        return x.unflatten(-1, (self.n_heads, HEAD_SIZE)).transpose(-3, -2)

    def forward(self, x):
        """Map ``(B, N, C)`` to ``(B, N, C)``."""
        normed = self.norm(x)
        q, k, v = (
            self.heads(part(normed)) for part in (self.query, self.key, self.value)
        )
        mixed = self.out(_attend(q, k, v, x.dtype).transpose(-3, -2).flatten(-2))
        x = x + dropout(mixed, self.dropout, self.training)
        return x + dropout(self.inner(x), self.dropout, self.training)

    def inner(self, x):
        """Map each position by itself, ``(…, C)`` to ``(…, C)``."""
        return self.down(F.gelu(self.up(self.norm_up(x))))


def _attend(q, k, v, dtype):
    """Mix values of the positions before and at each position, ``(B, H, N, d)``."""
    n = q.shape[-2]
    if n <= FEW_POSITIONS:
        later = torch.full((n, n), -inf, dtype=q.dtype, device=q.device).triu(1)
        q, k, rows = (part.flatten(0, 1) for part in (q, k, v))
        later = later.expand(len(q), n, n)
        scores = torch.baddbmm(later, q, k.mT, alpha=HEAD_SIZE**-0.5)
        return (scores.softmax(-1) @ rows).unflatten(0, v.shape[:2])
    # Its gradient in bfloat16 takes ten times as long on CPUs.
    with torch.autocast(q.device.type, enabled=False):
        q, k, v = (part.to(dtype) for part in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Attention(nn.Module):
    """Blocks of attention over the states of a grid.

    The last code of a row may be out of the convolutions' reach for the first positions
    of the next one. So each state gets the code before it as well: with that, attention
    sees all codes before a position.
    """

    def __init__(self, n_channels, *, n_embedding, n_blocks, dropout):
        super().__init__()
        self.before = nn.Linear(n_embedding, n_channels, bias=False)
        self.blocks = nn.ModuleList(
            AttentionBlock(n_channels, dropout=dropout) for _ in range(n_blocks)
        )

    def forward(self, states, embedded):
        """Map ``(B, C, *grid)`` and embedded codes ``(B, E, *grid)`` to ``(B, C, *grid)``."""
        rows, codes = (x.flatten(2).transpose(1, 2) for x in (states, embedded))
        rows = rows + F.pad(self.before(codes[:, :-1]), (0, 0, 1, 0))
        for block in self.blocks:
            rows = block(rows)
        return rows.transpose(1, 2).reshape(states.shape)

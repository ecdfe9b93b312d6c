"""Base of the networks of both kinds of prior."""

from torch import nn


class PixelCNN(nn.Module):
    """Categorical distribution over grids of codes, one factor per position.

    Subclasses add `features`, the layers between the embedding and the head, and
    `head`, which looks at each position by itself.
    """

    def __init__(
        self, n_codes, grid_shape, *, n_classes, n_channels, n_embedding, has_outside
    ):
        super().__init__()
        self.n_codes = n_codes
        self.grid_shape = tuple(grid_shape)
        self.n_classes = n_classes
        self.n_channels = n_channels
        # The symbol K stands for positions outside.
        self.embedding = nn.Embedding(n_codes + has_outside, n_embedding)

    @property
    def spatial_dims(self):
        """Number of axes of the grid."""
        return len(self.grid_shape)

    def embed(self, codes):
        """Embed codes, (B, *grid) -> (B, E, *grid)."""
        return self.embedding(codes).movedim(-1, 1)

    def forward_embedded(self, embedded, labels=None):
        """Compute logits from embedded codes, (B, E, *grid) -> (B, K, *grid)."""
        return self.head(self.features(embedded, labels))

    def forward(self, codes, labels=None):
        """Compute the logits (B, K, *grid) of each code given those before it."""
        return self.forward_embedded(self.embed(codes), labels)

"""Base of the networks of both kinds of prior."""

from torch import nn
import torch.nn.functional as F

# Hidden units between covariates and the biases that they give.
_N_HIDDEN = 64


def covariate_bias(n_covariates, width):
    """Return a network (B, n) -> (B, width) from covariates to biases, 0 at first."""
    last = nn.Linear(_N_HIDDEN, width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(n_covariates, _N_HIDDEN),
        nn.SiLU(),
        nn.Linear(_N_HIDDEN, _N_HIDDEN),
        nn.SiLU(),
        last,
    )


class PixelCNN(nn.Module):
    """Categorical distribution over grids of codes, one factor per position.

    Subclasses add `features`, the layers between the embedding and the head, and
    `head`, which looks at each position by itself.
    """

    def __init__(
        self,
        n_codes,
        grid_shape,
        *,
        n_classes,
        n_covariates,
        n_variants,
        n_channels,
        n_embedding,
        has_outside,
    ):
        super().__init__()
        self.n_codes = n_codes
        self.grid_shape = tuple(grid_shape)
        self.n_classes = n_classes
        self.n_covariates = n_covariates
        self.n_variants = n_variants
        self.n_channels = n_channels
        # Another network for the reverse order, if there is one.
        self.reverse = None
        # The symbol K stands for positions outside.
        self.embedding = nn.Embedding(n_codes + has_outside, n_embedding)

    @property
    def spatial_dims(self):
        """Number of axes of the grid."""
        return len(self.grid_shape)

    def embed(self, codes):
        """Embed codes, (B, *grid) -> (B, E, *grid)."""
        return self.embedding(codes).movedim(-1, 1)

    def condition_on(self, width):
        """Make what gives biases of labels, covariates and variants, (B, width)."""
        if self.n_classes:
            self.label_bias = nn.Embedding(self.n_classes, width)
            nn.init.zeros_(self.label_bias.weight)
        if self.n_covariates:
            self.covariate_bias = covariate_bias(self.n_covariates, width)
        if self.n_variants:
            self.variant_bias = nn.Embedding(self.n_variants, width)
            nn.init.zeros_(self.variant_bias.weight)

    def condition_bias(self, labels=None, covariates=None, variants=None):
        """Return the biases of labels (B,), covariates (B, n) and variants (B,), or None.

        Variant 0, the images themselves, has no bias: all but the training need none.
        """
        biases = []
        if self.n_classes:
            biases.append(self.label_bias(labels))
        if self.n_covariates:
            weight = self.covariate_bias[0].weight
            biases.append(self.covariate_bias(covariates.to(weight.dtype)))
        if variants is not None:
            biases.append(F.pad(self.variant_bias.weight, (0, 0, 1, 0))[variants])
        return sum(biases[1:], biases[0]) if biases else None

    def forward_embedded(self, embedded, *conditions):
        """Compute logits from embedded codes, (B, E, *grid) -> (B, K, *grid)."""
        return self.head(self.features(embedded, *conditions))

    def forward(self, codes, *conditions):
        """Compute the logits (B, K, *grid) of each code given those before it.

        `conditions` are those of `condition_bias`.
        """
        return self.forward_embedded(self.embed(codes), *conditions)

    def forward_reverse(self, codes, *conditions):
        """Compute the logits (B, K, *grid) of each code given those after it."""
        axes = range(1, 1 + self.spatial_dims)
        logits = self.reverse(codes.flip(*axes), *conditions)
        return logits.flip(*(axis + 1 for axis in axes))

    @property
    def directions(self):
        """Functions from codes and conditions to logits, one for each order."""
        return [self] if self.reverse is None else [self, self.forward_reverse]

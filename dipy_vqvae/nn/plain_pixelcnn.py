"""The experiment's plain PixelCNN: masked convolutions in residual blocks.

van den Oord, Kalchbrenner and Kavukcuoglu (2016) :footcite:p:`vandenOord2016a`:
a 7×7 convolution with mask A, residual blocks around a 3×3 convolution with mask
B, and two 1×1 layers. Its context has a blind spot; it is kept as the baseline
of the experiment.

References
----------
.. footbibliography::
"""

from torch import nn
import torch.nn.functional as F

from dipy_vqvae.device import dropout
from dipy_vqvae.nn.causal import MaskedConv, pointwise
from dipy_vqvae.nn.pixelcnn import PixelCNN


class Dropout(nn.Module):
    """Drop features, with the random numbers of :func:`dipy_vqvae.device.dropout`."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, h):
        """Drop features in training only."""
        return dropout(h, self.p, self.training)


class ResidualBlock(nn.Module):
    """``x + up(relu(masked(relu(down(relu(x))))))``, half the channels inside."""

    def __init__(self, n_channels, *, spatial_dims):
        super().__init__()
        half = n_channels // 2
        self.down = pointwise(n_channels, half, spatial_dims)
        self.masked = MaskedConv(
            half, half, 3, spatial_dims=spatial_dims, include_centre=True
        )
        self.up = pointwise(half, n_channels, spatial_dims)

    def forward(self, x):
        """Map ``(B, C, *grid)`` to the same shape."""
        h = F.relu(self.down(F.relu(x)))
        return x + self.up(F.relu(self.masked(h)))


class PlainPixelCNN(PixelCNN):
    """Plain PixelCNN over grids of codes.

    Parameters
    ----------
    n_codes : int
        Number of codes, K.
    grid_shape : tuple of int
        The grid of the training codes (any other may be evaluated: nothing here
        depends on the position).
    n_classes : int
        Number of class labels; 0 for a prior without labels.
    n_covariates : int
        Number of continuous conditions.
    n_variants : int
        Kinds of changed copies of the images in the training.
    n_channels : int
        Channels, C.
    n_layers : int
        Residual blocks.
    n_embedding : int
        Channels of the embedding through which the codes enter.
    dropout : float
        Share of the channels that is dropped before the last layers in training.
    mixed_grids : bool
        Changes nothing here.
    has_outside : bool
        Whether there is a symbol K for positions that do not count.
    """

    def __init__(
        self,
        n_codes,
        grid_shape,
        *,
        n_classes=0,
        n_covariates=0,
        n_variants=0,
        n_channels=128,
        n_layers=2,
        n_embedding=128,
        dropout=0.0,
        mixed_grids=False,
        has_outside=False,
    ):
        super().__init__(
            n_codes,
            grid_shape,
            n_classes=n_classes,
            n_covariates=n_covariates,
            n_variants=n_variants,
            n_channels=n_channels,
            n_embedding=n_embedding,
            has_outside=has_outside,
        )
        d = self.spatial_dims
        self.first = MaskedConv(
            n_embedding, n_channels, 7, spatial_dims=d, include_centre=False
        )
        self.condition_on(n_channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(n_channels, spatial_dims=d) for _ in range(n_layers)
        )
        self.head = nn.Sequential(
            nn.ReLU(),
            pointwise(n_channels, n_channels, d),
            nn.ReLU(),
            pointwise(n_channels, n_channels, d),
            nn.ReLU(),
            Dropout(dropout),
            pointwise(n_channels, n_codes, d),
        )

    def features(self, embedded, *conditions):
        """Compute the input of the head, (B, E, *grid) -> (B, C, *grid)."""
        h = self.first(embedded)
        bias = self.condition_bias(*conditions)
        if bias is not None:
            h = h + bias.reshape(*bias.shape, *(1,) * self.spatial_dims)
        for block in self.blocks:
            h = block(h)
        return h

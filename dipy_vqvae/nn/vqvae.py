"""The VQ-VAE: encoder, quantiser, decoder.

van den Oord, Vinyals and Kavukcuoglu (2017) :footcite:p:`vandenOord2017`.

References
----------
.. footbibliography::
"""

from dataclasses import dataclass

import torch
from torch import nn
import torch.nn.functional as F

from dipy_vqvae.nn.autoencoder import DECODERS, ENCODERS
from dipy_vqvae.nn.quantize import (
    QUANTISERS,
    Quantised,
    from_rows,
    nearest_code,
    to_rows,
)


@dataclass(frozen=True)
class VQVAEOutput:
    """What a pass through the network gives.

    Attributes
    ----------
    reconstruction : torch.Tensor, shape (B, C, *image)
    latents : torch.Tensor, shape (B * grid, D)
        The encoder's vectors, before quantisation.
    quantised : Quantised
        Codes and vectors, in the same order of rows as `latents`.
    quantised_grid : torch.Tensor, shape (B, D, *grid)
        The quantised vectors as the decoder sees them.
    """

    reconstruction: torch.Tensor
    latents: torch.Tensor
    quantised: Quantised
    quantised_grid: torch.Tensor


class VQVAENet(nn.Module):
    """Encoder, quantiser and decoder.

    Parameters
    ----------
    n_channels_in : int
        Channels of the images.
    n_codes, code_dim : int
        Codebook size K and dimension D.
    factors : tuple of int
        Downsampling per axis; its length is the number of spatial axes.
    architecture : {"subpixel", "strided"}
        See :mod:`dipy_vqvae.nn.autoencoder`.
    n_channels : int
        Width of encoder and decoder.
    n_blocks : tuple of int
        Residual blocks of the encoder and of the decoder.
    codebook : {"ema", "gradient"}
        See :mod:`dipy_vqvae.nn.quantize`.
    commitment : float
        Weight of the commitment loss.
    """

    def __init__(
        self,
        n_channels_in,
        n_codes,
        code_dim,
        *,
        factors,
        architecture,
        n_channels,
        n_blocks,
        codebook,
        commitment,
    ):
        super().__init__()
        build = {"factors": factors, "n_channels": n_channels}
        self.encoder = ENCODERS[architecture](
            n_channels_in, code_dim, n_blocks=n_blocks[0], **build
        )
        self.decoder = DECODERS[architecture](
            code_dim, n_channels_in, n_blocks=n_blocks[1], **build
        )
        self.quantiser = QUANTISERS[codebook](n_codes, code_dim, commitment=commitment)

    def codes(self, x):
        """``(B, C, *image)`` to codes ``(B, *grid)``, int64."""
        latents = self.encoder(x)
        codes = nearest_code(to_rows(latents), self.quantiser.codebook)
        return codes.reshape(len(x), *latents.shape[2:])

    def decode(self, codes):
        """Codes ``(B, *grid)`` to ``(B, C, *image)``."""
        vectors = F.embedding(codes, self.quantiser.codebook)
        return self.decoder(vectors.movedim(-1, 1))

    def forward(self, x, *, update=False, revive=True):
        """Reconstruct ``(B, C, *image)``; with `update`, the codebook learns."""
        encoded = self.encoder(x)
        latents = to_rows(encoded)
        quantised = self.quantiser(latents, update=update, revive=revive)
        grid = (len(x), *encoded.shape[2:])
        quantised_grid = from_rows(quantised.vectors, grid)
        return VQVAEOutput(
            reconstruction=self.decoder(quantised_grid),
            latents=latents,
            quantised=quantised,
            quantised_grid=quantised_grid,
        )

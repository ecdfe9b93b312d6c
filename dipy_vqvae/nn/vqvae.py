r"""The VQ-VAE: encoder, quantiser, decoder.

van den Oord, Vinyals and Kavukcuoglu (2017) :footcite:p:`vandenOord2017`.

With a price on code length, the assignment is that of entropy-constrained vector
quantisation :footcite:p:`Chou1989`, here with a conditional distribution:

.. math::

    k = \arg\min_k |z - e_k|^2 + \lambda D \min(-\log p(k \mid \text{nearest codes
    before}), \log K)

p is a small causal network that learns along. The cap says that no code costs more
than one of K equally likely ones; without it, a code that is rare is never chosen
again, and the codebook dies.

References
----------
.. footbibliography::
"""

from dataclasses import dataclass
from math import log, prod

import torch
from torch import nn
import torch.nn.functional as F

from dipy_vqvae.nn.autoencoder import (
    DECODERS,
    ENCODERS,
    UNIT_LATENTS,
    Clamp,
    unit_channels,
)
from dipy_vqvae.nn.gated_pixelcnn import GatedPixelCNN
from dipy_vqvae.nn.quantiser import (
    QUANTISERS,
    Quantised,
    from_rows,
    nearest_code,
    to_rows,
)
from dipy_vqvae.nn.refine import Encoded, refine_codes
from dipy_vqvae.nn.tiles import tiled_decoder, tiled_encoder
from dipy_vqvae.parallel import weight_of_mean

# Logits of the rate network that are held at a time where nothing is learnt.
LARGEST_LOGITS = 1 << 26


# The rate network learns from one image in so many.
RATED = 2


@dataclass(frozen=True)
class VQVAEOutput:
    """Result of a pass through the network.

    Attributes
    ----------
    reconstruction : torch.Tensor, shape (B, C, *image)
    quantised : Quantised
        Codes and vectors of all positions, ``(B * grid)`` rows.
    nats : torch.Tensor, scalar, or None
        Mean code length per position under the rate network, which learns from
        it; None without one.
    """

    reconstruction: torch.Tensor
    quantised: Quantised
    nats: torch.Tensor | None


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
    n_hidden : int or None, optional
        Width inside them, see :class:`dipy_vqvae.nn.autoencoder.ResidualBlock`.
    codebook : {"ema", "gradient"}
        See :mod:`dipy_vqvae.nn.quantiser`.
    commitment : float
        Weight of the commitment loss.
    rate_weight : float
        Price of a nat, :math:`\\lambda`, in units of the mean square of the
        latents' channels. 0: no rate network, the nearest code is taken.
    grid_shape : tuple of int
        Grid of the codes of the training images, for the rate network.
    mixed_grids : bool, optional
        Whether it is the largest one of several.
    output_range : tuple of 2 floats, optional
        What decoded images are clamped to, for the loss as well.
    n_refinements : int, optional
        Rounds of :mod:`dipy_vqvae.nn.refine` where images are encoded.
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
        rate_weight,
        grid_shape,
        n_hidden=None,
        mixed_grids=False,
        output_range=None,
        n_refinements=0,
    ):
        super().__init__()
        self.n_refinements = n_refinements
        self.rate_weight = rate_weight
        self.factors = tuple(factors)
        self.has_unit_latents = UNIT_LATENTS[architecture]
        build = {"factors": factors, "n_channels": n_channels, "n_hidden": n_hidden}
        self.encoder = ENCODERS[architecture](
            n_channels_in, code_dim, n_blocks=n_blocks[0], **build
        )
        self.decoder = DECODERS[architecture](
            code_dim, n_channels_in, n_blocks=n_blocks[1], **build
        )
        if output_range is not None:
            self.decoder.append(Clamp(*output_range))
        self.quantiser = QUANTISERS[codebook](n_codes, code_dim, commitment=commitment)
        if rate_weight:
            self.rate = GatedPixelCNN(
                n_codes,
                grid_shape,
                n_channels=32,
                n_layers=1,
                n_embedding=code_dim,
                mixed_grids=mixed_grids,
            )

    def latents(self, x):
        """Map ``(B, C, *image)`` to the vectors to quantise, ``(B, D, *grid)``."""
        if torch.is_grad_enabled():
            latents = self.encoder(x).float()
        else:
            latents = tiled_encoder(self.encoder, x, self.factors).float()
        return unit_channels(latents) if self.has_unit_latents else latents

    def codes(self, x, *, weight=None, inside=None, refined=True):
        """Map ``(B, C, *image)`` to codes ``(B, *grid)``, int64.

        `weight` and `inside` are for the refinement of the codes, see
        :class:`dipy_vqvae.nn.refine.Encoded`; there is none where not `refined`.
        """
        return self.encode(x, weight=weight, inside=inside, refined=refined)[0]

    def encode(self, x, *, weight=None, inside=None, refined=True):
        """Return codes as `codes` does, and the latents ``(B, D, *grid)`` behind them.

        Refinement moves the latents.
        """
        latents = self.latents(x)
        grid = (len(x), *latents.shape[2:])
        rows = to_rows(latents)
        if self.rate_weight and len(rows) * len(self.quantiser.codebook) > (
            LARGEST_LOGITS
        ):
            codes = self._assign_in_blocks(rows, grid).reshape(grid)
        else:
            codes = self._assign(rows, grid, self.rate_weight).reshape(grid)
        if self.n_refinements and refined:
            latents = latents.detach().clone()
            encoded = Encoded(x, weight, inside, latents, codes)
            with _full_precision(x):
                codes = refine_codes(self, encoded, n_rounds=self.n_refinements)
        return codes, latents

    def _assign(self, rows, grid, price):
        """Return codes ``(B * grid,)`` of latents ``(B * grid, D)``."""
        codebook = self.quantiser.codebook.detach()
        rows = rows.detach()
        with _full_precision(rows):
            codes = nearest_code(rows, codebook)
        if not self.rate_weight:
            return codes
        # The nearest codes are the context: those that will be chosen differ from
        # them in few places, and are not known yet.
        with torch.no_grad():
            log_prob = self._log_prob(codes, grid)
        with _full_precision(rows):
            return _cheapest(rows, codebook, log_prob, price)

    def _assign_in_blocks(self, rows, grid):
        """Assign codes as `_assign`, with the lengths of some positions at a time."""
        codebook = self.quantiser.codebook.detach()
        nearest = nearest_code(rows, codebook)
        codes = torch.empty_like(nearest)
        size = LARGEST_LOGITS // (4 * len(codebook)) or 1
        ones = (1,) * (len(grid) - 2)
        start = 0
        for features in self._features_in_slabs(nearest.reshape(grid)):
            # The head looks at each position by itself: any grid will do.
            for part in features.split(size):
                part = part.t()
                logits = self.rate.head(part.reshape(1, *part.shape, *ones))
                log_prob = to_rows(F.log_softmax(logits.float(), dim=1))
                block = slice(start, start + len(log_prob))
                codes[block] = _cheapest(
                    rows[block], codebook, log_prob, self.rate_weight
                )
                start = block.stop
        return codes

    def _features_in_slabs(self, codes):
        """Yield the rate network's features of codes ``(B, *grid)``, ``(n, C)`` each.

        Slabs of some rows along the first axis, with the rows before that matter.
        """
        _, n_rows, *plane = codes.shape
        bias = self.rate.position_bias(codes.shape[1:])
        reach = self.rate.reach
        # A layer holds some hundred numbers for each position.
        n = max(4 * reach, LARGEST_LOGITS // (512 * prod(plane)))
        for image in codes:
            for first in range(0, n_rows, n):
                begin = max(0, first - reach)
                slab = slice(begin, first + n)
                grid = (1, *image[slab].shape)
                vectors = self.quantiser.codebook.detach()[image[slab].reshape(-1)]
                features = self.rate.features(
                    from_rows(vectors, grid), bias=bias[:, :, slab]
                )
                yield to_rows(features[:, :, first - begin :])

    def _log_prob(self, codes, grid):
        """Return ``log p`` of all codes at all positions, ``(B * grid, K)``."""
        vectors = self.quantiser.codebook.detach()[codes]
        logits = self.rate.forward_embedded(from_rows(vectors, grid))
        return to_rows(F.log_softmax(logits.float(), dim=1))

    def _nats(self, codes, grid, inside, *, first, over_ranks):
        """Return the mean code length under the rate network, for its training.

        One image in `RATED` is enough for a small network, and costs less.
        """
        images = slice(-first % RATED, None, RATED)
        chosen = codes.reshape(grid)[images]
        log_prob = self._log_prob(chosen.reshape(-1), chosen.shape)
        chosen = chosen.reshape(-1)
        if inside is not None:
            rows = inside[images].reshape(-1)
            log_prob, chosen = log_prob[rows], chosen[rows]
        # Nothing inside these images: no length, and no gradient.
        nats = F.nll_loss(log_prob, chosen) if len(chosen) else log_prob.sum()
        if not over_ranks:
            return nats
        return nats * weight_of_mean(len(chosen), device=nats.device)

    def decode(self, codes):
        """Map codes ``(B, *grid)`` to images ``(B, C, *image)``."""
        vectors = F.embedding(codes, self.quantiser.codebook)
        vectors = vectors.movedim(-1, 1)
        if torch.is_grad_enabled():
            return self.decoder(vectors)
        return tiled_decoder(self.decoder, vectors, self.factors)

    def forward(
        self, x, *, update=False, revive=True, inside=None, price=None, first=0
    ):
        """Reconstruct images.

        Parameters
        ----------
        x : torch.Tensor, shape (B, C, *image)
        update : bool, optional
            Whether the codebook learns from them. Then the quantiser's loss and error
            and the code length are weighted, so that their averages over all
            processes are means over the images of all of them.
        revive : bool, optional
            Whether dead codes may be moved.
        inside : torch.Tensor, shape (B, *grid), bool, optional
            Positions that the codebook learns from; by default all of them.
        price : float, optional
            Another price of a nat than `rate_weight`.
        first : int, optional
            How many images of the batch other processes have before these.

        Returns
        -------
        output : VQVAEOutput
        """
        encoded = self.latents(x)
        latents = to_rows(encoded)
        grid = (len(x), *encoded.shape[2:])
        price = self.rate_weight if price is None else price
        codes = self._assign(latents, grid, price)
        rows = None if inside is None else inside.reshape(-1)
        with _full_precision(x):
            quantised = self.quantiser(
                latents, codes=codes, update=update, revive=revive, inside=rows
            )
        nats = None
        if self.rate_weight:
            nats = self._nats(codes, grid, inside, first=first, over_ranks=update)
        return VQVAEOutput(
            reconstruction=self.decoder(from_rows(quantised.vectors, grid)).float(),
            quantised=quantised,
            nats=nats,
        )


def _cheapest(rows, codebook, log_prob, price):
    """Return the codes cheapest in distance and length; overwrites `log_prob`."""
    cost = log_prob.neg_().clamp_(max=log(len(codebook)))
    cost *= price * rows.shape[1]
    return nearest_code(rows, codebook, cost)


def _full_precision(x):
    """Disable autocast: codes must not depend on the precision set around a call."""
    return torch.autocast(x.device.type, enabled=False)

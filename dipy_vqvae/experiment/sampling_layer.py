r"""The sampling layer alone, without a prior.

The original experiment asks what its sampling layer does by itself, on the outputs
of the encoder: each code is drawn from a categorical distribution over the
distances of the encoder's vector z to the codes,

.. math:: p(k) \propto \exp(-|z - e_k|^2 / \tau).

Its notebook has the sign the other way, :math:`\exp(+|z - e_k|^2)`, which favours
the farthest code.
"""

from dataclasses import dataclass
import math

import numpy as np
import torch

from dipy_vqvae.nn import ROWS
from dipy_vqvae.vqvae import ImageBatches

FAVOURED = {"nearest": -1.0, "farthest": 1.0}


@dataclass(frozen=True, eq=False)
class LayerDraw:
    r"""Codes drawn twice.

    Attributes
    ----------
    first, second : array (N, *grid), int32
        Two draws from the same distributions.
    expected_equal : float
        Probability that two draws give the same code, mean of
        :math:`\sum_k p(k)^2` over images and positions.
    """

    first: np.ndarray
    second: np.ndarray
    expected_equal: float

    @property
    def equal(self):
        """Fraction of the codes that are the same in both draws."""
        return float(np.mean(self.first == self.second))


def _image_batches(fit, images):
    return ImageBatches(
        np.asarray(images)[..., np.newaxis],
        scaling=fit.config.scaling,
        factors=fit.config.downsampling,
        device=next(fit.net.parameters()).device,
    ).slices()


@torch.inference_mode()
def encoder_vectors(fit, images):
    """What the encoder says of images, before a code is chosen.

    Parameters
    ----------
    fit : VQVAEFit
        The autoencoder.
    images : array (N, H, W)
        In the units of its training images.

    Returns
    -------
    vectors : array (N, *grid, D), float32
    """
    parts = [
        fit.net.latents(batch.x).movedim(1, -1).cpu().numpy()
        for batch in _image_batches(fit, images)
    ]
    return np.ascontiguousarray(np.concatenate(parts))


@torch.inference_mode()
def codes_at_price(fit, images, factor):
    """Codes of images at another price of code length than in training.

    Parameters
    ----------
    fit : VQVAEFit
        An autoencoder with a rate network.
    images : array (N, H, W)
        In the units of its training images.
    factor : float
        What the price is multiplied by: 0 gives the nearest codes, 1 the codes of
        ``fit.encode`` before any refinement, more than 1 codes that are cheaper still.

    Returns
    -------
    codes : array (N, *grid), int32
    """
    price = factor * fit.config.rate_weight
    parts = [
        fit.net(batch.x, price=price).quantised.codes.cpu().numpy()
        for batch in _image_batches(fit, images)
    ]
    codes = np.concatenate(parts).astype(np.int32)
    return codes.reshape(len(images), *fit.latent_shape)


def squared_distances(vectors, codebook):
    """Squared distance of each vector to each code.

    Parameters
    ----------
    vectors : torch.Tensor, shape (N, D)
    codebook : torch.Tensor, shape (K, D)

    Returns
    -------
    distances : torch.Tensor, shape (N, K)
        Not below zero by more than rounding.
    """
    squares = codebook.square().sum(1)
    scores = torch.addmm(squares, vectors, codebook.t(), alpha=-2)
    return scores + vectors.square().sum(1, keepdim=True)


def _blocks(vectors, codebook):
    """Pairs of (slice of the images, distances of their vectors)."""
    codebook = torch.from_numpy(codebook)
    n_positions = math.prod(vectors.shape[1:-1])
    step = max(1, ROWS // n_positions)
    for start in range(0, len(vectors), step):
        part = slice(start, min(start + step, len(vectors)))
        rows = torch.from_numpy(vectors[part].reshape(-1, vectors.shape[-1]))
        yield part, squared_distances(rows, codebook)


def mean_distances(vectors, codebook):
    """Mean squared distance to the nearest, the average and the farthest code.

    Parameters
    ----------
    vectors : array (N, *grid, D), float32
    codebook : array (K, D), float32

    Returns
    -------
    distances : dict of float
        "nearest", "average", "farthest".
    """
    sums = np.zeros(3)
    for _, d2 in _blocks(vectors, codebook):
        for i, distances in enumerate((d2.amin(1), d2.mean(1), d2.amax(1))):
            sums[i] += float(distances.double().sum())
    sums /= vectors[..., 0].size
    return dict(zip(("nearest", "average", "farthest"), sums.tolist()))


def sampling_layer(vectors, codebook, *, tau, favour="nearest", random_seed=0):
    """Draw codes from a categorical over distances, twice.

    Parameters
    ----------
    vectors : array (N, *grid, D), float32
        From :func:`encoder_vectors`.
    codebook : array (K, D), float32
    tau : float
        Temperature, in units of squared distance; 0 takes the favoured code.
    favour : {"nearest", "farthest"}, optional
        Sign of the logits.
    random_seed : int, optional
        Seed of the draws, at least 0.

    Returns
    -------
    drawn : LayerDraw

    Raises
    ------
    ValueError
        For a negative `tau` or an unknown `favour`.
    """
    if favour not in FAVOURED:
        raise ValueError(f"favour={favour!r}: one of {list(FAVOURED)} is needed")
    if not tau >= 0:
        raise ValueError(f"tau={tau!r}: a number of at least 0 is needed")
    grid = vectors.shape[1:-1]
    draws = np.empty((2, len(vectors), *grid), np.int32)
    # Image after image, so that the first images' draws are the same for any number.
    rng = np.random.default_rng(random_seed)
    agree = 0.0
    for part, d2 in _blocks(vectors, codebook):
        n = part.stop - part.start
        logits = FAVOURED[favour] * d2.double()
        u = rng.random((n, math.prod(grid), 2)).reshape(-1, 2)
        if tau == 0:
            codes = logits.argmax(1, keepdim=True).expand(-1, 2)
            agree += len(logits)
        else:
            p = torch.softmax(logits / tau, dim=1)
            codes = _draw(p, torch.from_numpy(u))
            agree += float(p.square().sum())
        draws[:, part] = codes.t().numpy().reshape(2, n, *grid)
    return LayerDraw(draws[0], draws[1], agree / vectors[..., 0].size)


def _draw(p, u):
    """By inversion: ``(N, K)`` probabilities and ``(N, 2)`` uniforms to codes."""
    steps = p.cumsum(1)
    codes = torch.searchsorted(steps, u * steps[:, -1:], right=True)
    return codes.clamp_(max=p.shape[1] - 1)

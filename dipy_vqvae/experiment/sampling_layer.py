r"""The sampling layer of the original experiment, used without a prior.

Each code is drawn from a softmax over the squared distances of the encoder's output z
to the codebook vectors,

.. math:: p(k) \propto \exp(-|z - e_k|^2 / \tau).

The original notebook has the opposite sign, :math:`\exp(+|z - e_k|^2)`, which favours
the farthest codebook vector.
"""

from dataclasses import dataclass
import math

import numpy as np
import torch

from dipy_vqvae.data import as_subjects
from dipy_vqvae.nn import ROWS
from dipy_vqvae.vqvae import ImageBatches

FAVOURED = {"nearest": -1.0, "farthest": 1.0}


@dataclass(frozen=True, eq=False)
class LayerDraw:
    """Two draws of the codes from the same distributions."""

    first: np.ndarray  # (N, *grid), int32
    second: np.ndarray
    expected_equal: float  # probability of equal codes, mean of the sums of p^2

    @property
    def equal(self):
        """Fraction of the codes that are equal in both draws."""
        return float(np.mean(self.first == self.second))


def _image_batches(fit, images):
    batches = ImageBatches(
        as_subjects(np.asarray(images), None, spatial_dims=2),
        scaling=fit.config.scaling,
        factors=fit.config.downsampling,
        device=fit.device,
    )
    return (batches[part] for part in batches.parts())


@torch.inference_mode()
def encoder_vectors(fit, images):
    """Encode images without quantisation: (N, H, W) -> (N, *grid, D), float32."""
    parts = [
        fit.net.latents(batch.x).movedim(1, -1).cpu().numpy()
        for batch in _image_batches(fit, images)
    ]
    return np.ascontiguousarray(np.concatenate(parts))


@torch.inference_mode()
def codes_at_price(fit, images, factor):
    """Encode images (N, H, W) with the rate weight multiplied by `factor`.

    0 gives the nearest codes, 1 the codes of ``fit.encode`` before refinement.
    """
    price = factor * fit.config.rate_weight
    parts = [
        fit.net(batch.x, price=price).quantised.codes.cpu().numpy()
        for batch in _image_batches(fit, images)
    ]
    codes = np.concatenate(parts).astype(np.int32)
    return codes.reshape(len(images), *fit.latent_shape)


def _distance_blocks(vectors, codebook):
    """Yield slices of the images and the squared distances (rows, K) of each."""
    codebook = torch.from_numpy(codebook)
    squares = codebook.square().sum(1)
    step = max(1, ROWS // math.prod(vectors.shape[1:-1]))
    for start in range(0, len(vectors), step):
        part = slice(start, min(start + step, len(vectors)))
        rows = torch.from_numpy(vectors[part].reshape(-1, vectors.shape[-1]))
        # |z - e|^2 = |e|^2 - 2 z.e + |z|^2
        scores = torch.addmm(squares, rows, codebook.t(), alpha=-2)
        yield part, scores + rows.square().sum(1, keepdim=True)


def mean_distances(vectors, codebook):
    """Average the squared distances to the nearest, all and the farthest codes."""
    sums = np.zeros(3)
    for _, d2 in _distance_blocks(vectors, codebook):
        for i, distances in enumerate((d2.amin(1), d2.mean(1), d2.amax(1))):
            sums[i] += float(distances.double().sum())
    sums /= vectors[..., 0].size
    return dict(zip(("nearest", "average", "farthest"), sums.tolist()))


def sampling_layer(vectors, codebook, *, tau, favour="nearest", random_seed=0):
    """Draw codes twice from a softmax over squared distances."""
    if favour not in FAVOURED:
        raise ValueError(f"favour={favour!r}: must be one of {list(FAVOURED)}")
    if not tau >= 0:
        raise ValueError(f"tau={tau!r}: must be at least 0")
    grid = vectors.shape[1:-1]
    draws = np.empty((2, len(vectors), *grid), np.int32)
    # Image by image: the draws of the first images do not depend on how many follow.
    rng = np.random.default_rng(random_seed)
    agreement = 0.0
    for part, d2 in _distance_blocks(vectors, codebook):
        n = part.stop - part.start
        logits = FAVOURED[favour] * d2.double()
        u = rng.random((n, math.prod(grid), 2)).reshape(-1, 2)
        if tau == 0:
            codes = logits.argmax(1, keepdim=True).expand(-1, 2)
            agreement += len(logits)
        else:
            p = torch.softmax(logits / tau, dim=1)
            codes = _draw(p, torch.from_numpy(u))
            agreement += float(p.square().sum())
        draws[:, part] = codes.t().numpy().reshape(2, n, *grid)
    return LayerDraw(draws[0], draws[1], agreement / vectors[..., 0].size)


def _draw(p, u):
    """Invert the cumulative distribution: p (N, K), uniforms u (N, 2) -> (N, 2)."""
    cumulative = p.cumsum(1)
    codes = torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True)
    return codes.clamp_(max=p.shape[1] - 1)

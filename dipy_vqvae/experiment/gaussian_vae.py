r"""The reference arm: a Gaussian VAE with the encoder and decoder of the VQ-VAE.

The variational autoencoder of :footcite:t:`Kingma2014` approximates the posterior
of its latents by independent Gaussians; the loss of each latent is its
Kullback-Leibler divergence from N(0, 1). A latent whose posterior equals that prior
carries no information: posterior collapse.

References
----------
.. footbibliography::
"""

from contextlib import contextmanager
from dataclasses import dataclass
import math

import numpy as np
import torch
from torch import nn

from dipy_vqvae.device import generator_of

# Standard deviations from 5e-5 to 150: beyond, the exponential of an untrained
# encoder's output could overflow.
_LOG_VARIANCE_RANGE = (-20.0, 10.0)


@dataclass(frozen=True)
class GaussianVAEOutput:
    """A reconstruction from one draw of the latents, and their posterior."""

    reconstruction: torch.Tensor  # (B, C, H, W)
    mean: torch.Tensor  # (B, D, h, w)
    log_variance: torch.Tensor  # (B, D, h, w)


class GaussianVAE(nn.Module):
    """Variational autoencoder with independent Gaussian latents.

    Parameters
    ----------
    encoder : torch.nn.Module
        Images (B, C, H, W) to (B, 2 D, h, w): means, then log-variances.
    decoder : torch.nn.Module
        Latents (B, D, h, w) to images.
    latent_shape : tuple of int
        (D, h, w).
    pixel_variance : float, optional
        Variance of the pixels about the decoder's output. By default it is
        estimated with the weights, see :func:`negative_elbo`.
    """

    def __init__(self, encoder, decoder, latent_shape, *, pixel_variance=None):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent_shape = tuple(latent_shape)
        self.pixel_variance = pixel_variance

    def posterior(self, images):
        """Encode images to mean and log-variance of the latents, each (B, D, h, w)."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance.clamp(*_LOG_VARIANCE_RANGE)

    def forward(self, images):
        """Reconstruct images (B, C, H, W) from one draw of torch's generator."""
        mean, log_variance = self.posterior(images)
        noise = torch.randn(
            mean.shape,
            dtype=mean.dtype,
            device=mean.device,
            generator=generator_of(mean.device),
        )
        # Reparameterisation (Kingma and Welling 2014): a draw with a gradient.
        latents = mean + noise * (0.5 * log_variance).exp()
        return GaussianVAEOutput(self.decoder(latents), mean, log_variance)


def gaussian_kl(mean, log_variance):
    """Compute the elementwise divergence of N(mean, variance) from N(0, 1), nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def negative_elbo(images, output, pixel_variance=None):
    r"""Compute the negative evidence lower bound, in nats per pixel.

    .. math:: \frac{1}{2} \log 2 \pi \sigma^2 + \frac{\mathrm{MSE}}{2 \sigma^2}
              + \frac{\mathrm{KL}}{\text{pixels}}

    The variance of the pixels decides how many latents collapse; a variance of 1 (the
    plain sum of squared error and KL) collapses nearly all. By default it is that of
    maximum likelihood, the mean squared error of the batch (optimal sigma-VAE,
    :footcite:t:`Rybkin2021`), so that collapse is not caused by a setting.

    References
    ----------
    .. footbibliography::
    """
    mse = (output.reconstruction - images).square().mean()
    kl = gaussian_kl(output.mean, output.log_variance).sum() / len(images)
    if pixel_variance is None:
        # The floor keeps the loss of a perfect reconstruction finite.
        distortion = 0.5 * (1 + torch.log(2 * math.pi * mse.clamp(min=1e-8)))
    else:
        distortion = 0.5 * (
            math.log(2 * math.pi * pixel_variance) + mse / pixel_variance
        )
    loss = distortion + kl / images[0].numel()
    return {"loss": loss, "mse": mse.detach(), "kl": kl.detach()}


class GaussianVAETask:
    """Loss of the Gaussian VAE, for :func:`dipy_vqvae.training.train`.

    Images (N, H, W[, C]) have pixels in [0, 1].
    """

    def __init__(self, module, images, *, validation_images=None):
        self.module = module
        self.images = images
        self.validation_images = validation_images
        self.n_items = len(images)

    def describe(self):
        """Describe model and data, for the checkpoint."""
        return {
            "model": "gaussian_vae",
            "latent_shape": list(self.module.latent_shape),
            "pixel_variance": self.module.pixel_variance,
            "n_images": self.n_items,
            "image_shape": list(self.images.shape[1:]),
        }

    def loss(self, indices, progress, random_seed):
        """Compute the terms of the loss for the images of `indices`."""
        images = _to_tensor(self.images[indices], self.module)
        return negative_elbo(images, self.module(images), self.module.pixel_variance)

    def validate(self):
        """Average the terms of the loss over the validation images."""
        if self.validation_images is None:
            return {}
        totals = {}
        for images in _batches(self.validation_images, self.module, 500):
            terms = negative_elbo(
                images, self.module(images), self.module.pixel_variance
            )
            for name, value in terms.items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(images)
        return {k: v / len(self.validation_images) for k, v in totals.items()}


def active_units(posterior_means, threshold=0.01):
    """Find the latents whose posterior mean (N, ...) has a variance above `threshold`.

    The active units of :footcite:t:`Burda2016`.

    References
    ----------
    .. footbibliography::
    """
    return np.var(posterior_means, axis=0, dtype=np.float64) > threshold


@dataclass(frozen=True, eq=False)
class PosteriorUsage:
    """Information in the latents of a Gaussian VAE."""

    active: np.ndarray  # (D, h, w), bool, see active_units
    kl: np.ndarray  # (D, h, w), float64, mean divergence from N(0, 1), nats
    mse: float  # of reconstructions from the posterior means

    @property
    def n_active(self):
        """Number of active latents."""
        return int(self.active.sum())

    @property
    def n_latents(self):
        """Number of latents."""
        return self.active.size

    @property
    def bits_per_image(self):
        """Rate of the latents: sum of their divergences, in bits."""
        return float(self.kl.sum() / math.log(2))


def posterior_usage(vae, images, *, threshold=0.01, batch_size=500):
    """Measure which latents are active, their rate and the distortion."""
    means, kl, squares = [], 0.0, 0.0
    with _inference(vae):
        for batch in _batches(images, vae, batch_size):
            mean, log_variance = vae.posterior(batch)
            means.append(mean.cpu().numpy())
            kl = kl + gaussian_kl(mean, log_variance).double().sum(dim=0).cpu().numpy()
            squares += float((vae.decoder(mean) - batch).double().square().sum())
    return PosteriorUsage(
        active=active_units(np.concatenate(means), threshold),
        kl=kl / len(images),
        mse=squares / np.asarray(images).size,
    )


def reconstruct(vae, images, *, batch_size=500):
    """Decode the posterior means of images; not clipped to [0, 1]."""
    with _inference(vae):
        parts = [
            _to_images(vae.decoder(vae.posterior(batch)[0]))
            for batch in _batches(images, vae, batch_size)
        ]
    return np.concatenate(parts).reshape(np.shape(images))


def sample(vae, n, *, random_seed=0, batch_size=500):
    """Decode `n` latents drawn from N(0, 1); not clipped to [0, 1].

    The first latents do not depend on `n` and `batch_size`.
    """
    rng = np.random.default_rng(random_seed)
    device = next(vae.parameters()).device
    parts = []
    with _inference(vae):
        for start in range(0, n, batch_size):
            size = min(batch_size, n - start)
            latents = rng.standard_normal((size, *vae.latent_shape), dtype=np.float32)
            parts.append(_to_images(vae.decoder(torch.from_numpy(latents).to(device))))
    images = np.concatenate(parts)
    return images[..., 0] if images.shape[-1] == 1 else images


@contextmanager
def _inference(module):
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(was_training)


def _batches(images, module, batch_size):
    for start in range(0, len(images), batch_size):
        yield _to_tensor(images[start : start + batch_size], module)


def _to_tensor(images, module):
    """Move images (B, H, W[, C]) to (B, C, H, W) on the module's device."""
    images = np.asarray(images, dtype=np.float32)
    images = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
    images = torch.from_numpy(np.ascontiguousarray(images))
    return images.to(next(module.parameters()).device)


def _to_images(tensor):
    return tensor.movedim(1, -1).cpu().numpy()

r"""The reference arm: a Gaussian VAE with the encoder and decoder of the VQ-VAE.

The variational autoencoder of :footcite:t:`Kingma2014` approximates the posterior
of its latents by independent Gaussians and pays for each latent with its
Kullback-Leibler divergence from N(0, 1). Latents that are not worth their price
fall back to that prior and carry nothing: posterior collapse.

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

from dipy_vqvae.training import train

# Standard deviations from 5e-5 to 150: beyond, the exponential of an untrained
# encoder's output could overflow.
_LOG_VARIANCE_RANGE = (-20.0, 10.0)


@dataclass(frozen=True)
class GaussianVAEOutput:
    """What a pass through the network gives.

    Attributes
    ----------
    reconstruction : torch.Tensor, shape (B, C, H, W)
        Decoded from one draw of the latents.
    mean, log_variance : torch.Tensor, shape (B, D, h, w)
        Of the posterior of each latent.
    """

    reconstruction: torch.Tensor
    mean: torch.Tensor
    log_variance: torch.Tensor


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
        Variance of the pixels about the decoder's output. When not given it is
        estimated with the weights, see :func:`negative_elbo`.
    """

    def __init__(self, encoder, decoder, latent_shape, *, pixel_variance=None):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent_shape = tuple(latent_shape)
        self.pixel_variance = pixel_variance

    def posterior(self, images):
        """Mean and log-variance, each (B, D, h, w), of the latents of images."""
        encoded = self.encoder(images)
        d, *grid = self.latent_shape
        if encoded.shape[1:] != (2 * d, *grid):
            raise ValueError(
                f"the encoder gives {tuple(encoded.shape[1:])} for an image; latents "
                f"of shape {self.latent_shape} need {(2 * d, *grid)}"
            )
        mean, log_variance = encoded.chunk(2, dim=1)
        return mean, log_variance.clamp(*_LOG_VARIANCE_RANGE)

    def forward(self, images):
        """Reconstruct (B, C, H, W) from one draw, of torch's default generator."""
        mean, log_variance = self.posterior(images)
        noise = torch.randn_like(mean)
        # The reparameterisation of Kingma and Welling: a draw with a gradient.
        latents = mean + noise * (0.5 * log_variance).exp()
        return GaussianVAEOutput(self.decoder(latents), mean, log_variance)


def gaussian_kl(mean, log_variance):
    """Kullback-Leibler divergence of N(mean, variance) from N(0, 1), in nats.

    Elementwise, for tensors of any shape: appendix B of Kingma and Welling 2014.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def negative_elbo(images, output, pixel_variance=None):
    r"""Bound on the negative log-likelihood, in nats per pixel.

    .. math:: \frac{1}{2} \log 2 \pi \sigma^2 + \frac{\mathrm{MSE}}{2 \sigma^2}
              + \frac{\mathrm{KL}}{\text{pixels}}

    The variance of the pixels decides how many latents are worth their price: any
    amount of collapse can be had by choosing it, 1 (the plain sum of squared error
    and KL) for nearly all. Without a given variance the one of maximum likelihood
    is used, the mean squared error of the batch itself (the optimal sigma-VAE of
    :footcite:t:`Rybkin2021`): a latent that collapses then does so because it is
    not worth its price to the model, not because of a setting.

    Parameters
    ----------
    images : torch.Tensor, shape (B, C, H, W)
    output : GaussianVAEOutput
    pixel_variance : float, optional
        A fixed variance in place of the optimal one.

    Returns
    -------
    terms : dict of torch.Tensor
        "loss", to be minimised; "mse" per pixel; "kl", nats per image.

    References
    ----------
    .. footbibliography::
    """
    mse = (output.reconstruction - images).square().mean()
    kl = gaussian_kl(output.mean, output.log_variance).sum() / len(images)
    if pixel_variance is None:
        # The tiny floor bounds the gain of a perfect reconstruction.
        distortion = 0.5 * (1 + torch.log(2 * math.pi * mse.clamp(min=1e-8)))
    else:
        distortion = 0.5 * (
            math.log(2 * math.pi * pixel_variance) + mse / pixel_variance
        )
    loss = distortion + kl / images[0].numel()
    return {"loss": loss, "mse": mse.detach(), "kl": kl.detach()}


class GaussianVAETask:
    """Loss of the Gaussian VAE, for :func:`dipy_vqvae.training.loop.train`.

    Parameters
    ----------
    module : GaussianVAE
    images : array (N, H, W) or (N, H, W, C)
        Training images, pixels in [0, 1].
    validation_images : array, optional
        Images for the end of each epoch.
    """

    def __init__(self, module, images, *, validation_images=None):
        self.module = module
        self.images = images
        self.validation_images = validation_images
        self.n_items = len(images)

    def describe(self):
        """Settings and data, for the checkpoint."""
        return {
            "model": "gaussian_vae",
            "latent_shape": list(self.module.latent_shape),
            "pixel_variance": self.module.pixel_variance,
            "n_images": self.n_items,
            "image_shape": list(self.images.shape[1:]),
        }

    def loss(self, indices, progress):
        """Named scalar tensors for the images of `indices`."""
        images = _to_tensor(self.images[indices], self.module)
        return negative_elbo(images, self.module(images), self.module.pixel_variance)

    def validate(self):
        """The same terms on the validation images."""
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


def fit_gaussian_vae(
    vae, images, options, *, validation_images=None, checkpoint=None, verbose=False
):
    """Train a Gaussian VAE in place.

    Parameters
    ----------
    vae : GaussianVAE
    images : array (N, H, W) or (N, H, W, C)
        Pixels in [0, 1].
    options : dipy_vqvae.training.TrainingOptions
    validation_images : array, optional
        Images for the end of each epoch.
    checkpoint : str or Path, optional
        As in :func:`dipy_vqvae.training.loop.train`.
    verbose : bool, optional
        Show progress.

    Returns
    -------
    history : History
    """
    task = GaussianVAETask(vae, images, validation_images=validation_images)
    return train(task, options, checkpoint=checkpoint, verbose=verbose)


def active_units(posterior_means, threshold=0.01):
    """Find the latents whose posterior mean varies with the image.

    The count of :footcite:t:`Burda2016`: a latent is active when the variance of
    its posterior mean over the data is above 0.01.

    Parameters
    ----------
    posterior_means : array (N, ...)
        Posterior mean of each latent for each image.
    threshold : float, optional
        Smallest variance of an active latent.

    Returns
    -------
    active : array of bool, shape of one image's latents

    References
    ----------
    .. footbibliography::
    """
    return np.var(posterior_means, axis=0, dtype=np.float64) > threshold


@dataclass(frozen=True, eq=False)
class PosteriorUsage:
    """What the latents of a Gaussian VAE carry.

    Attributes
    ----------
    active : array of bool (D, h, w)
        Latents that are in use, as :func:`active_units` finds them.
    kl : array (D, h, w), float64
        Mean Kullback-Leibler divergence of each latent, nats.
    mse : float
        Mean squared error of the reconstructions from the posterior means.
    """

    active: np.ndarray
    kl: np.ndarray
    mse: float

    @property
    def n_active(self):
        """Number of latents in use."""
        return int(self.active.sum())

    @property
    def n_latents(self):
        """Number of latents."""
        return self.active.size

    @property
    def bits_per_image(self):
        """Rate of the latents: their divergence summed, in bits."""
        return float(self.kl.sum() / math.log(2))


def posterior_usage(vae, images, *, threshold=0.01, batch_size=500):
    """Measure which latents are in use, and what they cost and give.

    Parameters
    ----------
    vae : GaussianVAE
    images : array (N, H, W) or (N, H, W, C)
        Pixels in [0, 1], at least one image.
    threshold : float, optional
        As in :func:`active_units`.
    batch_size : int, optional
        Images at a time; it bounds the memory.

    Returns
    -------
    usage : PosteriorUsage
    """
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
    """Decode the posterior means of images.

    Parameters
    ----------
    vae : GaussianVAE
    images : array (N, H, W) or (N, H, W, C)
        Pixels in [0, 1].
    batch_size : int, optional
        Images at a time.

    Returns
    -------
    reconstructions : array of the shape of `images`, float32
        Not clipped to [0, 1].
    """
    with _inference(vae):
        parts = [
            _to_images(vae.decoder(vae.posterior(batch)[0]))
            for batch in _batches(images, vae, batch_size)
        ]
    return np.concatenate(parts).reshape(np.shape(images))


def sample(vae, n, *, random_seed=0, batch_size=500):
    """Draw images: latents from N(0, 1), decoded.

    Parameters
    ----------
    vae : GaussianVAE
    n : int
        Number of images, at least 1.
    random_seed : int, optional
        Seed of the latents. The first latents are the same for any `n` and
        `batch_size`.
    batch_size : int, optional
        Images at a time.

    Returns
    -------
    images : array (n, H, W) or (n, H, W, C), float32
        Not clipped to [0, 1]; without a channel axis where there is one channel.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
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
    # (B, H, W[, C]) to (B, C, H, W), on the module's device.
    images = np.asarray(images, dtype=np.float32)
    images = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
    images = torch.from_numpy(np.ascontiguousarray(images))
    return images.to(next(module.parameters()).device)


def _to_images(tensor):
    return tensor.movedim(1, -1).cpu().numpy()

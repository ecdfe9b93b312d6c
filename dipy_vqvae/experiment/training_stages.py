"""The trainings of the experiment: VQ-VAE, two priors, Gaussian VAE."""

from dataclasses import dataclass

from dipy_vqvae.device import choose_device, has_fast_bfloat16, seeded
from dipy_vqvae.experiment.data import unit
from dipy_vqvae.experiment.gaussian_vae import GaussianVAE, fit_gaussian_vae
from dipy_vqvae.experiment.settings import derived_seed
from dipy_vqvae.nn import DECODERS, ENCODERS
from dipy_vqvae.prior import PixelCNNFit, PixelCNNModel
from dipy_vqvae.training import History, TrainingOptions
from dipy_vqvae.vqvae import VQVAEFit, VQVAEModel

PRIOR_KINDS = ("gated", "plain")


@dataclass(frozen=True, eq=False)
class TrainedModels:
    """What the trainings of the experiment give.

    Attributes
    ----------
    vqvae : VQVAEFit
    priors : dict of PixelCNNFit
        By kind, "gated" and "plain".
    gaussian_vae : GaussianVAE
    gaussian_history : History
    """

    vqvae: VQVAEFit
    priors: dict[str, PixelCNNFit]
    gaussian_vae: GaussianVAE
    gaussian_history: History


def train_vqvae(data, settings, *, random_seed, use_cuda, checkpoint, verbose):
    """Train the VQ-VAE on the training images.

    Parameters
    ----------
    data : ExperimentData
    settings : ExperimentSettings
    random_seed : int
    use_cuda : bool
    checkpoint : Path or None
        File of the state, to resume from.
    verbose : bool

    Returns
    -------
    fit : VQVAEFit
    """
    model = VQVAEModel(
        **settings.vqvae,
        mixed_precision=_is_mixed_precision_faster(use_cuda),
        random_seed=random_seed,
        use_cuda=use_cuda,
    )
    return model.fit(
        data.train_images,
        validation_images=data.test_images[: settings.n_watched],
        checkpoint=checkpoint,
        verbose=verbose,
        **settings.vqvae_fit,
    )


def train_prior(
    kind,
    codes,
    watched,
    settings,
    *,
    n_codes,
    random_seed,
    use_cuda,
    checkpoint,
    verbose,
):
    """Train a prior on the codes of the training images.

    Parameters
    ----------
    kind : {"gated", "plain"}
    codes, watched : int array (N, *grid)
        Codes of the training images and of those that curves are drawn for.
    settings : ExperimentSettings
    n_codes : int
        Size of the codebook.
    random_seed, use_cuda, checkpoint, verbose
        As in :func:`train_vqvae`.

    Returns
    -------
    prior : PixelCNNFit
    """
    model = PixelCNNModel(
        n_codes,
        kind=kind,
        mixed_precision=_is_mixed_precision_faster(use_cuda),
        random_seed=random_seed,
        use_cuda=use_cuda,
        **getattr(settings, f"{kind}_prior"),
    )
    return model.fit(
        codes,
        validation_codes=watched[: settings.n_watched],
        checkpoint=checkpoint,
        verbose=verbose,
        **getattr(settings, f"{kind}_fit"),
    )


def _is_mixed_precision_faster(use_cuda):
    return has_fast_bfloat16(choose_device(use_cuda))


def build_gaussian_vae(config, *, random_seed, pixel_variance=None):
    """A Gaussian VAE with the encoder and the decoder of a VQ-VAE.

    The encoder's last layer is twice as wide, for means and variances; the latents
    have the depth and the grid of the VQ-VAE's vectors.

    Parameters
    ----------
    config : VQVAEConfig
        Of the VQ-VAE.
    random_seed : int
        Seed of the weights.
    pixel_variance : float, optional
        As for :class:`GaussianVAE`.

    Returns
    -------
    vae : GaussianVAE
        Untrained, on the CPU.
    """
    shared = {
        "factors": config.downsampling,
        "n_channels": config.n_channels,
        "n_hidden": config.n_hidden,
    }
    depth, channels = config.code_dim, config.n_channels_in
    blocks = config.n_blocks
    with seeded(random_seed):
        encoder = ENCODERS[config.architecture](
            channels, 2 * depth, n_blocks=blocks[0], **shared
        )
        decoder = DECODERS[config.architecture](
            depth, channels, n_blocks=blocks[1], **shared
        )
    grid = [n // f for n, f in zip(config.image_shape, config.downsampling)]
    return GaussianVAE(encoder, decoder, (depth, *grid), pixel_variance=pixel_variance)


def train_gaussian_vae(
    data, settings, config, *, random_seed, use_cuda, checkpoint, verbose
):
    """Train the Gaussian VAE on the training images.

    Parameters
    ----------
    config : VQVAEConfig
        Of the VQ-VAE, see :func:`build_gaussian_vae`.
    data, settings, random_seed, use_cuda, checkpoint, verbose
        As in :func:`train_vqvae`.

    Returns
    -------
    vae : GaussianVAE
    history : History
    """
    seed = derived_seed(random_seed, "gaussian vae")
    vae = build_gaussian_vae(config, random_seed=seed, **settings.gaussian_vae)
    vae = vae.to(choose_device(use_cuda))
    history = fit_gaussian_vae(
        vae,
        unit(data.train_images),
        TrainingOptions(optimizer="adam", random_seed=seed, **settings.gaussian_fit),
        validation_images=unit(data.test_images[: settings.n_watched]),
        checkpoint=checkpoint,
        verbose=verbose,
    )
    return vae, history


def n_parameters(module):
    """Number of trained numbers of a network, its codebook included."""
    count = sum(p.numel() for p in module.parameters())
    quantiser = getattr(module, "quantiser", None)
    if quantiser is not None and "codebook" in dict(quantiser.named_buffers()):
        count += quantiser.codebook.numel()
    return count

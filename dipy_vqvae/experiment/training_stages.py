"""The trainings of the experiment: VQ-VAE, two priors, Gaussian VAE."""

from dataclasses import dataclass

import numpy as np

from dipy_vqvae.device import choose_device, has_fast_bfloat16, seeded
from dipy_vqvae.experiment.data import unit
from dipy_vqvae.experiment.gaussian_vae import GaussianVAE, GaussianVAETask
from dipy_vqvae.experiment.settings import derived_seed
from dipy_vqvae.nn import DECODERS, ENCODERS
from dipy_vqvae.prior import PixelCNNFit, PixelCNNModel
from dipy_vqvae.training import History, TrainingOptions, train
from dipy_vqvae.vqvae import VQVAEFit, VQVAEModel, shifted_codes


@dataclass(frozen=True, eq=False)
class TrainedModels:
    """The trained models, and the codes of all training and test images."""

    vqvae: VQVAEFit
    train_codes: np.ndarray  # (N, *grid)
    test_codes: np.ndarray
    priors: dict[str, PixelCNNFit]  # by kind
    gaussian_vae: GaussianVAE
    gaussian_history: History


def train_all(data, settings, folder, clock, *, random_seed, use_cuda, verbose):
    """Train all models; states and models in `folder` let a stopped run continue."""
    common = {"random_seed": random_seed, "use_cuda": use_cuda}
    faster = {"mixed_precision": has_fast_bfloat16(choose_device(use_cuda))}

    def files(name):
        checkpoint = folder / f"{name}.ckpt"
        return {"checkpoint": checkpoint, "verbose": verbose}

    with clock.stage("Training the VQ-VAE"):
        vqvae = VQVAEModel(**settings.vqvae, **faster, **common).fit(
            data.train_images,
            validation_images=data.test_images[: settings.n_watched],
            **files("vqvae"),
            **settings.vqvae_fit,
        )
        vqvae.save(folder / "vqvae.safetensors")
    clock.count_earlier_runs(vqvae.history.seconds[-1])
    with clock.stage("Encoding the images"):
        train_codes = vqvae.encode(data.train_images)
        test_codes = vqvae.encode(data.test_images)
        variants = shifted_codes(vqvae, data.train_images, settings.n_shifts)
    priors = {}
    for kind in ("gated", "plain"):
        model = getattr(settings, f"{kind}_prior")
        with clock.stage(f"Training the {kind} PixelCNN"):
            priors[kind] = PixelCNNModel(
                vqvae.n_codes, kind=kind, **model, **faster, **common
            ).fit(
                train_codes,
                variants=variants if kind == "gated" else [],
                validation_codes=test_codes[: settings.n_watched],
                **files(f"pixelcnn_{kind}"),
                **getattr(settings, f"{kind}_fit"),
            )
            priors[kind].save(folder / f"pixelcnn_{kind}.safetensors")
        clock.count_earlier_runs(priors[kind].history.seconds[-1])
    with clock.stage("Training the Gaussian VAE"):
        seed = derived_seed(random_seed, "gaussian vae")
        vae = build_gaussian_vae(
            vqvae.config, random_seed=seed, **settings.gaussian_vae
        ).to(choose_device(use_cuda))
        task = GaussianVAETask(
            vae,
            unit(data.train_images),
            validation_images=unit(data.test_images[: settings.n_watched]),
        )
        options = TrainingOptions(random_seed=seed, **settings.gaussian_fit)
        history = train(task, options, **files("gaussian_vae"))
    clock.count_earlier_runs(history.seconds[-1])
    return TrainedModels(vqvae, train_codes, test_codes, priors, vae, history)


def build_gaussian_vae(config, *, random_seed, pixel_variance=None):
    """Build an untrained Gaussian VAE with the networks of a VQ-VAE.

    The last layer of the encoder is twice as wide, for means and log-variances.
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


def n_parameters(module):
    """Count the trained parameters of a network, including the codebook."""
    count = sum(p.numel() for p in module.parameters())
    quantiser = getattr(module, "quantiser", None)
    if quantiser is not None and "codebook" in dict(quantiser.named_buffers()):
        count += quantiser.codebook.numel()
    return count

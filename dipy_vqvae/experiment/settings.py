"""Size of the experiment: models, trainings, numbers of images."""

from dataclasses import asdict, dataclass, field
import zlib

import numpy as np

# Files in the folder of a finished run.
OUTPUT_FILES = (
    "results.json",
    "results.md",
    "report.html",
    "vqvae.safetensors",
    "pixelcnn_gated.safetensors",
    "pixelcnn_plain.safetensors",
    "arms.png",
    "generated.png",
    "training.png",
    "codebook_usage.png",
    "code_maps.png",
    "rate_distortion.png",
    "sampling_layer.png",
    "temperatures.png",
    "neighbours.png",
)
# Folder of an unfinished run, in the folder of the results.
UNFINISHED = "unfinished"
# Training images whose error and code length are measured, from the first on.
N_TRAIN_RATED = 2_000

# The plain prior is trained with Adam, as in the original experiment.
PLAIN_FIT = {
    "n_epochs": 1,
    "optimizer": "adam",
    "learning_rate": 2e-3,
    "weight_decay": 0.0,
}
GAUSSIAN_FIT = {
    "n_epochs": 0.75,
    "batch_size": 128,
    "optimizer": "muon",
    "learning_rate": 1e-2,
    "weight_decay": 0.0,
}
# Of the quick run and of that on scikit-learn's digits.
_FEWER_IMAGES = {
    "n_images": 1_000,
    "n_gated_samples": 1_000,
    "n_plain_samples": 1_000,
    "n_temperature_samples": 250,
}
# Chosen on held-out digits; the defaults suit scans (benchmarks/defaults.py).
_CODES = {
    "n_codes": 128,
    "code_dim": 16,
    "commitment": 0.05,
    "decay": 0.99,
    "revive_below": 0.01,
}


@dataclass(frozen=True)
class ExperimentSettings:
    """Models, trainings and numbers of images of the experiment.

    Attributes
    ----------
    name : str
        Name of these settings in the report.
    vqvae, vqvae_fit : dict
        Arguments of :class:`dipy_vqvae.VQVAEModel` and of its ``fit``.
    gated_prior, gated_fit, plain_prior, plain_fit : dict
        Arguments of :class:`dipy_vqvae.PixelCNNModel` and of its ``fit``, for the
        two kinds of prior.
    gaussian_fit : dict
        Arguments of :class:`dipy_vqvae.training.TrainingOptions`.
    n_shifts : int
        Kinds of shifted copies of the training images that the gated prior learns from.
    gaussian_vae : dict
        ``pixel_variance`` of the Gaussian VAE (None: maximum likelihood). Its encoder,
        decoder and latent depth are those of the VQ-VAE.
    n_train_images, n_test_images : int or None
        First images to use; None for all.
    n_images : int
        Images of each arm, at most all test images if they are made from these.
    n_gated_samples, n_plain_samples : int
        Samples of each prior.
    n_argmax : int
        Images of each prior at temperature 0.
    n_rated : int
        Images of each arm whose code length under the priors is computed.
    n_layer_images : int
        Test images that go through the sampling layer at each temperature.
    taus : tuple of float
        Temperatures of the sampling layer.
    shown_tau : float
        Temperature of the sampling layer in the arms; 1 in the original experiment.
    temperatures : tuple of float
        Temperatures of the gated prior, besides 0 and 1.
    n_temperature_samples : int
        Samples at each of these temperatures.
    n_canvas : int
        Samples from each initial canvas.
    price_factors : tuple of float
        Factors on the rate weight, for the curve of distortion against rate.
    n_neighbours : int
        Samples whose nearest training image is searched.
    n_watched : int
        Test images of the training curves; nothing is selected by them.
    """

    name: str
    vqvae: dict
    vqvae_fit: dict
    gated_prior: dict
    gated_fit: dict
    plain_prior: dict
    plain_fit: dict
    gaussian_fit: dict
    n_shifts: int = 0
    gaussian_vae: dict = field(default_factory=lambda: {"pixel_variance": None})
    n_train_images: int | None = None
    n_test_images: int | None = None
    n_images: int = 10_000
    n_gated_samples: int = 10_000
    n_plain_samples: int = 10_000
    n_argmax: int = 64
    n_rated: int = 500
    n_layer_images: int = 2_000
    taus: tuple = (0.01, 0.1, 1.0, 10.0, 100.0)
    shown_tau: float = 1.0
    temperatures: tuple = (0.25, 0.5, 0.75)
    n_temperature_samples: int = 1_000
    n_canvas: int = 24
    price_factors: tuple = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
    n_neighbours: int = 1_000
    n_watched: int = 2_000

    @classmethod
    def default(cls):
        """Return the settings for all of MNIST."""
        return cls(
            name="default",
            vqvae={
                **_CODES,
                "n_channels": 64,
                "n_blocks": (2, 2),
                "n_hidden": 32,
                "n_refinements": 2,
                "rate_weight": 0.04,
            },
            vqvae_fit={
                "n_epochs": 7.5,
                "n_decoder_epochs": 1.7,
                "schedule": "linear",
                "weight_decay": 0.3,
            },
            gated_prior={"n_components": 8},
            gated_fit={
                "n_epochs": 3.6,
                "batch_size": 64,
                "schedule": "linear",
                "weight_decay": 0.16,
            },
            n_shifts=3,
            plain_prior={},
            plain_fit=PLAIN_FIT,
            gaussian_fit=GAUSSIAN_FIT,
        )

    @classmethod
    def thorough(cls):
        """Return the settings for all of MNIST, with larger models and more epochs."""
        return cls(
            name="thorough",
            vqvae={
                **_CODES,
                "n_channels": 96,
                "n_blocks": (3, 3),
                "n_hidden": 48,
                "n_refinements": 4,
                "rate_weight": 0.05,
            },
            vqvae_fit={
                "n_epochs": 15,
                "n_decoder_epochs": 3,
                "schedule": "linear",
                "weight_decay": 0.3,
            },
            gated_prior={"n_channels": 96, "n_attention": 5, "n_components": 16},
            gated_fit={
                "n_epochs": 13,
                "batch_size": 64,
                "schedule": "linear",
                "weight_decay": 0.16,
            },
            n_shifts=8,
            plain_prior={},
            plain_fit=PLAIN_FIT,
            gaussian_fit=GAUSSIAN_FIT,
        )

    @classmethod
    def quick(cls):
        """Return smaller settings, for a first look at MNIST."""
        return cls(
            name="quick",
            vqvae={
                **_CODES,
                "n_channels": 48,
                "n_blocks": (1, 1),
                "rate_weight": 0.02,
            },
            vqvae_fit={"n_epochs": 3},
            gated_prior={"n_channels": 48, "n_layers": 4},
            gated_fit={"n_epochs": 3},
            plain_prior={"n_channels": 64},
            plain_fit=PLAIN_FIT,
            gaussian_fit=GAUSSIAN_FIT,
            n_train_images=20_000,
            n_test_images=2_000,
            n_layer_images=500,
            n_neighbours=250,
            n_watched=1_000,
            **_FEWER_IMAGES,
        )

    @classmethod
    def digits(cls):
        """Return the settings for the 1,797 digits of scikit-learn."""
        return cls(
            name="digits",
            vqvae={
                **_CODES,
                "n_channels": 32,
                "n_blocks": (1, 1),
                "rate_weight": 0.02,
            },
            vqvae_fit={"n_epochs": 25, "batch_size": 32},
            gated_prior={"n_channels": 48, "n_layers": 4, "dropout": 0.2},
            gated_fit={"n_epochs": 10, "batch_size": 32},
            plain_prior={"n_channels": 48},
            plain_fit={**PLAIN_FIT, "n_epochs": 15, "batch_size": 32},
            gaussian_fit={**GAUSSIAN_FIT, "n_epochs": 15, "batch_size": 32},
            n_neighbours=360,
            **_FEWER_IMAGES,
        )

    def to_dict(self):
        """Return the settings as a dict for JSON."""
        return asdict(self)


def derived_seed(random_seed, purpose):
    """Derive a seed below 2**32, independent of those of other purposes.

    Examples
    --------
    >>> derived_seed(0, "uniform codes") == derived_seed(0, "marginal codes")
    False
    """
    sequence = np.random.SeedSequence([random_seed, zlib.crc32(purpose.encode())])
    return int(sequence.generate_state(1)[0])

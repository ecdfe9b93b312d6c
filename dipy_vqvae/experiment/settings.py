"""How large the experiment is: models, trainings, numbers of images."""

from dataclasses import asdict, dataclass, field
import zlib

import numpy as np

# What a finished run leaves in its folder.
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
# Folder of what is not finished, within that of the results.
UNFINISHED = "unfinished"


# The plain prior is trained with Adam, as in the original experiment.
PLAIN_FIT = {"n_epochs": 1, "optimizer": "adam", "learning_rate": 2e-3}
GAUSSIAN_FIT = {
    "n_epochs": 0.75,
    "batch_size": 128,
    "optimizer": "muon",
    "learning_rate": 1e-2,
}


@dataclass(frozen=True)
class ExperimentSettings:
    """Size of the experiment.

    Attributes
    ----------
    name : str
        What the report calls these settings.
    vqvae, vqvae_fit : dict
        Arguments of :class:`dipy_vqvae.VQVAEModel` and of its ``fit``.
    gated_prior, gated_fit, plain_prior, plain_fit : dict
        Arguments of :class:`dipy_vqvae.PixelCNNModel` and of its ``fit``, for the
        two kinds of prior.
    gaussian_vae : dict
        ``pixel_variance`` (None: estimated) of the Gaussian VAE. Its encoder, its
        decoder and the depth of its latents are those of the VQ-VAE.
    gaussian_fit : dict
        Arguments of :class:`dipy_vqvae.training.TrainingOptions`.
    n_train_images, n_test_images : int or None
        Images to use, from the first on; None for all.
    n_images : int
        Images of each arm (at most all test images where an arm starts from them).
    n_gated_samples, n_plain_samples : int
        Images drawn from each prior.
    n_argmax : int
        Images drawn from each prior at temperature 0.
    n_rated : int
        Images of each arm whose code length under the priors is computed.
    n_layer_images : int
        Test images that go through the sampling layer at each temperature.
    taus : tuple of float
        Temperatures of the sampling layer alone.
    shown_tau : float
        The one that the arms are compared at: 1 in the original experiment.
    temperatures : tuple of float
        Temperatures of the gated prior besides 0 and 1.
    n_temperature_samples : int
        Images at each of them.
    n_canvas : int
        Images of the check that the starting canvas has no influence.
    price_factors : tuple of float
        What the price of code length is multiplied by, for a curve of distortion
        against rate: 0 is the nearest codes, 1 the codes of the model but for their
        refinement.
    n_neighbours : int
        Samples whose nearest training image is looked for.
    n_watched : int
        Test images that training curves are drawn for. Nothing is chosen by them.
    """

    name: str
    vqvae: dict
    vqvae_fit: dict
    gated_prior: dict
    gated_fit: dict
    plain_prior: dict
    plain_fit: dict
    gaussian_fit: dict
    gaussian_vae: dict = field(default_factory=lambda: {"pixel_variance": None})
    n_train_images: int | None = None
    n_test_images: int | None = None
    n_images: int = 10_000
    n_gated_samples: int = 10_000
    n_plain_samples: int = 10_000
    n_argmax: int = 64
    n_rated: int = 1_000
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
        """The experiment on all of MNIST."""
        return cls(
            name="default",
            vqvae={
                "n_codes": 128,
                "code_dim": 16,
                "n_channels": 64,
                "n_blocks": (2, 2),
                "n_hidden": 32,
                "n_refinements": 2,
                "rate_weight": 0.0333,
            },
            vqvae_fit={"n_epochs": 5, "n_decoder_epochs": 1, "schedule": "linear"},
            gated_prior={},
            gated_fit={"n_epochs": 2.15, "batch_size": 64, "schedule": "linear"},
            plain_prior={},
            plain_fit=PLAIN_FIT,
            gaussian_fit=GAUSSIAN_FIT,
        )

    @classmethod
    def quick(cls):
        """A first look at MNIST."""
        return cls(
            name="quick",
            vqvae={
                "n_codes": 128,
                "code_dim": 16,
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
            n_images=1_000,
            n_gated_samples=1_000,
            n_plain_samples=1_000,
            n_rated=1_000,
            n_layer_images=500,
            n_temperature_samples=250,
            n_neighbours=250,
            n_watched=1_000,
        )

    @classmethod
    def digits(cls):
        """The experiment on the 1,797 digits of scikit-learn."""
        return cls(
            name="digits",
            vqvae={
                "n_codes": 128,
                "code_dim": 16,
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
            n_images=1_000,
            n_gated_samples=1_000,
            n_plain_samples=1_000,
            n_rated=1_000,
            n_temperature_samples=250,
            n_neighbours=360,
        )

    def to_dict(self):
        """The settings as JSON can hold them."""
        return asdict(self)


def derived_seed(random_seed, purpose):
    """A seed for one purpose, independent of those for others.

    Parameters
    ----------
    random_seed : int
        Seed of the experiment.
    purpose : str
        Any name.

    Returns
    -------
    seed : int
        Below 2**32.

    Examples
    --------
    >>> derived_seed(0, "uniform codes") == derived_seed(0, "marginal codes")
    False
    """
    sequence = np.random.SeedSequence([random_seed, zlib.crc32(purpose.encode())])
    return int(sequence.generate_state(1)[0])

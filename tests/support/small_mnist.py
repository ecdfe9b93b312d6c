"""A small data set in the place of MNIST, and a small experiment on it."""

import gzip
import hashlib
import struct

import numpy as np

from dipy_vqvae.experiment.settings import ExperimentSettings

SMALL = ExperimentSettings(
    name="small",
    vqvae={
        "n_codes": 12,
        "code_dim": 4,
        "n_channels": 8,
        "n_blocks": (1, 1),
        "rate_weight": 0.02,
    },
    vqvae_fit={"n_epochs": 8, "batch_size": 20},
    gated_prior={"n_channels": 8, "n_layers": 2},
    gated_fit={"n_epochs": 2, "batch_size": 20},
    plain_prior={"n_channels": 8, "n_layers": 1},
    plain_fit={"n_epochs": 2, "batch_size": 20},
    gaussian_fit={
        "n_epochs": 1,
        "batch_size": 20,
        "optimizer": "adam",
        "learning_rate": 2e-3,
    },
    n_train_images=300,
    n_test_images=60,
    n_images=70,
    n_gated_samples=30,
    n_plain_samples=20,
    n_argmax=8,
    n_rated=30,
    n_layer_images=30,
    taus=(0.01, 1.0),
    temperatures=(0.5,),
    n_temperature_samples=16,
    n_canvas=8,
    price_factors=(0.0, 1.0, 4.0),
    n_neighbours=20,
    n_watched=40,
)


def idx_bytes(array):
    """An array of bytes as a file of MNIST."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def small_arrays():
    """Images and labels, by the names of :class:`dipy_vqvae.data.mnist.MNIST`."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 30), ("test", 10)):
        images = rng.integers(0, 256, size=(n, 28, 28))
        arrays[f"{part}_images"] = images.astype(np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 10).astype(np.uint8)
    return arrays


def small_files(originals):
    """Files in the place of the four of MNIST.

    Parameters
    ----------
    originals : dict
        :data:`dipy_vqvae.data.mnist.FILES`.

    Returns
    -------
    contents : dict
        Name to content.
    files : dict
        What stands in for `originals`.
    """
    contents, files = {}, {}
    for key, array in small_arrays().items():
        name = originals[key][0]
        contents[name] = idx_bytes(array)
        files[key] = (name, hashlib.md5(contents[name]).hexdigest())
    return contents, files


def gzipped(contents):
    """The files as mirrors have them."""
    return {f"{name}.gz": gzip.compress(c) for name, c in contents.items()}


def take_the_place_of_mnist():
    """Let this process take the small files and settings for those of MNIST."""
    from dipy_vqvae.data import mnist
    from dipy_vqvae.storage import download

    mnist.FILES = small_files(mnist.FILES)[1]
    download.CONNECT_TIMEOUT = 60  # this machine may be busy
    for name in ("default", "thorough", "quick", "digits"):
        setattr(ExperimentSettings, name, staticmethod(lambda: SMALL))

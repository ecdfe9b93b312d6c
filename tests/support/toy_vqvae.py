"""Small images and quick fits, for the tests of the VQ-VAE."""

import numpy as np
import numpy.testing as npt

from dipy_vqvae import VQVAEModel

SETTINGS = {"n_codes": 8, "code_dim": 4, "n_channels": 8, "n_blocks": 1}
TRAINING = {"n_epochs": 2, "batch_size": 8}


def blobs(n, shape, seed=0):
    """Blurred dots at random places, 0 to 255, uint8 of shape (n, *shape)."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    centres = rng.uniform(0.2, 0.8, (n, len(shape))) * shape
    images = np.stack(
        [np.exp(-sum((g - c) ** 2 for g, c in zip(grid, cs)) / 8) for cs in centres]
    )
    return (255 * images).astype(np.uint8)


def fit_to(images, *, model=None, **training):
    return VQVAEModel(**{**SETTINGS, **(model or {})}).fit(
        images, **{**TRAINING, **training}
    )


def weights(fit):
    return {name: t.numpy().copy() for name, t in fit.net.state_dict().items()}


def assert_same_fit(a, b):
    for name, array in weights(a).items():
        npt.assert_array_equal(array, weights(b)[name], err_msg=name)

"""VQ-VAE and PixelCNN priors for images, behind DIPY's model/fit conventions.

Names are imported on first use, so that ``import dipy_vqvae`` (and with it
every ``dipy_* --help``) does not wait for torch.
"""

from importlib import import_module

from dipy_vqvae._version import __version__

_HOMES = {
    "VQVAEModel": "dipy_vqvae.vqvae.model",
    "VQVAEFit": "dipy_vqvae.vqvae.model",
    "PixelCNNModel": "dipy_vqvae.prior.model",
    "PixelCNNFit": "dipy_vqvae.prior.model",
    "fetch_mnist": "dipy_vqvae.data.mnist",
    "load_mnist": "dipy_vqvae.data.mnist",
    "load_images": "dipy_vqvae.data",
    "open_images": "dipy_vqvae.data",
}

__all__ = [
    "PixelCNNFit",
    "PixelCNNModel",
    "VQVAEFit",
    "VQVAEModel",
    "__version__",
    "fetch_mnist",
    "load_images",
    "load_mnist",
    "open_images",
]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'dipy_vqvae' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__():
    return sorted(__all__)

"""VQ-VAE and PixelCNN priors for images, behind DIPY's model/fit conventions.

Names are imported on first use, so that ``import dipy_vqvae`` (and with it
every ``dipy_* --help``) does not wait for torch.
"""

from importlib import import_module as _import

import lazy_loader

from dipy_vqvae._version import __version__

_lazy, _, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "anomaly": ["AnomalyFit", "AnomalyModel"],
        "compression": ["compress_images", "decompress_images"],
        "data": ["fetch_mnist", "load_images", "load_mnist", "open_images"],
        "models": ["load"],
        "prior": ["PixelCNNFit", "PixelCNNModel"],
        "vqvae": ["VQVAEFit", "VQVAEModel"],
    },
)
__all__ += ["__version__"]


def __getattr__(name):
    if name == "plotting":  # a module, as matplotlib.pyplot: not one of the names
        return _import("dipy_vqvae.plotting")
    try:
        return _lazy(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(
            f"dipy_vqvae.{name} needs PyTorch, which is not installed: pip install torch"
        ) from error


def __dir__():
    return sorted(__all__)

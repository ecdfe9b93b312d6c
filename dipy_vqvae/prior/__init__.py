"""Codes to probabilities: model and fit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["to_layout"],
        "model": ["PixelCNNFit", "PixelCNNModel"],
    },
)

"""Probabilities to new codes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "sampler": ["FullPasses", "Sampler", "sample_codes"],
    },
)

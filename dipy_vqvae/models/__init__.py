"""Models by name or from a file, and what their files say of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "card": ["model_card"],
        "loading": ["ModelPair", "load"],
    },
)

"""Draw new codes from a prior's probabilities."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "draws": ["draw", "uniforms"],
        "incremental": ["kept_numbers", "prepare"],
        "sampler": ["FullPasses", "sample_codes"],
    },
)

"""Several processes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "collectives": ["weight_of_mean"],
        "processes": [
            "gather",
            "is_parallel",
            "map_parts",
            "rank",
            "share_of",
            "world_size",
        ],
    },
)

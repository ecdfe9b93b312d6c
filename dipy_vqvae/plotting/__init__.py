"""One call for each picture of a fit; each returns a figure and its axes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "images": ["plot_code_maps", "plot_reconstructions", "plot_samples"],
        "codes": ["plot_code_atlas"],
    },
)

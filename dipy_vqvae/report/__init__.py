"""Figures and HTML."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "charts": ["draw_curves", "end_labels", "panel"],
        "examples": ["draw_examples"],
        "html": ["Table", "cards", "document", "figure"],
        "mosaic": ["make_mosaic", "save_mosaic", "upright"],
        "page": [
            "ACCENT",
            "INK",
            "MUTED",
            "Page",
            "WARM",
            "points",
            "save_png",
            "strip",
            "styled",
        ],
        "pictures": ["code_colours", "examples_of"],
        "prior": ["prior_report"],
        "samples": ["put_samples"],
        "vqvae": ["vqvae_report"],
        "wording": ["MISSING", "number", "percent", "seconds", "threads"],
    },
)

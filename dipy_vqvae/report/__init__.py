"""Figures and HTML reports."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "anomaly": ["calibration_report", "detection_report"],
        "charts": ["draw_curves", "draw_frequencies", "label_ends", "new_charts"],
        "html": ["Table", "cards", "document", "figure", "put_samples"],
        "mosaic": ["as_pictures", "make_mosaic", "save_mosaic"],
        "pictures": ["code_colours", "examples_of"],
        "prior": ["prior_report"],
        "rows": ["PictureRow", "draw_examples", "draw_rows"],
        "style": ["ACCENT", "INK", "MUTED", "WARM", "save_png", "styled"],
        "view": ["View"],
        "vqvae": ["vqvae_report"],
        "wording": ["MISSING", "number", "percent", "seconds", "threads"],
    },
)

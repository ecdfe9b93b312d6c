"""Figures and HTML reports."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "anomaly": ["calibration_report", "detection_report"],
        "arrays": ["as_files"],
        "atlas": ["code_blocks"],
        "charts": ["draw_curves", "draw_frequencies", "label_ends", "new_charts"],
        "examples": ["choose_examples"],
        "html": ["Table", "cards", "document", "figure", "put_samples"],
        "mosaic": ["as_pictures", "make_mosaic", "save_mosaic"],
        "pictures": [
            "as_picture",
            "code_colours",
            "examples_of",
            "to_colours",
            "windows_of",
        ],
        "prior": ["prior_report"],
        "rows": ["PictureRow", "draw_examples", "draw_rows", "names_of"],
        "style": ["ACCENT", "INK", "MUTED", "WARM", "save_png", "styled"],
        "summary": ["summarise"],
        "view": ["View"],
        "vqvae": ["vqvae_report"],
        "wording": ["MISSING", "number", "percent", "seconds", "threads"],
    },
)

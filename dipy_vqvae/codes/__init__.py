"""Grids of codes: checks, masks, files. Knows no model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "coded": ["CodedImages"],
        "files": [
            "RECORD_ERRORS",
            "from_record",
            "is_coded",
            "load_codes",
            "save_codes",
            "to_record",
        ],
        "grids": [
            "GridList",
            "check_completion",
            "check_grids",
            "check_labels",
            "fix_outside",
            "pad_grids",
        ],
        "sets": ["CodeSet"],
    },
)

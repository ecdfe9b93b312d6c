"""Grids of codes: checks, masks, files. Knows no model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checks": ["check_codes", "check_labels"],
        "completion": ["check_completion", "fix_outside"],
        "files": [
            "codebook_fingerprint",
            "decode_images",
            "encode_images",
            "load_codes",
            "save_codes",
        ],
        "grids": [
            "is_list_of_grids",
            "mark_outside",
            "most_frequent_outside",
            "pad_grids",
            "stack_grids",
            "with_something_inside",
        ],
        "record": ["is_coded"],
        "sets": ["CodeSet"],
    },
)

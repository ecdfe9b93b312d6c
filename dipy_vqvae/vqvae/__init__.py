"""Images to codes and back: model and fit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "batches": ["ImageBatches"],
        "coded_images": ["codebook_fingerprint", "decode_images", "encode_images"],
        "data": ["survey_images"],
        "model": ["VQVAEFit", "VQVAEModel"],
        "pair": ["CODEBOOK_ENTRY", "check_pair"],
        "shifting": ["shifted_codes", "small_shifts"],
        "task": ["VQVAETask"],
    },
)

"""Codes as files that are as small as the prior says."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "container": ["is_packed", "pack", "unpack"],
        "fields": ["FieldReader", "deflate", "inflate", "write_bytes", "write_number"],
        "grid": ["least_bits"],
        "identities": ["IDENTITY_BYTES", "identity"],
        "images": [
            "code_bytes",
            "compress_images",
            "decompress_images",
            "encode_at_rate",
            "pack_images",
            "unpack_images",
        ],
        "masks": ["masks_from_bytes", "masks_to_bytes"],
        "range_coder": ["STATE"],
        "stream": ["CodeReader", "CodeWriter"],
    },
)

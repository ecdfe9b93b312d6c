"""Networks. They know nothing but the collectives of parallel."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "autoencoder": ["DECODERS", "ENCODERS", "subpixel_decoder", "subpixel_encoder"],
        "causal": ["CONV"],
        "gated_pixelcnn": ["GatedPixelCNN"],
        "plain_pixelcnn": ["PlainPixelCNN"],
        "quantiser": [
            "QUANTISERS",
            "CodeCounts",
            "ROWS",
            "nearest_code",
            "rows_at_a_time",
            "to_rows",
        ],
        "vqvae": ["VQVAENet"],
    },
)

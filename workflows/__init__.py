"""The commands, and the workflows that they run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "command.errors": ["is_expected", "one_line"],
        "compress": ["CompressVQVAEFlow"],
        "decode": ["DecodeVQVAEFlow"],
        "decompress": ["DecompressVQVAEFlow"],
        "describe": ["DescribeVQVAEFlow"],
        "detect_anomaly": ["DetectAnomalyFlow"],
        "encode": ["EncodeVQVAEFlow"],
        "fetch": ["FetchMnistFlow"],
        "fit_anomaly": ["FitAnomalyFlow"],
        "fit_pixelcnn": ["FitPixelCNNFlow"],
        "fit_vqvae": ["FitVQVAEFlow"],
        "reading": ["keep_reading", "reading_of"],
        "reconstruct": ["ReconstructVQVAEFlow"],
        "sample": ["SampleVQVAEFlow"],
        "validate": ["ValidateVQVAEFlow"],
    },
)

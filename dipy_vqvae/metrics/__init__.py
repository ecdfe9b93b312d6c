"""Measures of reconstructions, of codebook usage and of sets of images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "codes": ["CodeUsage", "code_usage"],
        "populations": [
            "frechet_distance",
            "mean_pairwise_distance",
            "n_distinct",
            "nearest_neighbour_distance",
        ],
        "reconstruction": [
            "mean_absolute_error",
            "mean_squared_error",
            "psnr",
            "range_inside",
            "reconstruction_errors",
            "sharpness",
            "ssim",
        ],
    },
)

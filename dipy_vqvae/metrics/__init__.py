"""Measures of error, of codes and of populations, from arrays."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "reconstruction": [
            "code_usage",
            "frechet_distance",
            "mean_absolute_error",
            "mean_pairwise_distance",
            "mean_squared_error",
            "n_distinct",
            "nearest_neighbour_distance",
            "psnr",
            "range_inside",
            "reconstruction_errors",
            "ssim",
        ],
    },
)

"""Measure a fitted VQ-VAE on a bounded number of images."""

from dataclasses import dataclass
import math

import numpy as np

from dipy_vqvae.data import layout_of
from dipy_vqvae.metrics import (
    code_usage,
    range_inside,
    reconstruction_errors,
    sharpness,
)
from dipy_vqvae.report.atlas import CodeAtlas
from dipy_vqvae.report.pictures import examples_of, spread
from dipy_vqvae.report.view import View, common_scale
from dipy_vqvae.vqvae import decode_images, encode_images

# Enough for a picture of how good a fit is; more would keep the user waiting.
N_FILES = 64
N_SLICES = 1000
N_VOXELS = 1 << 23
# Voxels to read for the scaling.
N_READ = 1 << 27
N_EXAMPLES = 8


@dataclass(frozen=True, eq=False)
class FitSummary:
    """Errors, codebook usage, rate and examples of a fit.

    Attributes
    ----------
    held_out : bool
        Whether the images are held out from the training.
    n_images, n_files : int
        Number of images and files that were used.
    n_all_images, n_all_files : int
        Number of images and files of the collection.
    errors : dict of float
        Means over the files of mse, mae, psnr and ssim, each as in
        :func:`dipy_vqvae.metrics.reconstruction_errors`, of the sharpness, and of the
        squared error over the variance (relative_mse); None where no file has one.
    contrast_ratio : float
        Standard deviations of files, 90th over 10th percentile.
    usage : CodeUsage
        Of their codes.
    atlas : CodeAtlas
        Where the codes lie.
    codes_per_image, voxels_per_image : float
        Means over the images, both inside the mask.
    bits_per_voxel : float
        Of all channels of a voxel, as stored in the files.
    examples : list of Example
        Images shown in the report.
    """

    held_out: bool
    n_images: int
    n_files: int
    n_all_images: int
    n_all_files: int
    errors: dict
    contrast_ratio: float
    usage: object
    atlas: CodeAtlas
    codes_per_image: float
    voxels_per_image: float
    bits_per_voxel: float
    examples: list


def summarise(fit, collection, *, held_out):
    """Measure a fit on images."""
    files = collection.files
    size = math.prod(files[0].shape)
    chosen = spread(len(files), min(N_FILES, max(1, N_READ // size)))
    n_shown = math.ceil(N_EXAMPLES / len(chosen))
    views = common_scale([View.of_file(files[i], fit.spatial_dims) for i in chosen])
    total = _Totals(fit)
    for view, index in zip(views, chosen):
        part = _read_part(fit, collection, index, n_chosen=len(chosen))
        wanted = n_shown if len(total.examples) < N_EXAMPLES else 0
        total.add(fit, files[index], part, view, n_examples=wanted)
        is_large = size > N_VOXELS // N_EXAMPLES and fit.spatial_dims == 3
        enough = total.n_files >= N_EXAMPLES or is_large
        if total.n_voxels_read >= N_VOXELS and enough:
            break
    histogram = total.atlas.histogram
    names = ("mse", "mae", "psnr", "ssim", "sharpness", "relative_mse")
    return FitSummary(
        held_out=held_out,
        n_images=total.n_images,
        n_files=total.n_files,
        n_all_images=len(collection),
        n_all_files=len(files),
        errors={n: _finite_mean([row[n] for row in total.errors]) for n in names},
        contrast_ratio=_ratio([row["contrast"] for row in total.errors]),
        usage=code_usage(np.repeat(np.arange(fit.n_codes), histogram), fit.n_codes),
        atlas=total.atlas,
        codes_per_image=total.n_codes / total.n_images,
        voxels_per_image=total.n_voxels / total.n_images,
        bits_per_voxel=float(files[0].stored_bits * total.n_channels),
        examples=total.examples[:N_EXAMPLES],
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """Images of one file that the report uses, with their numbers in the file."""

    images: np.ndarray  # (n, *spatial[, C])
    mask: np.ndarray | None  # (n, *spatial)
    numbers: list
    scaling: object
    data_range: float


class _Totals:
    """Sums over the files that were read."""

    def __init__(self, fit):
        self.atlas = CodeAtlas(fit.n_codes, fit.latent_shape)
        self.errors, self.examples = [], []
        self.n_files = self.n_images = self.n_codes = 0
        self.n_voxels = self.n_voxels_read = 0
        self.n_channels = 1

    def add(self, fit, file, part, view, *, n_examples):
        """Encode and decode images of a file, and add their measures."""
        coded = encode_images(
            fit,
            part.images,
            layout=layout_of(file, spatial_dims=fit.spatial_dims),
            mask=part.mask,
            scaling=part.scaling,
        )
        restored = decode_images(fit, coded)
        inside = None if part.mask is None else fit.positions_inside(part.mask)
        self.atlas.add(coded.codes, inside)
        errors = reconstruction_errors(
            part.images,
            restored,
            spatial_dims=fit.spatial_dims,
            mask=part.mask,
            data_range=part.data_range,
        )
        options = {"spatial_dims": fit.spatial_dims, "mask": part.mask}
        errors["sharpness"] = sharpness(part.images, restored, **options)
        errors["contrast"] = contrast = _contrast(part)
        # A file of one value has no variance.
        errors["relative_mse"] = errors["mse"] / contrast**2 if contrast else math.nan
        self.errors.append(errors)
        self.n_files += 1
        self.n_images += len(part.images)
        # Both inside the mask.
        self.n_codes += coded.codes.size if inside is None else int(inside.sum())
        self.n_voxels += errors["n_voxels"]
        spatial = part.images.shape[1 : fit.spatial_dims + 1]
        self.n_voxels_read += len(part.images) * math.prod(spatial)
        self.n_channels = part.images[0].size // math.prod(spatial)
        self.examples += examples_of(
            file,
            part.images,
            restored,
            coded,
            n=n_examples,
            view=view,
            mask=part.mask,
            has_own_unit=fit.config.scaling.method == "volume",
            numbers=part.numbers,
            show_codes=True,
        )


def _read_part(fit, collection, index, *, n_chosen):
    """Read images of a file, spread over those whose mask is not empty."""
    images, mask = collection.read(index), collection.read_mask(index)
    numbers = np.arange(len(images))
    if mask is not None:
        numbers = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))
    # Of all slices of a volume, not only of those that are used.
    is_2d = fit.spatial_dims == 2
    scaling = fit.scaling_of(images, mask=mask) if is_2d else None
    data_range = range_inside(images, mask=mask)
    numbers = numbers[spread(len(numbers), math.ceil(N_SLICES / n_chosen))]
    budget = max(1, N_VOXELS // (n_chosen * math.prod(images.shape[1:])))
    numbers = numbers[spread(len(numbers), budget)]
    mask = None if mask is None else mask[numbers]
    return _Part(images[numbers], mask, numbers.tolist(), scaling, data_range)


def _contrast(part):
    """Return the standard deviation of the values inside the mask."""
    values = part.images if part.mask is None else part.images[part.mask]
    return float(values.std(dtype=np.float64))


def _ratio(contrasts):
    """Return the 90th over the 10th percentile of the contrasts that are not 0."""
    contrasts = [value for value in contrasts if value > 0]
    if not contrasts:
        return 1.0
    low, high = np.percentile(contrasts, (10, 90))
    return float(high / low)


def _finite_mean(values):
    values = np.array(values)
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None

"""What a fit of a VQ-VAE does on some images, in numbers and pictures."""

from dataclasses import dataclass
import math

import numpy as np

from dipy_vqvae.codes import decode_images, encode_images
from dipy_vqvae.data import layout_of
from dipy_vqvae.metrics import reconstruction as metrics
from dipy_vqvae.report.atlas import CodeAtlas
from dipy_vqvae.report.pictures import examples_of, spread

# Enough for a picture of how good a fit is; more would keep the user waiting.
N_FILES = 64
N_SLICES = 1000
N_VOXELS = 1 << 23
# Read, to find the scaling of what is looked at.
N_READ = 1 << 27
N_EXAMPLES = 8


@dataclass(frozen=True, eq=False)
class FitSummary:
    """A fit, looked at through some images.

    Attributes
    ----------
    held_out : bool
        Whether the images are others than those of the training.
    n_images, n_files : int
        How many images of how many files were looked at.
    n_all_images, n_all_files : int
        How many there are.
    errors : dict of float
        Means over the images of mse, mae, psnr and ssim (in the files' units, for
        the range of each file inside its mask).
    usage : CodeUsage
        Of their codes.
    atlas : CodeAtlas
        Where the codes lie.
    codes_per_image, voxels_per_image : float
        Means over the images, inside the mask.
    bits_per_voxel : float
        As stored in the files.
    examples : list of Example
        Some of the images.
    """

    held_out: bool
    n_images: int
    n_files: int
    n_all_images: int
    n_all_files: int
    errors: dict
    usage: object
    atlas: CodeAtlas
    codes_per_image: float
    voxels_per_image: float
    bits_per_voxel: float
    examples: list


def summarise(fit, collection, *, held_out):
    """Look at a fit through images.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    collection : ImageCollection
        Images; a bounded number of them is used, of as many files as possible.
    held_out : bool
        Whether they are others than those of the training.

    Returns
    -------
    summary : FitSummary
    """
    n_files = len(collection.files)
    size = math.prod(collection.files[0].shape)
    chosen = spread(n_files, min(N_FILES, max(1, N_READ // size)))
    per_file = math.ceil(N_SLICES / len(chosen))
    n_shown = math.ceil(N_EXAMPLES / len(chosen))
    atlas = CodeAtlas(fit.n_codes, fit.latent_shape)
    rows, examples, n_codes, n_voxels, n_seen = [], [], 0, 0, 0
    for count, index in enumerate(chosen, start=1):
        file = collection.files[index]
        images, mask = collection.read(index), collection.read_mask(index)
        # Of all slices of a volume, not only of those that are looked at.
        scaling = None
        if fit.spatial_dims == 2:
            scaling = fit.scaling_of(images, mask=mask)
        part = spread(len(images), per_file)
        budget = N_VOXELS // (len(chosen) * math.prod(images.shape[1:]))
        part = [part[i] for i in spread(len(part), max(1, budget))]
        images, mask = images[part], None if mask is None else mask[part]
        coded = encode_images(
            fit,
            images,
            layout=layout_of(file, spatial_dims=fit.spatial_dims),
            mask=mask,
            scaling=scaling,
        )
        restored = decode_images(fit, coded)
        inside = None if mask is None else fit.positions_inside(mask)
        atlas.add(coded.codes, inside)
        rows += image_errors(images, restored, mask, spatial_dims=fit.spatial_dims)
        n_codes += coded.codes.size if inside is None else np.count_nonzero(inside)
        n_voxels += coded.codes.shape[0] * math.prod(coded.image_shape)
        n_seen += len(images)
        wanted = n_shown if len(examples) < N_EXAMPLES else 0
        examples += examples_of(
            file, images, restored, coded, n=wanted, numbers=part, show_codes=True
        )
        is_large = size > N_VOXELS // N_EXAMPLES and fit.spatial_dims == 3
        if n_voxels >= N_VOXELS and (count >= N_EXAMPLES or is_large):
            break
    histogram = atlas.histogram
    names = ("mse", "mae", "psnr", "ssim")
    return FitSummary(
        held_out=held_out,
        n_images=n_seen,
        n_files=count,
        n_all_images=len(collection),
        n_all_files=n_files,
        errors={n: _finite_mean([row[n] for row in rows]) for n in names},
        usage=metrics.code_usage(
            np.repeat(np.arange(fit.n_codes), histogram), fit.n_codes
        ),
        atlas=atlas,
        codes_per_image=n_codes / n_seen,
        voxels_per_image=n_voxels / n_seen,
        bits_per_voxel=8.0 * collection.files[0].dtype.itemsize,
        examples=examples[:N_EXAMPLES],
    )


def image_errors(images, restored, mask, *, spatial_dims):
    """Errors of the images of one file.

    Parameters
    ----------
    images, restored : array, shape (n, *spatial[, C])
        Images of a file and their reconstructions.
    mask : array, shape (n, *spatial), bool, or None
        What counts.
    spatial_dims : int
        Number of spatial axes.

    Returns
    -------
    rows : list of dict
        For each image mse, mae, psnr and ssim; NaN where there is none. The range
        for the last two is that of all images together, inside the mask.
    """
    values = images if mask is None else images[mask]
    data_range = float(values.max()) - float(values.min()) if values.size else 0.0
    columns = {
        "mse": metrics.mean_squared_error(images, restored, mask=mask),
        "mae": metrics.mean_absolute_error(images, restored, mask=mask),
    }
    columns["psnr"] = columns["ssim"] = np.full(len(images), np.nan)
    if data_range > 0:
        options = {"data_range": data_range, "mask": mask}
        columns["psnr"] = metrics.psnr(images, restored, **options)
        columns["ssim"] = metrics.ssim(
            images, restored, spatial_dims=spatial_dims, **options
        )
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


def _finite_mean(values):
    values = np.array(values)
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None

"""Maps of what is unlike the training images, before any calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from dipy_vqvae.anomaly.place import coordinates
from dipy_vqvae.anomaly.restoration import Restored, restore, unlikely_codes
from dipy_vqvae.settings import SCORE

#: Names of the maps.
MAPS = SCORE.parts
# Slices are usually thicker than their pixels are wide: less smoothing across them.
ACROSS_SLICES = 1 / 3
# Beyond, in robust standard deviations, an intensity says no more.
LARGEST_INTENSITY = 5.0
# Of the texture, in robust standard deviations: variance of what has none, and the
# least deviation of the Gaussian within which intensities vary, in voxels.
LEAST_VARIANCE = 1e-4
LEAST_WINDOW = 1.5
# Makes the median absolute deviation that of a normal distribution.
_OF_NORMAL = 1.4826


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of a subject's images.

    Attributes
    ----------
    z : array, shape (N,), float64
        Surprisal of each grid of codes, the mean of both directions if there are two.
    values : dict of array, shape (N, *spatial), float32
        By the names in `MAPS`: intensity, in robust standard deviations from the median of
        the image; its texture, the logarithm of the standard deviation of the intensity
        nearby; image less restored image, in units of the scaling; surprisal of the codes,
        in standard deviations. All of them are smoothed.
    inside : array, shape (N, *spatial), bool
        Voxels that count.
    places : array, shape (3, N, *spatial), float64
        Where they are.
    restore : callable
        Returns a `Restored`, in the units of the images; the draws are made once.
    """

    z: np.ndarray
    values: dict
    inside: np.ndarray
    places: np.ndarray
    restore: Callable[[], Restored]


@dataclass(frozen=True)
class MapMaker:
    """Make the maps of a VQ-VAE and a prior.

    `smoothing` is the standard deviation of the Gaussian, in voxels.
    """

    vqvae: object
    prior: object
    n_restorations: int
    smoothing: float
    random_seed: int

    def maps(self, part, names=MAPS):
        """Make the maps with these names of a subject's images, see `Part`.

        Images with nothing inside have zeros, and NaN as z. Codes are drawn anew only for
        the residual, or where the caller asks for the restored images.
        """
        d = self.vqvae.spatial_dims
        inside = np.ones(part.images.shape[: 1 + d], bool)
        if part.mask is not None:
            inside = np.broadcast_to(part.mask, inside.shape)
        some = inside.reshape(len(inside), -1).any(1)
        coded = self._coded(part, inside, some)
        restore = cache(lambda: self._restored(part, coded, some))
        z = np.full(len(inside), np.nan)
        z[some] = np.mean([s.z for s in coded.surprisals], axis=0)
        values = {}
        if "residual" in names:
            scales = np.reshape([s.scale for s in coded.scalings], (-1, *[1] * (d + 1)))
            residual = np.zeros(inside.shape, np.float32)
            difference = part.images[some] - restore().mean
            residual[some] = (difference / scales).mean(-1)
            values["residual"] = smooth(residual, inside, self.smoothing)
        if "surprisal" in names:
            surprisal = np.zeros(inside.shape, np.float32)
            surprisal[some] = self._surprisal_map(coded, inside.shape[1:])
            values["surprisal"] = smooth(surprisal, inside, self.smoothing)
        intensity = robust_z(part.images, inside)
        if "intensity" in names:
            values["intensity"] = smooth(intensity, inside, self.smoothing)
        if "texture" in names:
            values["texture"] = texture(intensity, inside, self.smoothing)
        return Maps(
            z=z,
            values=values,
            inside=inside,
            places=coordinates(inside),
            restore=lambda: _all_rows(restore(), part.images, some),
        )

    def _surprisal_map(self, coded, shape):
        """Interpolate the surprisal of codes to voxels."""
        return _to_voxels(
            np.mean([s.map for s in coded.surprisals], axis=0),
            coded.surprisals[0].inside,
            self.vqvae.config.downsampling,
            shape,
        )

    def _coded(self, part, inside, some):
        """Encode the images that have something inside, and rate their codes."""
        images, mask = part.images[some], part.mask
        mask = None if mask is None else inside[some]
        scaling = self.vqvae.scaling_of(part.images, mask=part.mask)
        if isinstance(scaling, list):
            scaling = [s for s, chosen in zip(scaling, some) if chosen]
        codes = self.vqvae.encode(images, mask=mask, scaling=scaling)
        given = {
            "labels": None if part.labels is None else part.labels[some],
            "covariates": part.covariates
            and {name: column[some] for name, column in part.covariates.items()},
            "mask": None if mask is None else self.vqvae.positions_inside(mask),
        }
        ways = (False, True) if self.prior.config.both_directions else (False,)
        return _Coded(
            codes=codes,
            scaling=scaling,
            given=given,
            surprisals=[self.prior.surprisal(codes, reverse=w, **given) for w in ways],
        )

    def _restored(self, part, coded, some):
        """Draw unlikely codes anew, and decode them."""
        images = part.images[some]
        shape = images.shape[1 : 1 + self.vqvae.spatial_dims]

        def decode(drawn):
            decoded = self.vqvae.decode(drawn, image_shape=shape, scaling=coded.scaling)
            return decoded.reshape(images.shape)

        return restore(
            self.prior,
            coded.codes,
            unlikely_codes(coded.surprisals),
            decode=decode,
            n=self.n_restorations,
            random_seed=self.random_seed,
            **coded.given,
        )


@dataclass(frozen=True, eq=False)
class _Coded:
    """Codes of images, and how surprising they are."""

    codes: np.ndarray
    scaling: object
    given: dict
    surprisals: list

    @property
    def scalings(self):
        """Scaling of all images, or one for each."""
        return self.scaling if isinstance(self.scaling, list) else [self.scaling]


def _all_rows(restored, images, some):
    """Return restored images with zeros for those that have nothing inside."""
    if some.all():
        return restored
    mean, deviation = np.zeros((2, *images.shape), np.float32)
    mean[some], deviation[some] = restored.mean, restored.deviation
    redrawn = np.zeros((len(images), *restored.redrawn.shape[1:]), bool)
    redrawn[some] = restored.redrawn
    return Restored(mean, deviation, redrawn)


def robust_z(images, inside):
    """Return intensities in robust standard deviations from the median of each image.

    `images` are ``(N, *spatial, C)``; the mean over channels is returned. Zero outside.
    """
    z = np.zeros(inside.shape, np.float32)
    for image, chosen, of_image in zip(images, inside, z):
        if not chosen.any():
            continue
        values = image[chosen].astype(np.float64)  # (V, C)
        centred = values - np.median(values, axis=0)
        deviation = _OF_NORMAL * np.median(np.abs(centred), axis=0)
        # More than half of the values are the same: then by the usual deviation.
        deviation = np.where(deviation > 0, deviation, centred.std(0))
        scaled = centred / np.where(deviation > 0, deviation, 1)
        limit = LARGEST_INTENSITY
        of_image[chosen] = np.clip(scaled, -limit, limit).mean(-1)
    return z


def texture(intensity, inside, sigma):
    """Return the logarithm of the standard deviation within a Gaussian, ``(N, *spatial)``.

    Tissue has structure; lesions, blur and what is missing often have less of it.
    """
    sigma = max(sigma, LEAST_WINDOW)
    mean, squares = (smooth(x, inside, sigma) for x in (intensity, intensity**2))
    variance = np.maximum(squares - mean**2, LEAST_VARIANCE)
    return np.where(inside, 0.5 * np.log(variance), 0).astype(np.float32)


def smooth(values, inside, sigma):
    """Smooth maps ``(N, *spatial)`` by a Gaussian, of the values inside alone."""
    if values.ndim == 3:
        across = sigma * ACROSS_SLICES if len(values) > 1 else 0
        sigma = (across, sigma, sigma)
    else:
        sigma = (0, sigma, sigma, sigma)
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    chosen = np.where(inside, values, 0).astype(np.float32)
    total = ndimage.gaussian_filter(chosen, sigma)
    return np.where(inside, total / np.maximum(weight, 1e-6), 0).astype(np.float32)


def _to_voxels(values, inside, factors, shape):
    """Interpolate values of codes to the voxels, from the codes inside alone."""
    options = {"order": 1, "mode": "nearest", "grid_mode": True}
    zoom = (1, *factors)
    weight = ndimage.zoom(inside.astype(np.float32), zoom, **options)
    chosen = np.where(inside, values, 0).astype(np.float32)
    total = ndimage.zoom(chosen, zoom, **options)
    return (total / np.maximum(weight, 1e-3))[(slice(None), *map(slice, shape))]

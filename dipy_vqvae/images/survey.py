"""One look at all images before a training: which ones, what range, what scaling."""

from dataclasses import dataclass
import hashlib
import logging
from math import prod

import numpy as np

from dipy_vqvae.images.checks import constant_error
from dipy_vqvae.images.intensity import IntensityScaling, check_method, scaling_of
from dipy_vqvae.images.moments import Moments, ValueSample

logger = logging.getLogger("dipy_vqvae")

# Values of images that are looked at together.
_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class Survey:
    """What a look at all images tells.

    Attributes
    ----------
    subject, row : ndarray of shape (N,), int64
        The images to use: all that have something inside their mask, without empty
        ones where those are to be skipped.
    scaling : IntensityScaling
        That of the data set; with the method "volume" only the method counts.
    scalings : dict of IntensityScaling, or None
        With the method "volume": of (subject, 0) for slices, (subject, row) for
        volumes.
    low, high : float
        Smallest and largest value inside; scaled ones with the method "volume".
    variance : float
        Variance of the scaled values inside.
    digest : str
        Changes with types, shapes, values and masks.
    """

    subject: np.ndarray
    row: np.ndarray
    scaling: IntensityScaling
    scalings: dict | None
    low: float
    high: float
    variance: float
    digest: str


def survey(subjects, *, method, spatial_dims, must_vary=True):
    """Look at all images once, a few at a time.

    Parameters
    ----------
    subjects : ArraySubjects or ImageCollection
        The images.
    method : {"range", "percentile", "volume", "none"}
        The scaling to find, see `fit_scaling`. "volume" finds one for each volume:
        slices of one subject have one together, volumes have one each.
    spatial_dims : {2, 3}
        Slices or volumes.
    must_vary : bool, optional
        Whether subjects with one value only are refused; with the method "volume"
        they always are.

    Returns
    -------
    survey : Survey
        Which images there are, and what they are like.

    Raises
    ------
    OSError
        If a file is gone or cannot be read.
    ValueError
        If images cannot be used: NaN, nothing inside any mask, all values the same
        in the data set, in a file, or in an entry of a list.
    """
    check_method(method)
    look = _Look(subjects, method, by_image=spatial_dims == 3, must_vary=must_vary)
    for subject in range(len(subjects.counts)):
        look.at(subject)
    return look.result()


def volume_scaling(images, mask, name):
    """The scaling of one volume by itself.

    Parameters
    ----------
    images : ndarray of shape (n, *spatial, C)
        The volume, or all of its slices.
    mask : ndarray of shape (n, *spatial), bool, or None
        Only what lies inside counts.
    name : str
        What the message calls it.

    Returns
    -------
    scaling : IntensityScaling
        Of the method "volume".

    Raises
    ------
    ValueError
        If nothing is inside, or all values there are the same.
    """
    moments, sample = Moments(), ValueSample()
    values = images if mask is None else images[mask]
    if not values.size:
        raise ValueError(f"{name}: nothing of it is inside its mask")
    moments.add(values)
    sample.add(values)
    if moments.low == moments.high:
        raise _constant(name, moments.low)
    return scaling_of(moments, sample, method="volume")


class _Look:
    """What has been seen so far, volume by volume."""

    def __init__(self, subjects, method, *, by_image, must_vary):
        self.subjects = subjects
        self.method = method
        self.by_image = by_image
        self.must_vary = must_vary
        self.total = Moments()
        self.sample = ValueSample()
        self.scalings = {} if method == "volume" else None
        self.kept = []
        self.digest = hashlib.sha256()

    def at(self, subject):
        """Look at the images of a subject."""
        subjects = self.subjects
        n_images = subjects.counts[subject]
        n_values = prod(subjects.shapes[subject]) * subjects.n_channels
        size = 1 if self.by_image else max(1, _BLOCK // n_values)
        volume = _Volume()
        for start in range(0, n_images, size):
            rows = np.arange(start, min(n_images, start + size))
            part = slice(start, start + size)
            images = subjects.rows(subject, part)
            mask = subjects.mask_rows(subject, part)
            self._hash(images, mask)
            used = _used(images, mask, subjects.skip_empty)
            if used.any():
                self.kept.append((subject, rows[used]))
                if mask is not None:
                    values = images[mask & used.reshape(-1, *[1] * (mask.ndim - 1))]
                else:
                    values = images if used.all() else images[used]
                volume.add(values)
                if self.method == "percentile":
                    self.sample.add(values)
                elif self.method == "volume":
                    volume.sample.add(values)
            if self.by_image:
                self._end(volume, subject, start)
                volume = _Volume()
        if not self.by_image:
            self._end(volume, subject, 0)

    def _end(self, volume, subject, row):
        """Take account of a volume that has been seen completely."""
        name = self.subjects.name(subject)
        if self.by_image and self.subjects.counts[subject] > 1:
            name = f"{name}, volume {row}"
        if not volume.n:
            if self.subjects.skip_empty:
                logger.warning("%s: left out, all of it is empty (constant)", name)
            return
        # Of an array nobody knows what is a volume: parts may well be constant.
        may_be_constant = self.subjects.is_array or not self.must_vary
        is_scaled = self.method == "volume"
        if volume.low == volume.high and (is_scaled or not may_be_constant):
            raise _constant(name, volume.low)
        if self.scalings is None:
            self.total.merge(volume)
            return
        scaling = scaling_of(volume, volume.sample, method="volume")
        self.scalings[subject, row] = scaling
        self.total.merge(volume.scaled(scaling))

    def _hash(self, images, mask):
        if self.subjects.is_array:
            return
        self.digest.update(f"{images.dtype.str} {images.shape}".encode())
        for array in (images, mask):
            if array is not None:
                self.digest.update(np.ascontiguousarray(array).data)

    def result(self):
        """The survey."""
        if not self.kept:
            raise ValueError(
                f"{self.subjects.name(0)}: there is nothing to learn from, all images "
                "are empty (constant) or outside of their masks"
            )
        scaling = IntensityScaling(method="volume")
        variance = self.total.variance
        if self.scalings is None:
            if self.must_vary and self.total.low == self.total.high:
                name = self.subjects.name(0)
                if self.subjects.has_masks:
                    name += " inside the mask"
                raise constant_error(np.array(self.total.low), name)
            scaling = scaling_of(self.total, self.sample, method=self.method)
            variance /= scaling.scale**2
        counts = [len(rows) for _, rows in self.kept]
        return Survey(
            subject=np.repeat([subject for subject, _ in self.kept], counts),
            row=np.concatenate([rows for _, rows in self.kept]),
            scaling=scaling,
            scalings=self.scalings,
            low=self.total.low,
            high=self.total.high,
            variance=float(variance),
            digest=self.digest.hexdigest()[:16],
        )


class _Volume(Moments):
    """What is known of one volume."""

    def __init__(self):
        super().__init__()
        self.sample = ValueSample()


def _used(images, mask, skip_empty):
    """Which images have something inside, and (if asked for) are not empty."""
    used = np.ones(len(images), bool)
    if mask is not None:
        used = mask.reshape(len(mask), -1).any(axis=1)
    if skip_empty:
        used &= varying(images)
    return used


def varying(images):
    """Which images are not constant over space, in some channel.

    Parameters
    ----------
    images : ndarray of shape (n, *spatial, C)
        The images.

    Returns
    -------
    varies : ndarray of shape (n,), bool
        False for empty ones.
    """
    space = tuple(range(1, images.ndim - 1))
    return (images.min(axis=space) != images.max(axis=space)).any(axis=1)


def _constant(name, value):
    return ValueError(
        f"{name}: is constant (all {value}): there is nothing to learn, leave it out"
    )

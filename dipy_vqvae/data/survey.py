"""One look at all images before a training: which ones, what range, what scaling."""

from dataclasses import dataclass
import hashlib
import logging
from math import prod

import numpy as np

from dipy_vqvae.data.checks import constant_error, is_varying
from dipy_vqvae.data.intensity import IntensityScaling, check_method, scaling_of
from dipy_vqvae.data.moments import LARGEST_SAMPLE, Moments, ValueSample

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


def survey_subjects(
    subjects, *, method, spatial_dims, must_vary=True, map_subjects=None
):
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
    map_subjects : callable, optional
        ``map_subjects(look, n)`` gives what ``look(subject)`` returns for each of n
        subjects, in order. Several processes share the work with it.

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
    n_subjects = len(subjects.counts)
    n_values = subjects.n_channels * sum(
        n * prod(shape) for n, shape in zip(subjects.counts, subjects.shapes)
    )
    how = {
        "by_image": spatial_dims == 3,
        "must_vary": must_vary,
        "stride": _stride(n_values),
    }

    def look(subject):
        return _Look(subjects, subject, method, **how).result()

    if map_subjects is None:
        seen = [look(subject) for subject in range(n_subjects)]
    else:
        seen = map_subjects(look, n_subjects)
    return _together(subjects, seen, method, must_vary=must_vary)


def _stride(n_values):
    """Return a power of 2: every so many values are enough for percentiles."""
    stride = 1
    while -(-n_values // stride) > LARGEST_SAMPLE:
        stride *= 2
    return stride


def volume_scaling(images, mask, name):
    """Find the scaling of one volume by itself.

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


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a look at one subject tells.

    Attributes
    ----------
    used : ndarray of int64
        Numbers of the images to use.
    volumes : list of tuple
        Number, moments (of the scaled values, where it is scaled by itself), and
        scaling or None of each volume.
    values : ndarray of shape (n,)
        Some of the values, for percentiles.
    digest : bytes
        Of types, shapes, values and masks; empty for arrays.
    empty : list of str
        Names of what is left out.
    """

    used: np.ndarray
    volumes: list
    values: np.ndarray
    digest: bytes
    empty: list


class _Look:
    """What has been seen so far of a subject, volume by volume."""

    def __init__(self, subjects, subject, method, *, by_image, must_vary, stride):
        self.subjects = subjects
        self.subject = subject
        self.method = method
        self.by_image = by_image
        self.must_vary = must_vary
        self.sample = ValueSample(stride=stride)
        self.used = []
        self.volumes = []
        self.empty = []
        self.digest = hashlib.sha256()

    def result(self):
        """Look at the images, a few at a time."""
        subjects, subject = self.subjects, self.subject
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
                self.used.append(rows[used])
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
                self._end(volume, start)
                volume = _Volume()
        if not self.by_image:
            self._end(volume, 0)
        return _Seen(
            used=np.concatenate(self.used) if self.used else np.zeros(0, np.int64),
            volumes=self.volumes,
            values=self.sample.values() if self.sample.n_seen else np.zeros(0),
            digest=b"" if subjects.is_array else self.digest.digest(),
            empty=self.empty,
        )

    def _end(self, volume, row):
        """Take account of a volume that has been seen completely."""
        name = self.subjects.name(self.subject)
        if self.by_image and self.subjects.counts[self.subject] > 1:
            name = f"{name}, volume {row}"
        if not volume.n:
            self.empty.append(name)
            return
        # Of an array nobody knows what is a volume: parts may well be constant.
        may_be_constant = self.subjects.is_array or not self.must_vary
        is_scaled = self.method == "volume"
        if volume.low == volume.high and (is_scaled or not may_be_constant):
            raise _constant(name, volume.low)
        scaling = None
        if is_scaled:
            scaling = scaling_of(volume, volume.sample, method="volume")
        moments = Moments() if scaling is None else volume.scaled(scaling)
        if scaling is None:
            moments.merge(volume)
        self.volumes.append((row, moments, scaling))

    def _hash(self, images, mask):
        if self.subjects.is_array:
            return
        self.digest.update(f"{images.dtype.str} {images.shape}".encode())
        for array in (images, mask):
            if array is not None:
                self.digest.update(np.ascontiguousarray(array).data)


def _together(subjects, seen, method, *, must_vary):
    """Combine the statistics of all subjects."""
    for name in [name for one in seen for name in one.empty]:
        if subjects.skip_empty:
            logger.warning("%s: left out, all of it is empty (constant)", name)
    counts = [len(one.used) for one in seen]
    if not sum(counts):
        raise ValueError(
            f"{subjects.name(0)}: there is nothing to learn from, all images "
            "are empty (constant) or outside of their masks"
        )
    total = Moments()
    scalings = {} if method == "volume" else None
    digest = hashlib.sha256()
    for subject, one in enumerate(seen):
        digest.update(one.digest)
        for row, moments, scaling in one.volumes:
            total.merge(moments)
            if scalings is not None:
                scalings[subject, row] = scaling
    scaling = IntensityScaling(method="volume")
    variance = total.variance
    if scalings is None:
        if must_vary and total.low == total.high:
            name = subjects.name(0)
            if subjects.has_masks:
                name += " inside the mask"
            raise constant_error(np.array(total.low), name)
        sample = ValueSample()
        for one in seen:
            if len(one.values):
                sample.add(one.values)
        scaling = scaling_of(total, sample, method=method)
        variance /= scaling.scale**2
    return Survey(
        subject=np.repeat(np.arange(len(seen)), counts),
        row=np.concatenate([one.used for one in seen]),
        scaling=scaling,
        scalings=scalings,
        low=total.low,
        high=total.high,
        variance=float(variance),
        digest=digest.hexdigest()[:16],
    )


class _Volume(Moments):
    """What is known of one volume."""

    def __init__(self):
        super().__init__()
        self.sample = ValueSample()


def _used(images, mask, skip_empty):
    """Return which images have voxels inside and, if asked, vary: (n,) bool."""
    used = np.ones(len(images), bool)
    if mask is not None:
        used = mask.reshape(len(mask), -1).any(axis=1)
    if skip_empty:
        used &= is_varying(images, images.ndim - 2)
    return used


def _constant(name, value):
    return ValueError(
        f"{name}: is constant (all {value}): there is nothing to learn, leave it out"
    )

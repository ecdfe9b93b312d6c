"""Survey images before a training: which to use, their range, their scaling."""

from dataclasses import dataclass
import hashlib
import logging
from math import prod

import numpy as np

from dipy_vqvae.data.checks import constant_error, is_varying
from dipy_vqvae.data.contrast import check_contrast, check_outlier, check_resolution
from dipy_vqvae.data.intensity import IntensityScaling, check_method, scaling_of
from dipy_vqvae.data.moments import LARGEST_SAMPLE, Moments, ValueSample

logger = logging.getLogger("dipy_vqvae")

# From this factor on, contrasts of subjects differ: they have no common unit.
DIFFERENT_CONTRASTS = 2.0
# Fewer slices in a file are no volume.
FEWEST_SLICES = 8

# Values that are processed together.
_BLOCK = 1 << 22
# Values from which percentiles are estimated, for warnings.
_SMALL_SAMPLE = 1 << 16


@dataclass(frozen=True, eq=False)
class Survey:
    """Hold the results of one pass over all images.

    Attributes
    ----------
    subject, row : ndarray of shape (N,), int64
        The images to use: those with values inside their mask, and without constant
        images if these are skipped.
    scaling : IntensityScaling
        Scaling of the data set; only its method counts with "volume".
    scalings : dict of IntensityScaling, or None
        Scalings by (subject, 0) for slices or (subject, row) for volumes, with the
        method "volume".
    low, high : float
        Smallest and largest value inside; scaled with the method "volume".
    variance : float
        Variance of the scaled values inside.
    digest : str
        Hash of types, shapes, values and masks.
    digests : list of str
        Hashes of the subjects; empty for an array, whose subjects are unknown.
    remark : str or None
        What is odd about the values, which a failing training may be due to.
    """

    subject: np.ndarray
    row: np.ndarray
    scaling: IntensityScaling
    scalings: dict | None
    low: float
    high: float
    variance: float
    digest: str
    digests: list
    remark: str | None = None


def survey_subjects(
    subjects,
    *,
    method,
    spatial_dims,
    must_vary=True,
    map_subjects=None,
    name="images",
):
    """Compute range, variance, scaling and hash of images.

    `method` is that of the scaling, or None for the usual one: "range", or "volume" if the
    contrasts of subjects differ, which takes a second pass. `name` is for messages.
    """
    if method is not None:
        check_method(method)
    n_subjects = len(subjects.counts)
    n_values = subjects.n_channels * sum(
        n * prod(shape) for n, shape in zip(subjects.counts, subjects.shapes)
    )
    options = {
        "by_image": spatial_dims == 3,
        "must_vary": must_vary,
        "stride": _stride(n_values),
        # Odd: a power of 2 would take a few columns of most images.
        "small_stride": n_values // _SMALL_SAMPLE | 1,
    }

    def survey_all(method):
        def survey(subject):
            return _SubjectSurvey(subjects, subject, method, **options).result()

        if map_subjects is None:
            return [survey(subject) for subject in range(n_subjects)]
        return map_subjects(survey, n_subjects)

    if not subjects.is_array:
        logger.info("Reading all %s once, for their range and variance", name)
    results = survey_all(method or "range")
    if method is None:
        method = "range"
        ratio = _ratio_of_contrasts(subjects, results, spatial_dims)
        if ratio > DIFFERENT_CONTRASTS:
            method = "volume"
            logger.info(
                "The contrasts of the subjects differ %.3g-fold: each volume is scaled "
                "by its own percentiles (the scaling volume)",
                ratio,
            )
            results = survey_all(method)
        elif not subjects.is_array:
            logger.info(
                "One scaling for all images, by their range (the scaling range)"
            )
    n_used, n_images = sum(len(r.used) for r in results), sum(subjects.counts)
    if 0 < n_used < n_images:
        logger.info(
            "%d of %d %s are left out: outside of their masks, or empty",
            n_images - n_used,
            n_images,
            name,
        )
    return _merge(subjects, results, method, must_vary=must_vary)


def _ratio_of_contrasts(subjects, results, spatial_dims):
    """Return by what factor the standard deviations of subjects differ, mostly.

    It is 1 for files of few slices, which cannot be scaled by their own percentiles.
    """
    volumes = [[moments for _, moments, _ in r.volumes] for r in results if r.volumes]
    if spatial_dims == 2 and np.median(subjects.counts) < FEWEST_SLICES:
        return 1.0
    deviations = []
    for part in volumes:
        total = Moments()
        for moments in part:
            total.merge(moments)
        deviations.append(total.variance**0.5)
    few, many = np.percentile(deviations, (10, 90))
    return many / few if few > 0 else 1.0


def _stride(n_values):
    """Return the power of 2 that thins values to what percentiles need."""
    stride = 1
    while -(-n_values // stride) > LARGEST_SAMPLE:
        stride *= 2
    return stride


def volume_scaling(images, mask, name):
    """Find the scaling of one volume by itself."""
    moments, sample = Moments(), ValueSample()
    values = images if mask is None else images[mask]
    if not values.size:
        raise ValueError(f"{name}: no voxel is inside its mask")
    moments.add(values)
    sample.add(values)
    if moments.low == moments.high:
        raise _constant(name, moments.low)
    check_resolution(name, moments.low, moments.high)
    return scaling_of(moments, sample, method="volume")


@dataclass(frozen=True, eq=False)
class _Result:
    """Hold the results for one subject."""

    used: np.ndarray  # indices of the images to use
    volumes: list  # (row, moments, scaling or None) of each volume
    values: np.ndarray  # (n,), sample for percentiles
    ranges: list  # (name, low, high, some values) of each volume, for `contrast`
    digest: bytes  # empty for arrays
    empty: list  # names of volumes that are left out


class _SubjectSurvey:
    """Survey one subject, volume by volume."""

    def __init__(
        self,
        subjects,
        subject,
        method,
        *,
        by_image,
        must_vary,
        stride,
        small_stride,
    ):
        self.subjects = subjects
        self.subject = subject
        self.method = method
        self.by_image = by_image
        self.must_vary = must_vary
        self.sample = ValueSample(stride=stride)
        self.small_stride = small_stride
        self.ranges = []
        self.used = []
        self.volumes = []
        self.empty = []
        self.hash = _SubjectHash(subjects)

    def result(self):
        """Pass over the images, a few at a time."""
        subjects, subject = self.subjects, self.subject
        n_images = subjects.counts[subject]
        size = 1 if self.by_image else _n_at_a_time(subjects, subject)
        volume = _Volume(self.small_stride)
        for start in range(0, n_images, size):
            rows = np.arange(start, min(n_images, start + size))
            part = slice(start, start + size)
            images = subjects.rows(subject, part)
            mask = subjects.mask_rows(subject, part)
            self.hash.update(images, mask)
            used = _used(images, mask, subjects.skip_empty)
            if used.any():
                self.used.append(rows[used])
                if mask is not None:
                    values = images[mask & used.reshape(-1, *[1] * (mask.ndim - 1))]
                else:
                    values = images if used.all() else images[used]
                volume.add(values)
                volume.few.add(values)
                if self.method == "percentile":
                    self.sample.add(values)
                elif self.method == "volume":
                    volume.sample.add(values)
            if self.by_image:
                self._end(volume, start)
                volume = _Volume(self.small_stride)
        if not self.by_image:
            self._end(volume, 0)
        return _Result(
            used=np.concatenate(self.used) if self.used else np.zeros(0, np.int64),
            volumes=self.volumes,
            values=self.sample.values() if self.sample.n_seen else np.zeros(0),
            ranges=self.ranges,
            digest=self.hash.digest(),
            empty=self.empty,
        )

    def _end(self, volume, row):
        """Record a volume that is complete."""
        name = self.subjects.name(self.subject)
        if self.by_image and self.subjects.counts[self.subject] > 1:
            name = f"{name}, volume {row}"
        if not volume.n:
            self.empty.append(name)
            return
        self.ranges.append((name, volume.low, volume.high, volume.few.values()))
        # The volumes of an array are unknown: parts of it may be constant.
        may_be_constant = self.subjects.is_array or not self.must_vary
        is_scaled = self.method == "volume"
        if volume.low == volume.high and (is_scaled or not may_be_constant):
            raise _constant(name, volume.low)
        scaling = None
        if is_scaled:
            check_resolution(name, volume.low, volume.high)
            scaling = scaling_of(volume, volume.sample, method="volume")
        moments = Moments() if scaling is None else volume.scaled(scaling)
        if scaling is None:
            moments.merge(volume)
        else:
            check_outlier(moments, self.ranges[-1:])
        self.volumes.append((row, moments, scaling))


class _SubjectHash:
    """Hash the images of a subject, image by image; an array is hashed as a whole."""

    def __init__(self, subjects):
        self.is_array = subjects.is_array
        self.hash = hashlib.sha256()

    def update(self, images, mask):
        """Add images and their masks."""
        if self.is_array:
            return
        for i, image in enumerate(images):
            self.hash.update(f"{image.dtype.str} {image.shape}".encode())
            for array in (image, None if mask is None else mask[i]):
                if array is not None:
                    self.hash.update(np.ascontiguousarray(array).data)

    def digest(self):
        """Return the hash, nothing for an array."""
        return b"" if self.is_array else self.hash.digest()


def subject_digests(subjects):
    """Return the hashes of subjects as `Survey` has them, without the rest of it."""
    digests = []
    for subject, n_images in enumerate(subjects.counts):
        of_subject = _SubjectHash(subjects)
        size = _n_at_a_time(subjects, subject)
        for start in range(0, n_images, size):
            part = slice(start, start + size)
            of_subject.update(
                subjects.rows(subject, part), subjects.mask_rows(subject, part)
            )
        digests.append(of_subject.digest().hex()[:16])
    return [digest for digest in digests if digest]


def _n_at_a_time(subjects, subject):
    """Return how many images of a subject to read together."""
    return max(1, _BLOCK // (prod(subjects.shapes[subject]) * subjects.n_channels))


def _merge(subjects, results, method, *, must_vary):
    """Merge the results of all subjects."""
    for name in [name for result in results for name in result.empty]:
        if subjects.skip_empty:
            logger.warning("%s: left out, all of it is empty (constant)", name)
    counts = [len(result.used) for result in results]
    if not sum(counts):
        raise ValueError(
            f"{subjects.name(0)}: there is nothing to learn from, all images "
            "are empty (constant) or outside of their masks"
        )
    ranges = [item for result in results for item in result.ranges]
    # With a scaling of its own, a volume has nothing to do with the others.
    groups = [[item] for item in ranges] if method == "volume" else [ranges]
    remark = next(filter(None, [check_contrast(group) for group in groups]), None)
    total = Moments()
    scalings = {} if method == "volume" else None
    digest = hashlib.sha256()
    for subject, result in enumerate(results):
        digest.update(result.digest)
        for row, moments, scaling in result.volumes:
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
        for result in results:
            if len(result.values):
                sample.add(result.values)
        scaling = scaling_of(total, sample, method=method)
        variance /= scaling.scale**2
    if scalings is None:
        check_outlier(total.scaled(scaling), ranges)
    return Survey(
        subject=np.repeat(np.arange(len(results)), counts),
        row=np.concatenate([result.used for result in results]),
        scaling=scaling,
        scalings=scalings,
        low=total.low,
        high=total.high,
        variance=float(variance),
        digest=digest.hexdigest()[:16],
        digests=[result.digest.hex()[:16] for result in results if result.digest],
        remark=remark,
    )


class _Volume(Moments):
    """Collect moments and a sample of one volume."""

    def __init__(self, small_stride):
        super().__init__()
        self.sample = ValueSample()
        self.few = ValueSample(stride=small_stride)


def _used(images, mask, skip_empty):
    """Tell which images have values inside, and are not constant if these are skipped."""
    used = np.ones(len(images), bool)
    if mask is not None:
        used = mask.reshape(len(mask), -1).any(axis=1)
    if skip_empty:
        used &= is_varying(images, images.ndim - 2, mask)
    return used


def _constant(name, value):
    return ValueError(
        f"{name}: is constant (all {value}): there is nothing to learn, leave it out"
    )

"""Scale intensities for training, and undo it."""

from dataclasses import dataclass
import logging
import math

import numpy as np

from dipy_vqvae.data.checks import check_mask, constant_error
from dipy_vqvae.data.moments import Moments, ValueSample

logger = logging.getLogger("dipy_vqvae")

# With "volume", each volume has a scaling of its own.
METHODS = ("range", "percentile", "volume", "none")
PERCENTILES = (0.5, 99.5)
# Values held as float64 at a time.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class IntensityScaling:
    """Scale intensities by ``(x - offset) / scale``, and back.

    Parameters
    ----------
    offset : float, optional
        Intensity that becomes 0.
    scale : float, optional
        Difference of intensity that becomes 1, positive.
    method : {"none", "range", "percentile", "volume"}, optional
        How the two numbers were computed: from a data set, or (``"volume"``) from
        one volume.

    Raises
    ------
    ValueError
        If the numbers are not finite, the scale not positive, or the method not
        known.

    Examples
    --------
    >>> scaling = IntensityScaling(offset=100.0, scale=50.0)
    >>> scaling.apply(np.array([100, 125, 200]))
    array([0. , 0.5, 2. ], dtype=float32)
    >>> scaling.undo(np.array([0.5]))
    array([125.], dtype=float32)
    """

    offset: float = 0.0
    scale: float = 1.0
    method: str = "none"

    def __post_init__(self):
        check_method(self.method)
        if not math.isfinite(self.offset):
            raise ValueError(f"offset must be finite, got {self.offset!r}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be positive and finite, got {self.scale!r}")

    def apply(self, images):
        """Scale images; nothing is clipped.

        Parameters
        ----------
        images : array_like
            Intensities, any real type and shape.

        Returns
        -------
        scaled : ndarray of the same shape, float32
            ``(images - offset) / scale``.
        """
        return _in_blocks(images, lambda block: (block - self.offset) / self.scale)

    def undo(self, scaled):
        """Give scaled images their original units.

        Parameters
        ----------
        scaled : array_like
            Scaled intensities, any shape.

        Returns
        -------
        images : ndarray of the same shape, float32
            ``scaled * scale + offset``.
        """
        return _in_blocks(scaled, lambda block: block * self.scale + self.offset)

    def to_dict(self):
        """Return the numbers as JSON can hold them, without loss.

        Returns
        -------
        entries : dict
            Argument of `from_dict`.
        """
        return {
            "method": self.method,
            "offset": float(self.offset),
            "scale": float(self.scale),
        }

    @classmethod
    def from_dict(cls, entries):
        """Return the scaling that `to_dict` described.

        Parameters
        ----------
        entries : dict
            With ``"method"``, ``"offset"`` and ``"scale"``.

        Returns
        -------
        scaling : IntensityScaling
            The scaling.

        Raises
        ------
        ValueError
            If an entry is missing or has no valid value.
        """
        try:
            return cls(
                offset=float(entries["offset"]),
                scale=float(entries["scale"]),
                method=entries["method"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an intensity scaling: {entries!r}") from error


def check_method(method):
    """Refuse the name of an unknown scaling."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")


def fit_scaling(images, *, mask=None, method="range", percentiles=PERCENTILES):
    """Compute the scaling of a data set, or of one volume, to about [0, 1].

    Parameters
    ----------
    images : ndarray of shape (N, *spatial, C) or any other shape
        Finite intensities of any real type; with a mask, as `check_images`
        returns them.
    mask : array_like of shape (*spatial,) or (N, *spatial), optional
        Use only values inside.
    method : {"range", "percentile", "volume", "none"}, optional
        Map the smallest and largest value to 0 and 1, or two percentiles (robust
        to outliers, which then lie outside [0, 1]; ``"volume"`` does the same for
        one volume), or change nothing.
    percentiles : tuple of 2 floats, optional
        For ``"percentile"`` and ``"volume"``, of all values together (of evenly
        spaced ones where there are more than `moments.LARGEST_SAMPLE`).

    Returns
    -------
    scaling : IntensityScaling
        The scaling.

    Raises
    ------
    ValueError
        If all values are the same, the mask does not fit or selects nothing, or
        an option has no valid value.
    """
    check_method(method)
    if method == "none":
        return IntensityScaling()
    images = np.asarray(images)
    if images.size == 0:
        raise ValueError(f"images are empty, their shape is {images.shape}")
    values = images if mask is None else images[check_mask(mask, images)]
    moments, sample = Moments(), ValueSample()
    moments.add(values)
    if method != "range":
        sample.add(values)
    if moments.low == moments.high:
        raise constant_error(values, "images" if mask is None else "images in the mask")
    return scaling_of(moments, sample, method=method, percentiles=percentiles)


def scaling_of(moments, sample, *, method, percentiles=PERCENTILES):
    """Return the scaling for values of known moments; the sample gives percentiles."""
    if method == "none":
        return IntensityScaling()
    low, high = moments.low, moments.high
    if method in ("percentile", "volume"):
        low, high = _percentile_bounds(sample.values(), percentiles, (low, high))
    return IntensityScaling(offset=low, scale=high - low, method=method)


def _percentile_bounds(values, percentiles, full_range):
    """Return two percentiles, or the full range where they coincide."""
    lower, upper = percentiles
    if not 0 <= lower < upper <= 100:
        raise ValueError(
            f"percentiles must be two rising numbers in [0, 100], got {percentiles!r}"
        )
    if values.dtype in (bool, np.float16):  # which are not interpolated, or coarsely
        values = values.astype(np.float32)
    low, high = (float(bound) for bound in np.percentile(values, (lower, upper)))
    if low < high and math.isfinite(high - low):
        return low, high
    logger.warning(
        "the %s and %s percentiles are both %s: scaling by the full range instead "
        "(a mask would leave out the background)",
        lower,
        upper,
        low,
    )
    return full_range


def _in_blocks(images, function):
    """Apply an elementwise map block by block in float64.

    float32 cannot tell apart large intensities such as 581,626 and 581,627.
    """
    images = np.asarray(images)
    result = np.empty(images.shape, dtype=np.float32)
    # Flat views: of the result always, of the images where they are contiguous.
    flat, flat_result = images.reshape(-1), result.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        # What single precision cannot hold is found by its result, not by errors.
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            flat_result[block] = function(flat[block].astype(np.float64))
    return result

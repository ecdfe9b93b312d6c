"""Values that a training cannot use, and those that it hardly can."""

import logging

import numpy as np

logger = logging.getLogger("dipy_vqvae")

# Single precision ends at 1.2e-38 downwards, in which images are returned.
_SMALLEST_CONTRAST = 1e-36
# Steps of single precision that the values of images should be apart at least.
_FEWEST_STEPS = 256
# Ratio of the whole range to that of 99 % of the values.
_LARGEST_RATIO = 1e3
# Values further beyond the range of the training images than this fraction of it, and the
# fraction of such values that is warned of.
_FAR_BEYOND, _MOST_BEYOND = 0.1, 0.01
# Fraction of the training images' range that an image should fill.
_SMALLEST_FILL = 0.05
# Squares of scaled values and of their differences must be numbers of float32.
_LARGEST_SCALED, _SMALLEST_SCALED = 1e15, 1e-15


def check_contrast(ranges):
    """Refuse a contrast that single precision cannot hold; warn of an odd one.

    Parameters
    ----------
    ranges : list of (str, float, float, ndarray)
        Name, smallest, largest and some of the values of each subject.

    Returns
    -------
    remark : str or None
        What was warned of.

    Raises
    ------
    ValueError
        For too small a contrast; the message names the subject and the values.
    """
    low, high = min(r[1] for r in ranges), max(r[2] for r in ranges)
    contrast = high - low
    check_resolution(ranges[0][0], low, high)
    lower, upper = _usual_range(ranges)
    remark = None
    step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    if 0 < contrast < _FEWEST_STEPS * step:
        remark = (
            f"{ranges[0][0]}: values from {low:.10g} to {high:.10g}: single precision, "
            f"in which images are returned, has steps of {step:.3g} there; subtract a "
            "constant first"
        )
    elif upper > lower and contrast > _LARGEST_RATIO * (upper - lower):
        remark = _describe_outlier(ranges)
    if remark is not None:
        logger.warning("Odd values: %s", remark)
    return remark


def check_resolution(name, low, high):
    """Refuse values that single precision cannot tell apart.

    Parameters
    ----------
    name : str
        What messages call the images.
    low, high : float
        Smallest and largest value.

    Raises
    ------
    ValueError
        With both values.
    """
    if 0 < high - low < _SMALLEST_CONTRAST:
        raise ValueError(
            f"{name}: all values lie between {low:.4g} and {high:.4g}; single "
            "precision cannot tell them apart: multiply them by a power of ten"
        )


def check_outlier(scaled, ranges):
    """Refuse values that are too large or too small once images are scaled.

    Parameters
    ----------
    scaled : Moments
        Of the scaled images.
    ranges : list
        As for `check_contrast`.

    Raises
    ------
    ValueError
        The message names the subject and the value.
    """
    if max(-scaled.low, scaled.high) > _LARGEST_SCALED:
        raise ValueError(_describe_outlier(ranges))
    if 0 < scaled.high - scaled.low < _SMALLEST_SCALED:
        raise ValueError(
            f"{ranges[0][0]}: all values lie between {scaled.low:.4g} and "
            f"{scaled.high:.4g}; the network cannot compute with them as they are: use "
            "another scaling, or multiply them by a power of ten"
        )


def _usual_range(ranges):
    """Return between which values 99 % of all values lie."""
    few = np.concatenate([values for *_, values in ranges]).astype(np.float64)
    return np.percentile(few, (0.5, 99.5)).tolist()


def _describe_outlier(ranges):
    """Name the subject with the most extreme value, and that value."""
    lower, upper = _usual_range(ranges)
    lowest = min(ranges, key=lambda r: r[1])
    highest = max(ranges, key=lambda r: r[2])
    is_high = highest[2] - upper > lower - lowest[1]
    name, extreme = (highest[0], highest[2]) if is_high else lowest[:2]
    return (
        f"{name}: has the value {extreme:.4g}, while 99 % of all values lie between "
        f"{lower:.4g} and {upper:.4g}: repair the image or leave it out, or leave the "
        "value out with a mask"
    )


def check_scaled(largest, name):
    """Refuse images that are so far off that the network cannot compute.

    Parameters
    ----------
    largest : float
        Largest absolute value of the scaled images.
    name : str
        What messages call them.

    Raises
    ------
    ValueError
        With that value.
    """
    if not largest <= _LARGEST_SCALED:
        raise ValueError(
            f"{name}: has values {largest:.3g} times the range of the training images: "
            "repair the image, or leave these values out with a mask"
        )


class RangeCheck:
    """Compare the values of a subject with the range of the training images.

    Parameters
    ----------
    low, high : float
        That range.
    """

    def __init__(self, low, high):
        self.low, self.high = float(low), float(high)
        self.n = self.n_beyond = 0
        self.least, self.most = np.inf, -np.inf

    def add(self, values):
        """Count values, an array."""
        if not values.size:
            return
        margin = _FAR_BEYOND * (self.high - self.low)
        beyond = (values < self.low - margin) | (values > self.high + margin)
        self.n += values.size
        self.n_beyond += int(np.count_nonzero(beyond))
        self.least = min(self.least, float(values.min()))
        self.most = max(self.most, float(values.max()))

    def warn(self, name):
        """Warn where many values are beyond the range, or all fill little of it."""
        remedy = (
            "Give it the units of the training images, or train with the scaling volume, "
            "which scales each file by itself"
        )
        if self.n_beyond > _MOST_BEYOND * self.n:
            logger.warning(
                "%s: %.2g%% of its values are far outside the range of the training "
                "images (%.4g to %.4g; it has %.4g to %.4g), and are clipped. %s",
                name,
                100 * self.n_beyond / self.n,
                self.low,
                self.high,
                self.least,
                self.most,
                remedy,
            )
        elif 0 < self.most - self.least < _SMALLEST_FILL * (self.high - self.low):
            logger.warning(
                "%s: has values from %.4g to %.4g, a small part of the range of the "
                "training images (%.4g to %.4g). %s",
                name,
                self.least,
                self.most,
                self.low,
                self.high,
                remedy,
            )

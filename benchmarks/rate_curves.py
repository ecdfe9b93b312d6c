"""Curves of bits and quality: bits at equal quality, and where curves cross."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Point:
    """Slices at one quality of a codec; bits per slice."""

    setting: float | None
    bits: float
    psnr: float
    ssim: float
    #: Of files with one slice each.
    single_bits: float
    #: Of the codes, by the prior.
    prior_bits: float = float("nan")


@dataclass(frozen=True)
class Comparison:
    """Two curves, where both have bits for a quality.

    `shares` are the bits of the first as parts of those of the second, at `qualities`;
    `crossings` are bits and quality where the curves cross.
    """

    qualities: np.ndarray
    shares: np.ndarray
    crossings: list


def at_quality(curve, measure, value):
    """Bits of a codec at a PSNR or an SSIM; NaN beyond its curve."""
    points = sorted((getattr(point, measure), np.log(point.bits)) for point in curve)
    x, y = zip(*points)
    return float(np.exp(np.interp(value, x, y, left=np.nan, right=np.nan)))


def compare(ours, curve, measure, n=2000):
    """Compare our curve with a codec's; None where they share no quality."""
    values = [[getattr(point, measure) for point in c] for c in (ours, curve)]
    low, high = max(map(min, values)), min(map(max, values))
    if low >= high:
        return None
    qualities = np.linspace(low, high, n)
    bits, theirs = (
        np.array([at_quality(c, measure, q) for q in qualities]) for c in (ours, curve)
    )
    shares = bits / theirs
    crosses = np.flatnonzero(np.diff(np.sign(shares - 1)))
    crossings = [(float(bits[i]), float(qualities[i])) for i in crosses]
    return Comparison(qualities, shares, crossings)


def best_at(curves, measure, value):
    """The codec with the fewest bits at a quality, and these bits."""
    found = {codec: at_quality(c, measure, value) for codec, c in curves.items()}
    found = {codec: bits for codec, bits in found.items() if np.isfinite(bits)}
    best = min(found, key=found.get, default=None)
    return best, found.get(best, float("nan"))

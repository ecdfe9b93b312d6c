"""One score of several maps."""

import numpy as np

# Weights of the maps. Those of "all" were chosen on patients that are neither in a
# training nor in a test, see benchmarks/anomaly.py: beside where an image is brighter than
# healthy ones, what the networks say adds a little.
SCORES = {
    "all": {"intensity": 1.0, "residual": 0.25, "surprisal": 0.25},
    "both": {"residual": 1.0, "surprisal": 1.0},
    "intensity": {"intensity": 1.0},
    "residual": {"residual": 1.0},
    "surprisal": {"surprisal": 1.0},
}
TAILS = ("both", "bright", "dark")


def standardise(values, places, coordinates):
    """Return maps by name in standard deviations of healthy subjects at each place."""
    return {
        name: of_map.standardise(values[name], coordinates)
        for name, of_map in places.items()
    }


def combine(values, *, score, tail):
    """Combine standardised maps to one whose large values are unlike healthy ones.

    `values` are maps ``(n, *image)`` by name. Returns the size of the score and its sign.
    Where the tail is one-sided, what is unlike in the other direction is negative.
    """
    weights = SCORES[score]
    signed = [w * values[name] for name, w in weights.items() if name != "surprisal"]
    size, sign = 0, np.ones(next(iter(values.values())).shape, np.float32)
    if signed:
        total = sum(signed)
        sign = np.where(total < 0, np.float32(-1), np.float32(1))
        size = {"both": np.abs(total), "bright": total, "dark": -total}[tail]
    if "surprisal" in weights:
        size = size + weights["surprisal"] * values["surprisal"]
    return size.astype(np.float32), sign

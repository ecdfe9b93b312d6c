"""One score of several maps."""

import numpy as np

from dipy_vqvae.settings import SCORE

# Maps whose sign says whether the image is brighter or darker than expected.
SIGNED = ("intensity", "residual")


def standardise(values, places, coordinates):
    """Return maps by name in standard deviations of healthy subjects at each place."""
    return {
        name: of_map.standardise(values[name], coordinates)
        for name, of_map in places.items()
    }


def combine(values, *, score, tail):
    """Combine standardised maps to one whose large values are unlike healthy ones.

    `values` are maps ``(n, *image)`` by name, at least those of the score. Returns the size of the score and its sign.
    Where the tail is one-sided, what is unlike in the other direction is negative; of the
    texture, less than usual counts then: lesions are more uniform than what they replace.
    """
    weights = SCORE.of(score)
    signed = [weights[name] * values[name] for name in SIGNED if name in weights]
    total = sum(signed, start=np.zeros_like(next(iter(values.values()))))
    sign = np.where(total < 0, np.float32(-1), np.float32(1))
    size = {"both": np.abs(total), "bright": total, "dark": -total}[tail]
    if "texture" in weights:
        texture = values["texture"]
        unusual = np.abs(texture) if tail == "both" else -texture
        size = size + weights["texture"] * unusual
    if "surprisal" in weights:
        size = size + weights["surprisal"] * values["surprisal"]
    return size.astype(np.float32), sign

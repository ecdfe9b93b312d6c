"""The texture map: how much the intensity varies nearby; and weights of maps."""

import numpy as np
import pytest

from dipy_vqvae.anomaly.maps import LEAST_VARIANCE, texture
from dipy_vqvae.anomaly.score import combine
from dipy_vqvae.settings import ANOMALY, SCORE


def test_texture_is_the_deviation_within_a_gaussian():
    """Far from the rim, that of a slow reference."""
    values = np.random.default_rng(0).normal(size=(1, 41, 41)).astype(np.float32)
    inside = np.ones(values.shape, bool)
    found = texture(values, inside, 2.0)[0, 20, 20]
    rows, columns = np.mgrid[-20:21, -20:21]
    weight = np.exp(-(rows**2 + columns**2) / (2 * 2.0**2))
    # The filter ends at four standard deviations.
    weight[(np.abs(rows) > 8) | (np.abs(columns) > 8)] = 0
    weight /= weight.sum()
    mean = (weight * values[0]).sum()
    variance = (weight * (values[0] - mean) ** 2).sum()
    np.testing.assert_allclose(found, 0.5 * np.log(variance), rtol=1e-4)


def test_texture_does_not_see_what_is_outside():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3, 20, 20)).astype(np.float32)
    inside = np.zeros(values.shape, bool)
    inside[:, 4:15, 3:17] = True
    other = np.where(inside, values, 1000)
    one, two = (texture(v, inside, 3.0) for v in (values, other))
    np.testing.assert_array_equal(one, two)
    assert (one[~inside] == 0).all()


def test_a_uniform_part_has_the_least_texture():
    values = np.random.default_rng(2).normal(size=(1, 40, 40)).astype(np.float32)
    values[0, 10:30, 10:30] = 0.5
    found = texture(values, np.ones(values.shape, bool), 1.5)
    np.testing.assert_allclose(found[0, 20, 20], 0.5 * np.log(LEAST_VARIANCE))
    assert found[0, 20, 20] < found[0, :5].min()


@pytest.mark.parametrize(
    ("tail", "expected"), [("bright", -1.0), ("dark", -2.0), ("both", 4.0)]
)
def test_less_texture_counts_where_one_tail_does(tail, expected):
    """Intensity 0.5 and texture 1.5, weighted 1 and 1 or 2."""
    values = {name: np.zeros((1, 1, 1)) for name in SCORE.parts}
    values["intensity"] += 0.5
    values["texture"] += 1.5
    score = "intensity=1,texture=1" if tail != "both" else "intensity=2,texture=2"
    size, sign = combine(values, score=score, tail=tail)
    assert (size.item(), sign.item()) == (expected, 1.0)


def test_rare_codes_and_errors_count_in_either_tail():
    values = {"rarity": np.full((1, 1, 1), 2.0), "error": np.full((1, 1, 1), -4.0)}
    for tail in ("both", "bright", "dark"):
        size, sign = combine(values, score="rarity=1,error=0.25", tail=tail)
        assert (size.item(), sign.item()) == (1.0, 1.0)


def test_weights_of_all_maps_are_what_a_name_says():
    text = "intensity=1,texture=0.5,residual=0.25,surprisal=0.25"
    assert SCORE.of(text) == SCORE.of("all")
    assert SCORE.of("texture") == {"texture": 1.0}


@pytest.mark.parametrize(
    "text",
    ["", "some", "texture=", "texture=-1", "texture=nan", "texture=0", "a=1"]
    + ["texture=1,texture=2", "texture=inf", "texture=1,", "texture:1"],
)
def test_no_weights_are_refused(text):
    with pytest.raises(ValueError, match="score must be one of all, both, intensity"):
        ANOMALY.check({"score": text})

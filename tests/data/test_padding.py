"""Padding, cropping, and the place of the latent grid in the world."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.data import crop_to, pad_to, padded_shape

shapes = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize(
    ("shape", "multiple", "expected"),
    [
        ((28, 28), 4, (28, 28)),
        ((30, 30), 4, (32, 32)),
        ((91, 109), 8, (96, 112)),
        ((37, 51, 33), (4, 4, 1), (40, 52, 33)),
        ((1,), 4, (4,)),
    ],
)
def test_padded_shape(shape, multiple, expected):
    assert padded_shape(shape, multiple) == expected


@pytest.mark.parametrize(
    ("shape", "multiple"), [((0, 3), 4), ((3, 3), 0), ((3, 3), (4, 4, 4))]
)
def test_padded_shape_refuses(shape, multiple):
    with pytest.raises(ValueError):
        padded_shape(shape, multiple)


@settings(max_examples=60, deadline=None)
@given(
    shape=shapes,
    multiple=st.integers(1, 5),
    channels=st.sampled_from([(), (1,), (3,)]),
    mode=st.sampled_from(["edge", "constant"]),
)
def test_crop_undoes_pad(shape, multiple, channels, mode):
    images = np.random.default_rng(0).normal(size=(2, *shape, *channels))
    target = padded_shape(shape, multiple)
    padded = pad_to(images, target, mode=mode, value=-5)
    assert padded.shape == (2, *target, *channels)
    npt.assert_array_equal(crop_to(padded, shape), images)
    # Every padded pixel is the nearest one of the image, or the constant.
    index = np.ix_(*(np.minimum(np.arange(n), m - 1) for n, m in zip(target, shape)))
    expected = images[(slice(None), *index)]
    if mode == "constant":
        inside = np.zeros(target, bool)
        inside[tuple(slice(n) for n in shape)] = True
        expected[:, ~inside] = -5
    npt.assert_array_equal(padded, expected)


def test_nothing_to_pad_is_no_copy():
    images = np.zeros((2, 8, 8))
    assert pad_to(images, (8, 8)) is images


def test_type_is_kept():
    mask = np.ones((2, 3, 3), bool)
    padded = pad_to(mask, (4, 4), mode="constant", value=False)
    assert padded.dtype == bool
    assert padded.sum() == mask.sum()


def test_one_image():
    image = np.arange(6.0).reshape(2, 3)
    padded = pad_to(image, (4, 4), first_axis=0)
    assert padded.shape == (4, 4)
    npt.assert_array_equal(crop_to(padded, (2, 3), first_axis=0), image)


def test_refused():
    images = np.zeros((2, 8, 8))
    with pytest.raises(ValueError, match=r"cannot pad images of \(8, 8\) to \(4, 12\)"):
        pad_to(images, (4, 12))
    with pytest.raises(ValueError, match="cannot crop"):
        crop_to(images, (4, 12))
    with pytest.raises(ValueError, match="do not have 3 spatial axes"):
        pad_to(images, (8, 8, 8))
    with pytest.raises(ValueError, match="mode must be"):
        pad_to(images, (8, 8), mode="reflect")

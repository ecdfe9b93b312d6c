"""Masks as bytes: the same voxels, a fraction of what general compression takes."""

import zlib

import numpy as np
import numpy.testing as npt
import pytest
from scipy import ndimage

from dipy_vqvae.compression import masks_from_bytes, masks_to_bytes

SHAPES = [(1, 1, 1), (7, 9), (3, 5, 8), (4, 1, 6), (2, 3, 4, 5)]


def heads(n, shape):
    """Slices, or volumes, of smooth noise above a threshold."""
    noise = np.random.default_rng(0).normal(size=(n, *shape))
    smooth = ndimage.gaussian_filter(noise, [0, *(8 for _ in shape)])
    return smooth > 0.3 * smooth.std()


def n_deflated(mask):
    return len(zlib.compress(np.packbits(mask).tobytes(), 9))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_what_comes_back(share):
    rng = np.random.default_rng(0)
    masks = [rng.random(shape) < share for shape in SHAPES]
    found = masks_from_bytes(masks_to_bytes(masks), SHAPES)
    for a, b in zip(found, masks):
        assert a.dtype == bool
        npt.assert_array_equal(a, b)


def test_noise_takes_a_bit_for_each_voxel():
    noise = np.random.default_rng(0).random((40, 64, 64)) < 0.5
    assert len(masks_to_bytes([noise])) == pytest.approx(noise.size / 8, rel=0.05)


@pytest.mark.parametrize(("n", "shape"), [(40, (64, 64)), (3, (64, 48, 48))])
def test_outlines_take_less_than_half_of_what_zlib_takes(n, shape):
    masks = heads(n, shape)
    content = masks_to_bytes([masks])
    npt.assert_array_equal(masks_from_bytes(content, [masks.shape])[0], masks)
    assert len(content) < 0.5 * n_deflated(masks)


def test_several_masks_share_what_is_learnt():
    masks = list(heads(6, (40, 48)))
    apart = sum(len(masks_to_bytes([mask])) for mask in masks)
    assert len(masks_to_bytes(masks)) < 0.9 * apart


def test_sizes_are_bounded_before_there_is_memory():
    content = masks_to_bytes([np.ones((50, 64, 64), bool)])
    # As good as nothing for each voxel, but never nothing.
    assert len(content) < 80
    with pytest.raises(ValueError, match=r"a mask of \d+ voxels in \d+ bytes"):
        masks_from_bytes(content, [(1 << 20, 1 << 10, 1 << 10)])
    with pytest.raises(ValueError, match="more codes than the bytes|no codes of"):
        masks_from_bytes(b"\x55" * 6, [(50, 64, 64)])

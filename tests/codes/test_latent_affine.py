"""The affine of the codes: their grid lies over the image."""

from itertools import product

import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.codes.coded import blocks_to_image


def latent_affine(affine, *, padded_shape, latent_shape, slice_axis=None):
    factors = np.divide(padded_shape, latent_shape)
    return affine @ blocks_to_image(factors, slice_axis=slice_axis)


def rotation(*angles):
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def make_affine(linear, origin):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, origin
    return affine


AFFINES = {
    "identity": np.eye(4),
    "anisotropic": make_affine(np.diag([2.0, 2.0, 53.14]), [-90, -126, -72]),
    "flipped": make_affine(np.diag([-1.0, 1.0, -3.0]), [90, -126, 72]),
    "oblique": make_affine(
        rotation(0.3, -0.2, 0.5) @ np.diag([0.9, -1.1, 4.0]), [12.5, -3.0, 40.0]
    ),
    "axes swapped, sheared": make_affine(
        [[0, 2, 0.1], [0, 0, 3], [-1, 0, 0]], [5, 6, 7]
    ),
}


def corners(affine, shape):
    """World coordinates of the 8 corners: outer edges of the outer voxels."""
    edges = product(*((-0.5, n - 0.5) for n in shape))
    return np.array([affine @ (*edge, 1.0) for edge in edges])[:, :3]


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
@pytest.mark.parametrize(
    ("padded", "latent"),
    [((28, 32, 8), (7, 8, 2)), ((40, 52, 33), (10, 13, 33)), ((4, 4, 4), (1, 1, 1))],
)
def test_corners_of_volumes(affine, padded, latent):
    found = latent_affine(affine, padded_shape=padded, latent_shape=latent)
    npt.assert_allclose(corners(found, latent), corners(affine, padded), atol=1e-9)
    npt.assert_array_equal(found[3], [0, 0, 0, 1])


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_corners_of_stacked_slices(affine, slice_axis):
    padded, latent = [28, 92], [7, 23]
    found = latent_affine(
        affine, padded_shape=padded, latent_shape=latent, slice_axis=slice_axis
    )
    padded.insert(slice_axis, 11)
    latent.insert(slice_axis, 11)
    npt.assert_allclose(corners(found, latent), corners(affine, padded), atol=1e-9)


def test_cell_is_the_mean_of_its_voxels():
    affine = AFFINES["oblique"]
    found = latent_affine(affine, padded_shape=(8, 12, 9), latent_shape=(2, 4, 3))
    voxels = np.array([(*v, 1.0) for v in product(range(4, 8), range(3, 6), range(3))])
    npt.assert_allclose(found @ (1, 1, 0, 1), (voxels @ affine.T).mean(axis=0))


def test_padding_leaves_image_voxels_in_place():
    """A voxel of the image lies in the cell that its index divided says."""
    affine = AFFINES["oblique"]
    found = latent_affine(affine, padded_shape=(32, 32, 32), latent_shape=(8, 8, 8))
    to_cells = np.linalg.inv(found) @ affine
    for voxel in [(0, 0, 0), (29, 3, 4), (15, 16, 17)]:
        cell = np.rint((to_cells @ (*voxel, 1.0))[:3])
        npt.assert_array_equal(cell, np.array(voxel) // 4)

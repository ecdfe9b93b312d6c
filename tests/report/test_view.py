"""Pictures by affine and zooms: right at the right, top up, in proportion, with letters."""

import itertools

from nibabel.orientations import apply_orientation, inv_ornt_aff
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.report.pictures import as_picture, examples_of, windows_of
from dipy_vqvae.report.view import View, common_scale

STORED = [
    np.column_stack([order, flips])
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
AFFINE = np.diag([1.0, 2.0, 4.0, 1.0])


def test_a_volume_is_drawn_alike_however_it_is_stored():
    volume = np.arange(3 * 4 * 5.0).reshape(3, 4, 5)
    expected = as_picture(volume, View.of(AFFINE, 3))
    for ornt in STORED:
        stored = apply_orientation(volume, ornt)
        affine = AFFINE @ inv_ornt_aff(ornt, volume.shape)
        view = View.of(affine, 3)
        npt.assert_array_equal(as_picture(stored, view), expected)
        assert view.marks(stored.shape) == View.of(AFFINE, 3).marks(volume.shape)


def test_sections_of_a_volume():
    volume = np.zeros((4, 4, 4))
    volume[2, 2, 2] = 1  # the middle voxel of all sections
    volume[3, 2, 2] = 2  # right of it
    volume[2, 3, 2] = 3  # in front
    volume[2, 2, 3] = 4  # above
    view = View.of(np.eye(4), 3)
    axial, coronal, sagittal = (slice(6 * i, 6 * i + 4) for i in range(3))
    picture = as_picture(volume, view)
    # Rows go down: the middle is in row 1, column 2.
    assert picture[1, axial].tolist() == [0, 0, 1, 2] and picture[0, axial][2] == 3
    assert picture[1, coronal].tolist() == [0, 0, 1, 2] and picture[0, coronal][2] == 4
    assert (
        picture[1, sagittal].tolist() == [0, 0, 1, 3] and picture[0, sagittal][2] == 4
    )
    marks = view.marks(volume.shape)
    letters = "".join(letter for *_, letter in marks)
    assert letters == "LRPA" + "LRIS" + "PAIS"
    places = [(x, y) for x, y, *_ in marks[:4]]
    assert places == [(0, 2), (4, 2), (2, 4), (2, 0)]


@pytest.mark.parametrize("turned", [False, True])
def test_voxels_have_their_proportions(turned):
    """Slices of 1 x 3 mm: a square in millimetres is one in the picture."""
    image = np.zeros((30, 10))
    image[12:18, 4:6] = 1  # 6 x 6 mm
    affine = np.diag([1.0, 3.0, 1.0, 1.0])
    if turned:
        image, affine = image.T, affine[:, [1, 0, 2, 3]]
    view = View.of(affine, 2)
    for nearest in (True, False):
        picture = as_picture(image, view, nearest=nearest)
        assert picture.shape == view.size(image.shape) == (30, 30)
        rows, columns = np.nonzero(picture >= 0.5)
        assert np.ptp(rows) == np.ptp(columns) == 5
    coarse = View.of(np.diag([2.0, 2.0, 2.0, 1.0]), 2)
    fine, coarse = common_scale([View.of(np.eye(4), 2), coarse])
    assert as_picture(np.zeros((4, 4)), coarse).shape == (8, 8)
    assert as_picture(np.zeros((4, 4)), fine).shape == (4, 4)
    absurd = View.of(np.diag([1e-3, 1e5, 1.0, 1.0]), 2)
    assert max(as_picture(np.zeros((4, 4)), absurd).shape) == 40


def test_linear_resampling_keeps_what_is_known():
    image = np.array([[0.0, 1.0, np.nan]])
    view = View(2, zooms=(1.0, 2.0), pixel=1.0)
    picture = as_picture(image, view)
    npt.assert_allclose(picture[0, :4], [0, 0.25, 0.75, np.nan])
    codes = as_picture(np.array([[1, 5, 9]]), view, nearest=True)
    assert set(codes.ravel()) == {1, 5, 9} and codes.shape == (1, 6)


def test_what_has_no_affine_is_drawn_as_it_is():
    image = np.arange(6.0).reshape(2, 3)
    view = View.of(None, 2)
    npt.assert_array_equal(as_picture(image, view), image)
    assert view.marks(image.shape) == []


def test_outside_of_a_mask_nothing_is_shown(tmp_path):
    from types import SimpleNamespace

    rng = np.random.default_rng(0)
    images = rng.random((2, 4, 4))
    inside = np.zeros((2, 4, 4), bool)
    inside[:, 1:3, 1:3] = True
    images[~inside] = 1e6  # a skull
    file = SimpleNamespace(path=tmp_path / "x.npy", n_slices=2, n_volumes=1)
    coded = SimpleNamespace(
        codes=np.zeros((2, 2, 2), int), downsampling=(2, 2), image_shape=(4, 4)
    )
    examples = examples_of(
        file,
        images,
        0.5 * images,
        coded,
        n=2,
        view=View(2),
        mask=inside,
        show_codes=True,
    )
    for example, where in zip(examples, inside):
        for picture in (example.original, example.reconstruction, example.codes):
            npt.assert_array_equal(np.isnan(picture), ~where)
    assert windows_of(examples)[0][1] <= 1

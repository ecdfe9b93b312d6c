import numpy as np
import numpy.testing as npt
from PIL import Image
import pytest

from dipy_vqvae.report.mosaic import (
    as_pictures,
    make_mosaic,
    save_mosaic,
    to_bytes,
)
from dipy_vqvae.report.view import View


def test_images_lie_row_by_row():
    images = np.arange(1, 6).reshape(5, 1, 1) * np.ones((1, 2, 3), int)
    picture = make_mosaic(images, n_columns=3, gap=1, fill=9)
    assert picture.shape == (5, 11)
    npt.assert_array_equal(picture[0], [1, 1, 1, 9, 2, 2, 2, 9, 3, 3, 3])
    npt.assert_array_equal(picture[2], 9)
    npt.assert_array_equal(picture[4], [4, 4, 4, 9, 5, 5, 5, 9, 9, 9, 9])


@pytest.mark.parametrize("n", [1, 2, 5, 16, 37])
@pytest.mark.parametrize("shape", [(28, 28), (10, 40), (91, 30)])
def test_every_image_is_there_and_the_picture_about_square(n, shape):
    images = np.full((n, *shape), 7)
    picture = make_mosaic(images, gap=0)
    assert np.count_nonzero(picture == 7) == n * np.prod(shape)
    if n > 15:
        assert 0.4 < picture.shape[0] / picture.shape[1] < 2.5


def test_a_volume_shows_three_middle_slices_upright():
    volume = np.zeros((2, 4, 6, 8))
    volume[:, 3, 5, 4] = 1  # right, front, in the middle slice across z
    views = as_pictures(volume, View(3))
    assert views.shape == (2, 8, 4 + 4 + 6)
    across_z = views[0, 1:7, :4]  # 6 rows, padded to 8
    assert across_z[0, 3] == 1 and across_z.sum() == 1
    slices = np.array([[[1, 2], [3, 4]]])
    npt.assert_array_equal(
        as_pictures(slices, View.of(np.eye(4), 2)), [[[2, 4], [1, 3]]]
    )
    npt.assert_array_equal(as_pictures(slices, View(2)), slices)


def test_grey_levels():
    npt.assert_array_equal(to_bytes([0, 1, 2], limits=(0, 1)), [0, 255, 255])
    npt.assert_array_equal(to_bytes([[5.0, 5.0]]), [[0, 0]])
    # Differences of large integers survive the way through float32.
    npt.assert_array_equal(to_bytes(np.array([2**24, 2**24 + 2])), [0, 255])


def test_the_file(tmp_path):
    images = np.random.default_rng(0).normal(size=(6, 5, 7))
    save_mosaic(tmp_path / "m.png", images, n_columns=3, gap=1, zoom=2)
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.format == "PNG" and picture.mode == "L"
        assert picture.size == (2 * (3 * 8 - 1), 2 * (2 * 6 - 1))
        values = np.asarray(picture)
    assert values.min() == 0 and values.max() == 255
    npt.assert_array_equal(values[::2, ::2], values[1::2, 1::2])
    save_mosaic(tmp_path / "v.png", np.random.default_rng(0).normal(size=(2, 4, 6, 8)))
    assert (tmp_path / "v.png").exists()


def test_bad_input(tmp_path):
    for images in (np.zeros((4, 4)), np.zeros((0, 4, 4)), np.zeros((1, 2, 3, 4, 5))):
        with pytest.raises(ValueError, match="shape"):
            save_mosaic(tmp_path / "m.png", images)
    with pytest.raises(ValueError, match="zoom"):
        save_mosaic(tmp_path / "m.png", np.zeros((1, 4, 4)), zoom=0)
    with pytest.raises(ValueError, match="n_columns"):
        make_mosaic(np.zeros((1, 4, 4)), n_columns=0)
    assert not list(tmp_path.iterdir())

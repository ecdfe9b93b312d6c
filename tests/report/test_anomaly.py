"""Pictures of anomaly maps."""

from io import BytesIO

import numpy as np
import numpy.testing as npt
from PIL import Image

from dipy_vqvae.report.anomaly import overlay
from dipy_vqvae.report.rows import PictureRow, draw_rows
from dipy_vqvae.report.style import styled

YELLOW = np.array([255, 213, 0])


def test_scores_are_painted_and_what_is_found_is_outlined():
    grey = np.full((9, 9, 3), 0.5)
    z = np.zeros((9, 9))
    z[1, 1], z[1, 7] = 9, -9
    found = np.zeros((9, 9), bool)
    found[3:8, 3:8] = True
    painted = overlay(grey, z, found)
    # Brighter is orange, darker is blue.
    assert painted[1, 1, 0] > 0.6 and painted[1, 1, 2] < 0.3
    assert painted[1, 7, 2] > 0.5 and painted[1, 7, 0] < 0.2
    rim = found.copy()
    rim[4:7, 4:7] = False
    npt.assert_array_equal((painted * 255).round()[rim], [YELLOW] * rim.sum())
    npt.assert_array_equal(painted[4:7, 4:7], 0.5)


def test_a_thin_outline_keeps_its_colour_in_the_file():
    # As many colours as make a palette forget a rare one.
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(6):
        grey = np.repeat(rng.random((90, 90, 1)), 3, axis=2)
        found = np.zeros((90, 90), bool)
        found[40:45, 40:45] = True
        pictures.append(overlay(grey, 5 * rng.normal(size=(90, 90)), found))
    png = styled(draw_rows)([PictureRow("scan", "", pictures)])
    pixels = np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)
    near = np.abs(pixels - YELLOW).max(-1) < 8
    assert near.sum() >= 6 * 16


def test_greys_keep_their_values_beside_colours():
    grey = np.linspace(0, 1, 90 * 90).reshape(90, 90, 1).repeat(3, axis=2)
    colours = np.random.default_rng(0).random((90, 90, 3))
    png = styled(draw_rows)([PictureRow("", "", [grey, colours])], zoom=2)
    pixels = np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)
    # The picture has 4 x 4 pixels for each of its own.
    left = 2 * (18 + 132)
    part = pixels[36:, left : left + 360][::4, ::4][:90]
    assert np.ptp(part, axis=2).max() == 0
    npt.assert_array_less(abs(part - 255 * grey).max(), 1.5)

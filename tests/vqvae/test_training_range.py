"""Images that are far outside the range of the training images are warned of."""

import numpy as np
import pytest
from toy_vqvae import blobs, fit_to

IMAGES = blobs(16, (12, 10))


@pytest.fixture(scope="module")
def fit():
    return fit_to(IMAGES)


def test_other_units_are_warned_of(fit, caplog):
    for call in (fit.encode, fit.predict, fit.usage):
        caplog.clear()
        call(20.0 * IMAGES)
        assert "are far outside the range of the training images" in caplog.text
        high = int(IMAGES.max())
        assert (
            f"(0 to {high}; it has 0 to {20 * high:.4g}), and are clipped"
            in caplog.text
        )
    caplog.clear()
    fit.encode([IMAGES, IMAGES / 50, IMAGES * 3.0])
    assert "images[1]: has values from 0 to 5" in caplog.text
    assert "images[2]: " in caplog.text and "images[0]" not in caplog.text


def test_usual_images_are_not(fit, caplog):
    rng = np.random.default_rng(0)
    noisy = IMAGES + rng.normal(0, 8, IMAGES.shape)
    noisy[0, 0, 0] = 1000  # one voxel
    for images in (IMAGES, noisy, 0.5 * IMAGES, np.zeros((2, 12, 10))):
        fit.predict(images)
    # What is outside of the mask has no unit.
    mask = np.zeros((12, 10), bool)
    mask[3:9, 3:9] = True
    fit.predict(np.where(mask, IMAGES, 1e4), mask=mask)
    assert not caplog.records


def test_volumes_with_scalings_of_their_own_are_not(caplog):
    fit = fit_to(IMAGES, model={"scaling": "volume"})
    fit.predict(20.0 * IMAGES)
    assert not caplog.records

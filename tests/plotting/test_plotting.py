"""One call for each picture: what it shows is what the fit says."""

import matplotlib
import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.plotting import (
    plot_code_atlas,
    plot_code_maps,
    plot_reconstructions,
    plot_samples,
)


@pytest.fixture(autouse=True)
def no_windows():
    from matplotlib import pyplot as plt

    with matplotlib.rc_context({"backend": "agg"}):
        yield
        plt.close("all")


@pytest.fixture(scope="module")
def images():
    return blobs(12, (12, 10))


@pytest.fixture(scope="module")
def fit(images):
    return fit_to(images)


def shown(axes):
    """Return the picture of an axes."""
    (picture,) = axes.get_images()
    return np.asarray(picture.get_array())


def test_it_needs_no_import_of_its_own():
    assert dv.plotting.plot_samples is plot_samples


def test_reconstructions(fit, images):
    figure, axes = plot_reconstructions(fit, images, n=3)
    assert axes.shape == (3, 3) and axes[0, 0].figure is figure
    numbers = [int(ax.get_title().split()[-1]) for ax in axes[0]]
    assert len(set(numbers)) == 3
    restored = fit.predict(images)
    for column, number in enumerate(numbers):
        original, reconstruction, residual = map(shown, axes[:, column])
        npt.assert_array_equal(original, images[number])
        npt.assert_allclose(reconstruction, restored[number], rtol=1e-5)
        npt.assert_allclose(residual, original - reconstruction)
    # One scale for all residuals, zero in its middle.
    (limits,) = {ax.get_images()[0].get_clim() for ax in axes[2]}
    assert limits[0] == -limits[1] < 0


def test_letters_of_directions(fit, images, tmp_path):
    # Of the third axis from back to front, the second one upwards: coronal slices.
    affine = np.array([[2, 0, 0, 0], [0, 0, 2, 0], [0, 2, 0, 0], [0, 0, 0, 1.0]])
    volume = nib.Nifti1Image(np.moveaxis(images, 0, 2), affine)
    files = fit_to([volume], n_epochs=1)
    prior = dv.PixelCNNModel(8, n_channels=4, n_layers=1)
    prior = prior.fit(files.encode([volume]), n_epochs=1)
    _, axes = plot_reconstructions(files, volume, n=2)
    _, sampled = plot_samples(files, prior, n=1)
    for place in (*axes[0], sampled[0, 0]):
        picture = shown(place)
        assert picture.shape == (10, 12)
        at = {text.get_text(): text.xy for text in place.texts}
        assert at["L"] == (-0.5, 4.5) and at["R"] == (11.5, 4.5)
        assert at["S"] == (5.5, -0.5) and at["I"] == (5.5, 9.5)
    expected = files.decode(prior.sample(1))[0]
    npt.assert_allclose(shown(sampled[0, 0]), expected.T[::-1], rtol=1e-5, atol=1e-3)
    # All rows have the columns at the same places.
    axes[0, 0].figure.canvas.draw()
    lefts = [[place.get_position().x0 for place in row] for row in axes]
    npt.assert_allclose(lefts[1:], [lefts[0]] * 2, atol=1e-3)
    assert not plot_reconstructions(fit, images, n=1)[1][0, 0].texts


def test_code_maps(fit, images):
    _, axes = plot_code_maps(fit, images, n=2)
    assert axes.shape == (2, 2)
    codes = fit.encode(images)
    for image, code_map in axes.T:
        number = int(image.get_title().split()[-1])
        painted = shown(code_map)
        assert painted.shape == (12, 10, 3)
        # Equal colours where codes are equal, and only there.
        blocks = painted[1::4, 1::4].reshape(-1, 3)
        equal = (blocks[:, None] == blocks).all(axis=2)
        flat = codes[number].ravel()
        npt.assert_array_equal(equal, flat[:, None] == flat)


def test_samples(fit, images):
    prior = dv.PixelCNNModel(8, n_channels=4, n_layers=1)
    prior = prior.fit(fit.encode(images), n_epochs=1)
    _, axes = plot_samples(fit, prior, n=5, n_columns=3, random_seed=4)
    assert axes.shape == (2, 3) and not axes[1, 2].get_images()
    expected = fit.decode(prior.sample(5, random_seed=4))
    for place, image in zip(axes.flat, expected):
        npt.assert_allclose(shown(place), image, rtol=1e-5, atol=1e-3)
    _, axes = plot_samples(fit, prior, n=1, affine=np.eye(4), random_seed=4)
    npt.assert_allclose(shown(axes[0, 0]), expected[0].T[::-1], rtol=1e-5, atol=1e-3)


def test_code_atlas(fit, images):
    _, axes = plot_code_atlas(fit, images, n=4)
    codes = fit.encode(images)
    usage = code_usage(codes, 8)
    pairs = [pair for pair in axes.reshape(-1, 2) if pair[0].get_images()]
    assert len(pairs) == min(4, usage.n_used)
    order = []
    for block, where in pairs:
        code = int(block.get_title().partition(":")[0])
        order.append(usage.histogram[code])
        npt.assert_allclose(shown(where), (codes == code).mean(axis=0))
        assert shown(block).shape == (4, 4)
    assert order == sorted(usage.histogram, reverse=True)[: len(order)]


def test_files_masks_and_volumes(tmp_path):
    for i, shape in enumerate([(8, 9, 6), (10, 7, 6)]):
        np.save(tmp_path / f"{i}.npy", blobs(1, shape, seed=i)[0])
    volumes = dv.open_images(tmp_path, spatial_dims=3)
    fit = fit_to(volumes, model={"spatial_dims": 3}, batch_size=2)
    _, axes = plot_reconstructions(fit, volumes, n=4)
    assert axes.shape == (3, 2)
    assert [ax.get_title() for ax in axes[0]] == ["0", "1"]
    _, axes = plot_code_atlas(fit, volumes, n=2)
    assert axes.shape[1] <= 4
    images, mask = blobs(6, (8, 8)), np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    _, axes = plot_reconstructions(fit_to(images, mask=mask), images, mask=mask)
    # Nothing is shown outside.
    restored = np.ma.filled(axes[1, 0].get_images()[0].get_array(), np.nan)
    npt.assert_array_equal(np.isnan(restored), ~mask)


def test_nothing_to_plot(fit):
    with pytest.raises(ValueError, match="constant"):
        plot_reconstructions(fit, np.zeros((3, 12, 10), np.uint8))

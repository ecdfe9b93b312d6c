"""Fits by name and from files; the models of the package against what they are for."""

import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, fit_to, weights

import dipy_vqvae as dv
from dipy_vqvae.models import ModelPair
from dipy_vqvae.storage import load_model, save_model


@pytest.fixture(scope="module")
def pair():
    return dv.load("mnist")


def test_a_file_of_any_kind(tmp_path):
    fit = fit_to(blobs(12, (8, 8)))
    fit.save(tmp_path / "a")
    assert isinstance(dv.load(tmp_path / "a"), dv.VQVAEFit)
    codes = fit.encode(blobs(12, (8, 8)))
    prior = dv.PixelCNNModel(8, n_channels=4, n_layers=1).fit(codes, n_epochs=1)
    prior.save(tmp_path / "b")
    assert isinstance(dv.load(str(tmp_path / "b")), dv.PixelCNNFit)
    detector = dv.AnomalyModel(
        fit,
        prior,
        n_restorations=1,
        score="intensity,texture=2",
        random_seed=np.random.default_rng(5),
    )
    assert detector.random_seed == np.random.default_rng(5).integers(2**63)
    with pytest.raises(ValueError, match="score"):
        detector.fit(blobs(6, (8, 8), seed=1))
    detector.score = "intensity=1,texture=2"
    detector.fit(blobs(6, (8, 8), seed=1)).save(tmp_path / "c")
    loaded = dv.load(tmp_path / "c")
    assert isinstance(loaded, dv.AnomalyFit) and isinstance(
        loaded.model, type(detector)
    )
    for name in ("n_restorations", "score", "tail", "smoothing", "random_seed"):
        assert getattr(loaded.model, name) == getattr(detector, name)


def test_what_is_neither_a_file_nor_a_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="mnits.*name of a model.*mnist"):
        dv.load("mnits")
    with pytest.raises(ValueError, match="no model named 'other'"):
        dv.load("other", folder=tmp_path)
    save_model(tmp_path / "c", kind="digit_classifier", config={}, arrays={})
    with pytest.raises(ValueError, match="digit_classifier model.*fit is needed"):
        dv.load(tmp_path / "c")


def test_the_pair_fits_together(pair):
    assert isinstance(pair, ModelPair)
    vqvae, prior = pair
    images = vqvae.decode(prior.sample(40, random_seed=3))
    assert images.shape == (40, 28, 28)
    assert 0 <= images.min() < 30 and 200 < images.max() <= 255
    # Grids of the prior are likelier to it than grids of any codes.
    rng = np.random.default_rng(0)
    codes = prior.sample(20, random_seed=4)
    noise = rng.integers(0, prior.n_codes, codes.shape)
    assert prior.log_prob(codes).min() > prior.log_prob(noise).max()


def test_images_come_back(pair):
    """Digits that the prior draws are images that the VQ-VAE can encode."""
    digits = pair.vqvae.decode(pair.prior.sample(20, random_seed=1))
    error = np.mean((pair.vqvae.predict(digits) - digits) ** 2)
    assert error < 0.1 * digits.var()


def test_weights_are_half_precision_in_the_file_and_single_in_memory(pair, tmp_path):
    from dipy_vqvae.storage import fetch_model

    for fit, path in zip(pair, fetch_model("mnist").values()):
        stored = load_model(path).arrays
        for name, array in weights(fit).items():
            assert array.dtype == np.float32, name
            npt.assert_array_equal(array, stored[name].astype(np.float32))
        assert {a.dtype.name for a in stored.values()} <= {"float16", "float32"}
        # Saved and loaded again nothing changes.
        fit.save(tmp_path / "again")
        again = type(fit).load(tmp_path / "again")
        for name, array in weights(fit).items():
            npt.assert_array_equal(weights(again)[name], array)


def test_dipys_names():
    fit = dv.VQVAEModel().fetch_default_weights()
    assert fit.n_codes == 128 and fit.model.rate_weight == fit.config.rate_weight
    prior = dv.PixelCNNModel().fetch_default_weights(name="mnist")
    assert prior.model.n_components == prior.config.n_components == 8


def test_a_fit_knows_its_model(tmp_path):
    model = dv.VQVAEModel(8, code_dim=4, n_channels=8, n_blocks=1, downsampling=(4, 2))
    fit = model.fit(blobs(9, (8, 8)), n_epochs=1)
    assert fit.model == model
    fit.save(tmp_path / "fit")
    assert model.load_model_weights(tmp_path / "fit").model == model
    prior = dv.PixelCNNModel(8, n_channels=4, n_layers=1, random_seed=5)
    assert prior.fit(fit.encode(blobs(9, (8, 8))), n_epochs=1).model == prior
    with pytest.raises(ValueError, match="is a vqvae model, a pixelcnn model"):
        prior.load_model_weights(tmp_path / "fit")

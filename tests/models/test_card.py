"""Model cards: they say what the files hold."""

import json
import math

import numpy as np
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae.models import model_card
from dipy_vqvae.storage import load_model, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    images = blobs(24, (8, 12))
    fit = fit_to(images, model={"loss": "mae"}, validation_images=images[:5])
    fit.card["license"] = "CC0-1.0"
    fit.card["figures"] = {"dice": 0.5}
    fit.save(folder / "vqvae")
    codes = fit.encode(images)
    prior = dv.PixelCNNModel(8, n_channels=4, n_layers=1, random_seed=2)
    prior.fit(codes, validation_codes=codes[:7], n_epochs=1).save(folder / "prior")
    return folder


def test_card_of_a_vqvae(folder):
    card, fit = model_card(folder / "vqvae"), dv.VQVAEFit.load(folder / "vqvae")
    assert (card.kind, card.license, card.intended_use) == ("vqvae", "CC0-1.0", None)
    assert card.model["grid"] == [2, 3] and card.model["n_codes"] == 8
    n = sum(array.size for array in load_model(folder / "vqvae").arrays.values())
    assert card.model["parameters"] == n
    # Settings that the toy changes, and no others.
    settings = card.model["settings"]
    assert settings["loss"] == "mae" and settings["n_channels"] == 8
    assert "commitment" not in settings
    data = card.training_data
    assert (data["number"], data["held_out"], data["shape"]) == (24, 5, [8, 12])
    assert data["lowest_intensity"] == 0
    assert data["highest_intensity"] == blobs(24, (8, 12)).max()
    assert card.training["steps"] == fit.history.n_steps
    assert card.figures["held-out mse"] == pytest.approx(
        fit.history["validation_mse"][-1], abs=1e-6
    )
    assert card.figures["dice"] == 0.5


def test_card_of_a_prior(folder):
    card, fit = model_card(folder / "prior"), dv.PixelCNNFit.load(folder / "prior")
    bits = fit.history["validation_loss"][-1] / math.log(2)
    assert card.figures["held-out bits per code"] == pytest.approx(bits, abs=1e-4)
    assert card.figures["held-out bits per image"] == pytest.approx(6 * bits, abs=1e-2)
    assert card.training_data["number"] == 24
    assert card.model["settings"]["random_seed"] == 2


def test_the_best_epoch_counts_if_it_was_kept(folder, tmp_path):
    images = blobs(24, (8, 12))
    fit = fit_to(
        images, validation_images=images[:4], n_epochs=3, patience=1, learning_rate=0.3
    )
    fit.save(tmp_path / "fit")
    losses = fit.history["validation_loss"]
    figure = model_card(tmp_path / "fit").figures["held-out loss"]
    assert figure == pytest.approx(min(losses), abs=1e-6)


def test_text_json_and_html_say_the_same(folder):
    card = model_card(folder / "vqvae")
    entries = json.loads(json.dumps(card.to_dict()))
    assert entries["training_data"]["number"] == 24
    for text in (str(card), card._repr_html_()):
        assert "CC0-1.0" in text and "not stated" in text
        assert "loss=mae" in text and "2 × 3" in text


def test_a_description_that_cannot_be_read(folder, tmp_path):
    content = load_model(folder / "vqvae")
    save_model(
        tmp_path / "odd",
        kind="vqvae",
        config={"n_codes": 8},
        arrays=content.arrays,
        description=content.description,
    )
    with pytest.raises(ValueError, match="odd.*cannot be read.*downsampling"):
        model_card(tmp_path / "odd")


def test_the_card_of_the_package(command):
    code, out, _ = command("dipy_describe_vqvae", "mnist", "--json")
    assert code == 0
    vqvae, prior = json.loads(out)
    assert "CC BY-SA" in vqvae["data_source"] and vqvae["intended_use"]
    (bits,) = (v for n, v in prior["figures"].items() if "bits per image, " in n)
    (mse,) = (v for n, v in vqvae["figures"].items() if "MSE" in n)
    assert 40 < bits < 80 and 0 < mse < 0.006
    code, out, _ = command("dipy_describe_vqvae", "mnist", "--kind", "pixelcnn")
    assert code == 0 and out.startswith("PixelCNN prior")


def test_describing_what_is_no_model(command, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    code, _, err = command("dipy_describe_vqvae", "a.npy")
    assert code == 1 and "a.npy" in err and err.count("\n") == 1
    code, _, err = command("dipy_describe_vqvae", "nothing")
    assert code == 1 and "name of a model (mnist)" in err


def test_options_of_the_card(command, tmp_path):
    np.save(tmp_path / "a.npy", blobs(12, (8, 8)))
    stated = {"license": "CC0-1.0", "data_source": "noise", "intended_use": "tests"}
    options = [word for n, v in stated.items() for word in (f"--{n}", v)]
    small = ["--n_channels", 8, "--n_codes", 8, "--n_epochs", 1, "--out_report", "None"]
    code, _, err = command("dipy_fit_vqvae", "a.npy", *small, *options)
    assert code == 0, err
    card = model_card(tmp_path / "vqvae.safetensors")
    assert {name: getattr(card, name) for name in stated} == stated
    assert card.training["date"][:2] == "20" and card.training_data["format"] == "npy"

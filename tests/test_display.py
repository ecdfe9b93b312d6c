"""Objects show themselves, as text and as HTML."""

import re

import numpy as np
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("display")
    for name, shape in (("a", (8, 8)), ("b<i>", (8, 12))):
        np.save(folder / f"{name}.npy", blobs(6, shape))
    collection = dv.open_images(folder)
    fit = fit_to(collection)
    prior = dv.PixelCNNModel(8, n_channels=4, n_layers=1)
    prior_fit = prior.fit(fit.encode(collection), n_epochs=1)
    return {
        "model": dv.VQVAEModel(n_codes=7),
        "prior model": prior,
        "fit": fit,
        "prior": prior_fit,
        "collection": collection,
        "set": dv.load_images(folder / "a.npy"),
        "history": fit.history,
    }


SHOWN = {
    "model": "n_codes=7",
    "prior model": "n_layers=1",
    "fit": "epochs=2",
    "prior": "grid_shape=(2, 3)",
    "collection": "2 files, 12 images",
    "set": "6 images, uint8",
    "history": "epochs=2",
}


@pytest.mark.parametrize("name", SHOWN)
def test_text(objects, name):
    text = repr(objects[name])
    assert SHOWN[name] in text
    assert "\n" not in text and len(text) < 300


@pytest.mark.parametrize("name", SHOWN)
def test_html(objects, name):
    html = objects[name]._repr_html_()
    assert html.count("<table>") == html.count("</table>") == 1
    assert html.count("<tr>") == html.count("</tr>") > 1
    assert "<i>" not in html, "names of files are escaped"
    # The words of the text are in it as well.
    for word in re.findall(r"\w+", SHOWN[name]):
        assert word in html

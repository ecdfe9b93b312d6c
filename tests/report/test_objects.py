"""Reports as objects: of arrays, lists and files, with masks."""

from html import unescape
import re

from matplotlib.figure import Figure
import numpy as np
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae.report.charts import draw_usage
from dipy_vqvae.report.style import to_png


@pytest.fixture(scope="module")
def images():
    return blobs(24, (12, 10))


@pytest.fixture(scope="module")
def fit(images):
    return fit_to(images)


def test_a_report_of_arrays(fit, images, tmp_path):
    report = fit.report(images)
    assert set(report.figures) == {"reconstructions", "training", "usage", "atlas"}
    assert all(isinstance(figure, Figure) for figure in report.figures.values())
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == report.html
    frame = report._repr_html_()
    assert unescape(re.search('srcdoc="([^"]*)"', frame)[1]) == report.html
    assert report.verdict.text in repr(report) and "\n" not in repr(report)


def test_what_was_held_out_is_found(fit, images):
    assert "24 training images" in fit.report(images).html
    assert "23 held-out images" in fit.report(images[1:]).html
    assert "24 held-out images" in fit.report(images, held_out=True).html


def test_lists_and_masks(images):
    subjects = [images[:9], blobs(5, (8, 12))]
    masks = [np.ones(subjects[0].shape, bool), np.zeros(subjects[1].shape, bool)]
    masks[0][:, :5] = False
    masks[1][2:, 2:6] = True
    fit = fit_to(subjects, mask=masks)
    report = fit.report(subjects, mask=masks)
    # Two images of the second have nothing inside.
    assert "12 training images (of 14) from 2 files" in report.html
    assert fit.report([subjects[1][0]]).html.count("<figure>") >= 3


def test_volumes_and_channels():
    volumes = np.stack([blobs(3, (8, 8, 8))] * 2, axis=-1)
    fit = fit_to(volumes, model={"spatial_dims": 3}, batch_size=2)
    assert "3 training images" in fit.report(volumes).html


def test_the_commands_write_the_same(command, fit, images, tmp_path):
    np.save(tmp_path / "a.npy", images)
    small = ["--n_channels", 8, "--n_codes", 8, "--n_epochs", 1, "--n_blocks", 1]
    code, out, err = command("dipy_fit_vqvae", "a.npy", *small)
    assert code == 0, err
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    fit = dv.load(tmp_path / "vqvae.safetensors")
    report = fit.report(dv.open_images("a.npy"))
    assert report.html == written
    assert str(report.verdict) in out


def test_figures_are_those_of_the_page(fit, images):
    usage = fit.usage(images)
    png = draw_usage(usage)
    assert png[:4] == b"\x89PNG" and isinstance(png.figure, Figure)
    # Drawn again by the user they look as in the page, whatever the settings.
    assert png.figure.get_facecolor()[:3] == (1, 1, 1)
    assert to_png(png.figure)[:4] == b"\x89PNG"


@pytest.mark.parametrize("masked", [False, True])
def test_a_report_of_a_prior(fit, images, masked):
    mask = np.zeros((12, 10), bool)
    mask[:8] = True
    mask = mask if masked else None
    codes = fit.encode(images, mask=mask)
    inside = None if mask is None else fit.positions_inside(mask)
    labels = np.arange(24) % 2
    prior = dv.PixelCNNModel(8, n_channels=4, n_layers=1).fit(
        codes, mask=inside, labels=labels, n_epochs=1
    )
    report = prior.report(
        images[:20],
        fit,
        mask=mask,
        labels=labels[:20],
        validation_images=images[20:],
        validation_mask=mask,
        validation_labels=labels[20:],
    )
    assert set(report.figures) == {"samples", "codes", "training"}
    assert "20 grids of 3 × 3 codes" in report.html
    options = {} if mask is None else {"mask": np.broadcast_to(inside, (4, 3, 3))}
    bits = -prior.log_prob(codes[20:], labels=labels[20:], **options) / np.log(2)
    assert f"{bits.mean():.1f}</b><span>bits per image, held-out" in report.html
    assert report.verdict.kind in ("too short", "frequencies", "overfitted")


def test_a_report_of_a_prior_with_covariates_and_lists(images):
    subjects = [images[:9], blobs(5, (8, 12))]
    fit = fit_to(subjects)
    ages = np.linspace(20, 80, 14)
    prior = dv.PixelCNNModel(8, n_channels=4, n_layers=1).fit(
        fit.encode(subjects), covariates={"age": ages}, n_epochs=1
    )
    report = prior.report(subjects, fit, covariates={"age": ages})
    assert "samples by age" in report.figures and "14 grids" in report.html

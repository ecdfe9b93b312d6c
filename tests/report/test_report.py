"""The reports of fits: what is counted, what is drawn, what is said."""

from base64 import b64decode
import csv
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
import os
import re
import subprocess
import sys

from matplotlib import rc_context
import numpy as np
import numpy.testing as npt
from PIL import Image
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae.codes import CodeSet
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.report.atlas import CodeAtlas, code_blocks
from dipy_vqvae.report.html import put_samples, samples_section
from dipy_vqvae.report.pictures import Example, as_picture, enlarge, spread, windows_of
from dipy_vqvae.report.prior import prior_report, shared_codes, spread_over_files
from dipy_vqvae.report.rows import draw_examples, draw_rows, names_of
from dipy_vqvae.report.summary import summarise
from dipy_vqvae.report.view import View
from dipy_vqvae.report.vqvae import rate_table, vqvae_report
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow


class Elements(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.found, self.open, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def assert_self_contained(html):
    """Well-formed, with its pictures in it; returns the pictures and the text."""
    page = Elements(html)
    assert not page.open
    sources = [a["src"] for tag, a in page.found if tag == "img"]
    assert sources
    assert not [a for tag, a in page.found if tag in ("script", "link", "iframe")]
    assert not re.findall(r"https?://", html)
    pictures = []
    for source in sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        pictures.append(Image.open(BytesIO(b64decode(content))))
        # Something is drawn.
        assert len(set(pictures[-1].convert("L").get_flattened_data())) > 3
    return pictures, page.text


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Folder of subjects of two shapes; the first image of one is empty."""
    folder = tmp_path_factory.mktemp("subjects")
    for i, shape in enumerate([(12, 10), (9, 14), (12, 10)]):
        images = blobs(6, shape, seed=i)
        if i == 2:
            images[0] = 0
        np.save(folder / f"sub-{i}.npy", images)
    return folder


@pytest.fixture(scope="module")
def fit():
    return fit_to(
        blobs(16, (12, 10)), validation_images=blobs(4, (12, 10), seed=5), n_epochs=3
    )


# Counting


def test_codes_are_counted_where_they_lie():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, (7, 3, 4))
    inside = rng.random(codes.shape) > 0.3
    for where in (None, inside):
        atlas = CodeAtlas(5, (3, 4))
        atlas.add(codes[:3], None if where is None else where[:3])
        atlas.add(codes[3:], None if where is None else where[3:])
        counted = np.ones(codes.shape, bool) if where is None else where
        expected = [((codes == k) & counted).sum(axis=0) for k in range(5)]
        npt.assert_array_equal(atlas.counts, expected)
        npt.assert_array_equal(
            atlas.histogram, code_usage(codes, 5, mask=where).histogram
        )
        total = np.sum(expected, axis=0)
        npt.assert_allclose(atlas.frequencies().sum(axis=0), total > 0)


def test_places_are_relative():
    """Twice as fine a grid counts at the same places, once at each."""
    codes = np.arange(12).reshape(1, 3, 4)
    coarse, fine = CodeAtlas(12, (3, 4)), CodeAtlas(12, (3, 4))
    coarse.add(codes)
    fine.add(codes.repeat(2, 1).repeat(2, 2))
    npt.assert_array_equal(fine.counts, coarse.counts)
    npt.assert_array_equal(fine.histogram, 4 * coarse.histogram)
    # Nor do grids of other sizes leave positions out, which would show as stripes.
    for shape in ((2, 3), (5, 7), (3, 9)):
        other = CodeAtlas(1, (3, 4))
        other.add(np.zeros((2, *shape), int))
        npt.assert_array_equal(other.counts[0], 2)
    large = CodeAtlas(2, (400, 3))
    large.add(np.zeros((1, 400, 3), int))
    assert large.counts.shape == (2, 64, 3) and large.counts.sum() == 64 * 3
    assert large.histogram.tolist() == [1200, 0]


def test_a_volume_is_seen_from_three_sides():
    codes = np.random.default_rng(0).integers(0, 3, (2, 3, 4, 5))
    atlas = CodeAtlas(3, (3, 4, 5))
    atlas.add(codes)
    for axis in range(3):
        is_code = np.stack([codes == k for k in range(3)])
        expected = is_code.mean(axis=(1, 2 + axis))
        npt.assert_allclose(atlas.frequencies(axis), expected)


def test_what_a_code_looks_like(fit):
    blocks = code_blocks(fit)
    assert blocks.shape == (8, 4, 4)
    image = fit.decode(np.full((1, 3, 3), 5))[0]
    npt.assert_allclose(blocks[5], image[4:8, 4:8], rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
@pytest.mark.parametrize("n_wanted", [0, 1, 3, 8])
def test_some_of_many_are_spread_evenly(n, n_wanted):
    found = spread(n, n_wanted)
    assert len(set(found)) == len(found) == min(n, n_wanted)
    assert all(0 <= i < n for i in found)
    if len(found) > 1:
        gaps = np.diff(found)
        assert gaps.max() - gaps.min() <= 1


def test_the_report_uses_the_images_that_have_a_mask(tmp_path, monkeypatch):
    from dipy_vqvae.report import summary

    mask = np.zeros((8, 12, 10), bool)
    mask[0, 4:8, 4:8] = True
    np.save(tmp_path / "mask.npy", mask)
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", blobs(8, (12, 10), seed=i))
    images = dv.open_images(
        [tmp_path / f"{i}.npy" for i in range(3)],
        mask_files=[tmp_path / "mask.npy"] * 3,
    )
    fit = fit_to(images)
    monkeypatch.setattr(summary, "N_SLICES", 6)
    found = summarise(fit, images, held_out=False)
    assert (found.n_images, found.n_files) == (3, 3)
    # One code and 16 voxels inside each mask.
    assert (found.codes_per_image, found.voxels_per_image) == (1, 16)
    bits_per_voxel = float(rate_table(fit, found).rows[0][3])
    npt.assert_allclose(bits_per_voxel, np.log2(fit.n_codes) / 16, atol=1e-3)
    assert_self_contained(vqvae_report(fit, images, held_out=False).html)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_report_and_table_agree(tmp_path, spatial_dims, masked):
    rng = np.random.default_rng(0)
    masks = []
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", blobs(6, (12, 10), seed=i) // (i + 1))
        mask = rng.random((6, 12, 10)) > 0.3
        mask[2:4] = spatial_dims == 3
        np.save(tmp_path / f"{i}_mask.npy", mask)
        masks.append(str(tmp_path / f"{i}_mask.npy"))
    paths = [str(tmp_path / f"{i}.npy") for i in range(2)]
    masks = masks if masked else None
    images = dv.open_images(paths, mask_files=masks, spatial_dims=spatial_dims)
    model = {"spatial_dims": 3, "scaling": "volume"} if spatial_dims == 3 else {}
    fit = fit_to(images, model=model, batch_size=2)
    fit.save(tmp_path / "vqvae.safetensors")
    flow = ReconstructVQVAEFlow()
    flow.run(
        str(tmp_path / "vqvae.safetensors"),
        paths,
        mask_files=masks,
        out_dir=str(tmp_path / "out"),
    )
    with open(tmp_path / "out" / "metrics.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    summary = summarise(fit, images, held_out=False)
    assert [int(row["n_voxels"]) for row in rows] == [
        int(np.load(path).sum()) if masked else 720 for path in masks or paths
    ]
    assert sum(int(r["n_voxels"]) for r in rows) == round(
        summary.voxels_per_image * summary.n_images
    )
    for name in ("mse", "mae", "psnr", "ssim"):
        value = summary.errors[name]
        mean = np.mean([float(row[name]) for row in rows])
        npt.assert_allclose(value, mean, rtol=1e-4)
    _, text = assert_self_contained(vqvae_report(fit, images, held_out=False).html)
    mean = np.mean([float(row["psnr"]) for row in rows])
    assert f"{mean:.1f} dB" in text


def test_the_rate_counts_channels(tmp_path):
    np.save(tmp_path / "i.npy", blobs(4, (8, 8))[..., None].repeat(3, axis=-1))
    images = dv.open_images(tmp_path / "i.npy")
    summary = summarise(fit_to(images), images, held_out=False)
    assert (summary.bits_per_voxel, summary.voxels_per_image) == (24, 64)


def test_pictures_do_not_depend_on_the_users_settings():
    images = np.random.default_rng(0).random((2, 20, 30))
    examples = [Example("a_b$^", *images)]
    expected = draw_examples(examples)
    settings = {"text.usetex": True, "font.size": 40, "image.origin": "lower"}
    with rc_context(settings):
        assert draw_examples(examples) == expected


def test_the_summary_counts_what_it_shows(fit, subjects, monkeypatch):
    from dipy_vqvae.report import summary

    images = dv.open_images(subjects)
    found = summarise(fit, images, held_out=True)
    assert (found.n_images, found.n_files) == (18, 3)
    # 3 x 3 codes of 12 x 10, and 3 x 4 of 9 x 14.
    npt.assert_allclose(found.codes_per_image, (12 * 9 + 6 * 12) / 18)
    npt.assert_allclose(found.voxels_per_image, (12 * 120 + 6 * 126) / 18)
    assert found.atlas.histogram.sum() == 12 * 9 + 6 * 12
    stacks = [images.read(i) for i in range(3)]
    restored = [fit.predict(stack) for stack in stacks]
    error = [np.abs(s.astype(float) - r).mean() for s, r in zip(stacks, restored)]
    npt.assert_allclose(found.errors["mae"], np.mean(error), rtol=1e-5)
    assert [e.path.stem for e in found.examples] == [
        f"sub-{i}" for i in (0, 0, 0, 1, 1, 1, 2, 2)
    ]
    names = [f"{e.path.stem} {e.name}" for e in found.examples]
    assert names_of(found.examples) == names
    npt.assert_array_equal(
        found.examples[0].original, stacks[0][int(found.examples[0].name)]
    )
    monkeypatch.setattr(summary, "N_SLICES", 6)
    some = summarise(fit, images, held_out=False)
    assert (some.n_images, some.n_all_images) == (6, 18)
    bits = float(rate_table(fit, some).rows[0][1])
    npt.assert_allclose(bits, np.log2(8))


# Pictures


def test_pictures_stand_as_viewers_show_them():
    volume = np.zeros((4, 6, 8))
    volume[3, 5, 4] = 1  # right, front, in the middle slice across z
    picture = as_picture(volume, View(3))
    assert picture.shape == (8, 4 + 4 + 6 + 4)
    across_z = picture[1:7, :4]
    assert across_z[0, 3] == 1 and np.nansum(picture[:, :4]) == 1
    assert np.isnan(picture[0, :4]).all() and np.isnan(picture[:, 4:6]).all()
    slice_ = np.arange(6.0).reshape(2, 3)
    axial = View.of(np.eye(4), 2)
    npt.assert_array_equal(as_picture(slice_, axial), slice_.T[::-1])
    npt.assert_array_equal(as_picture(slice_, View(2)), slice_)
    channels = np.stack([slice_, 3 * slice_], axis=-1)
    npt.assert_array_equal(as_picture(channels, axial), 2 * as_picture(slice_, axial))
    codes = enlarge(np.arange(4).reshape(2, 2), (2, 3), (3, 5))
    npt.assert_array_equal(codes, [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [2, 2, 2, 3, 3]])


def test_examples_of_any_shape_and_value():
    rng = np.random.default_rng(0)
    examples = [
        Example("a", rng.random((20, 30)), rng.random((20, 30))),
        Example("a long name of a subject", np.zeros((30, 10)), np.ones((30, 10))),
        Example("c", np.full((5, 5), 7.0), np.full((5, 5), 7.0)),
    ]
    png = draw_examples(examples)
    with Image.open(BytesIO(png)) as picture:
        assert picture.width < 2100
    (low, high), *others = windows_of(examples)
    assert others == [(low, high)] * 2  # one window for all
    low, high = windows_of(examples[2:])[0]
    assert low < 7 < high
    own = [replace(e, path=e.name, has_own_unit=True) for e in examples]
    windows = windows_of(own)
    assert len(set(windows)) == 3 and windows[2] == (low, high)


# Whole reports


@pytest.mark.parametrize("held_out", [True, False])
def test_the_report_of_slices(fit, subjects, held_out):
    report = vqvae_report(fit, dv.open_images(subjects), held_out=held_out)
    html = report.html
    pictures, text = assert_self_contained(html)
    assert len(pictures) == 4
    kind = "held-out" if held_out else "training"
    assert f"18 {kind} images" in text
    summary = summarise(fit, dv.open_images(subjects), held_out=held_out)
    assert f"{summary.usage.n_used} / 8" in text
    assert f"{summary.errors['ssim']:.4f}" in text
    # The verdict is the first paragraph.
    start = text.index(f"VQ-VAE, {fit.n_codes} codes\n") + 5
    assert report.verdict.text in text[start : text.index("Trained on")]


def test_the_report_of_volumes(tmp_path):
    for i, shape in enumerate([(8, 9, 6), (10, 7, 6)]):
        np.save(tmp_path / f"{i}.npy", blobs(1, shape, seed=i)[0])
    images = dv.open_images(tmp_path, spatial_dims=3)
    model = {"spatial_dims": 3, "downsampling": (4, 4, 2), "scaling": "volume"}
    fit = fit_to(images, model=model, batch_size=2)
    pictures, text = assert_self_contained(
        vqvae_report(fit, images, held_out=False).html
    )
    assert len(pictures) == 4 and "2 training images" in text


def test_the_report_of_masked_channels(tmp_path):
    rng = np.random.default_rng(0)
    np.save(
        tmp_path / "i.npy", blobs(6, (9, 8))[..., None] * np.array([1, 2], np.uint8)
    )
    np.save(tmp_path / "m.npy", rng.random((9, 8)) > 0.4)
    images = dv.open_images(tmp_path / "i.npy", mask_files=tmp_path / "m.npy")
    fit = fit_to(images)
    _, text = assert_self_contained(vqvae_report(fit, images, held_out=False).html)
    assert "6 training images" in text


# The prior's


@pytest.mark.parametrize("labelled", [False, True])
def test_the_report_of_a_prior(fit, subjects, labelled):
    images = dv.open_images([subjects / "sub-0.npy", subjects / "sub-2.npy"])
    codes = fit.encode(images)
    labels = [np.arange(6) % 2] * 2 if labelled else None
    training = CodeSet([f.path for f in images.files], codes, None, labels)
    prior = dv.PixelCNNModel(n_codes=8, n_channels=4, n_layers=1).fit(
        training.joined_codes(), **training.options(), n_epochs=1
    )
    report = prior_report(fit, prior, training)
    html = report.html
    assert report.samples.count("data:image/png") == 1
    assert report.samples.partition("<figure>")[2] in html
    pictures, text = assert_self_contained(html)
    assert len(pictures) == 3
    bits = -training.log_prob(prior).mean() / np.log(2)
    assert f"{bits:.1f}" in text
    assert "No images were held out" in text
    assert report.verdict.text in text
    others, held = training.split([subjects / "sub-2.npy"])
    assert len(others) == len(held) == 6
    html = prior_report(fit, prior, others, held_out=held).html
    assert "Prior, held-out" in html


def test_pictures_of_a_prior_have_one_window_letters_and_masks(
    fit, subjects, monkeypatch
):
    rows = []

    def keep(drawn):
        rows.extend(drawn)
        return draw_rows(drawn)

    monkeypatch.setattr("dipy_vqvae.report.prior.draw_rows", keep)
    images = dv.open_images([subjects / "sub-0.npy", subjects / "sub-2.npy"])
    grids = fit.encode(images)
    inside = np.ones((6, 3, 3), bool)
    inside[:, 0] = False
    training = CodeSet([f.path for f in images.files], grids, [inside] * 2, None)
    prior = dv.PixelCNNModel(n_codes=8, n_channels=4, n_layers=1).fit(
        training.joined_codes(), **training.options(), n_epochs=1
    )
    view = View.of(np.diag([-1.0, 1, 1, 1]), 2)
    prior_report(fit, prior, training, view=view)
    assert [row.title for row in rows] == ["Training image", "Codes", "Sample", "Codes"]
    for row in (rows[0], rows[2]):
        assert len(row.marks) == len(row.pictures)
        assert {mark[-1] for mark in row.marks[0]} == set("LRPA")
    # The first axis goes to the left: what is outside of the mask is white at the right.
    for picture in [picture for row in rows for picture in row.pictures]:
        npt.assert_array_equal(picture[:, -4:], 1)
        assert (picture[:, :-4] < 1).any()
    shown = spread_over_files(training, 8).codes
    values = [as_picture(i, view) for i in fit.decode(np.concatenate(shown)[:8])]
    values = np.array(values)[:, :, :-4].ravel()
    greys = np.array(rows[0].pictures)[:, :, :-4, 0].ravel()
    # The brighter a value, the brighter its grey, over all images.
    assert (np.diff(greys[values.argsort()]) >= 0).all() and len(set(greys)) > 50


def test_samples_are_put_into_the_reports_of_their_model_only(tmp_path):
    ours, other = samples_section("abc"), samples_section("xyz")
    page = "<p>before</p>\r\n{}\n<p>after</p>\n"
    files = {
        "ours.html": page.format(ours).encode(),
        "other.html": page.format(other).encode(),
        "cut.html": page.format(ours).encode()[:60],
        "foreign.html": b"\xff\xfe not text",
        "ours.txt": page.format(ours).encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for content in ("<p>first</p>", "<p>second</p>"):
        done = put_samples(tmp_path, "abc", content)
        assert done == [tmp_path / "ours.html"]
        expected = page.format(samples_section("abc", content)).encode()
        assert (tmp_path / "ours.html").read_bytes() == expected
    for name in set(files) - {"ours.html"}:
        assert (tmp_path / name).read_bytes() == files[name]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)


def test_a_report_that_cannot_be_written_stays(tmp_path, monkeypatch, caplog):
    path = tmp_path / "report.html"
    path.write_text(samples_section("abc"), encoding="utf-8")
    before = path.read_bytes()

    def fail(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", fail)
    assert put_samples(tmp_path, "abc", "<p>new</p>") == []
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert "report.html has been left without samples" in caplog.text


def test_copies_are_found():
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 9, (5, 3, 4)), rng.integers(0, 9, (2, 4, 4))]
    samples = rng.integers(0, 9, (4, 3, 4))
    samples[1] = codes[0][3]
    samples[2] = codes[0][4]
    samples[2, 0, 0] = 9
    found = shared_codes(samples, codes)
    expected = [max((s == c).mean() for c in codes[0]) for s in samples]
    npt.assert_allclose(found, expected)
    assert found[1] == 1 and found[2] == 11 / 12


def test_a_set_of_codes(fit):
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 8, (6, 3, 3)), rng.integers(0, 8, (4, 3, 4))]
    masks = [rng.random(c.shape) > 0.5 for c in codes]
    found = CodeSet(["a", "b"], codes, masks, None)
    assert len(found) == 10
    assert found.describe_grids() == "2 shapes from 3 x 3 to 3 x 4"
    assert len(found.inside()) == sum(m.sum() for m in masks)
    some = spread_over_files(found, 4)
    assert [len(c) for c in some.codes] == [2, 2]
    assert all(
        any(np.array_equal(grid, other) for other in codes[i])
        for i, grids in enumerate(some.codes)
        for grid in grids
    )
    with pytest.raises(ValueError, match="have no image to encode"):
        found.split(["c"])


def test_commands_draw_under_a_backend_that_is_not_installed(fit, subjects, tmp_path):
    fit.save(tmp_path / "vqvae.safetensors")
    command = [
        sys.executable,
        "-c",
        "from dipy_vqvae.workflows.cli import reconstruct_vqvae as run; run()",
        str(tmp_path / "vqvae.safetensors"),
        str(subjects / "sub-0.npy"),
        "--out_dir",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "MPLBACKEND": "module://not_installed.backend"}
    subprocess.run(command, env=environment, check=True, timeout=100)
    assert (tmp_path / "out" / "mosaic.png").exists()

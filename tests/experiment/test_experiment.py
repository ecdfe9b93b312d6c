"""The experiment: its arms on constructed data, and the whole run on a few digits."""

from copy import deepcopy
from html.parser import HTMLParser
import json
import logging
import math

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from small_mnist import SMALL
import torch

from dipy_vqvae import PixelCNNModel, VQVAEFit, VQVAEModel
from dipy_vqvae.experiment import (
    arms,
    data,
    evaluation,
    measures,
    run,
    sampling_layer,
)
from dipy_vqvae.experiment.figures import FIGURES
from dipy_vqvae.experiment.report import CAPTIONS, QUESTIONS, make_report
from dipy_vqvae.experiment.settings import (
    N_TRAIN_RATED,
    OUTPUT_FILES,
    ExperimentSettings,
    derived_seed,
)
from dipy_vqvae.experiment.tables import (
    arms_table,
    priors_table,
    reconstruction_table,
    summary_table,
)
from dipy_vqvae.experiment.training_stages import build_gaussian_vae, n_parameters
from dipy_vqvae.report.pictures import code_colours
from dipy_vqvae.training import TrainingOptions


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("validation")
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    results = run.run_validation(out_dir=out_dir, digits=True, settings=SMALL)
    # Its randomness is its own.
    after = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after
    return results


@pytest.fixture
def numbers(results):
    return deepcopy(results.numbers)


def arm_of(numbers, key):
    return next(arm for arm in numbers["arms"] if arm["key"] == key)


# The whole run


def test_run_writes_everything_and_nothing_else(results):
    assert set(results.files) == set(OUTPUT_FILES)
    folder = results.files["results.json"].parent
    assert {path.name for path in folder.iterdir()} == set(OUTPUT_FILES)
    for name in FIGURES:
        content = results.files[name].read_bytes()
        assert content.startswith(b"\x89PNG")
        # All colours: a palette gives greys bands.
        assert len(content) < 500_000, name


def test_results_json(results):
    def refuse(constant):
        raise AssertionError(constant)

    text = results.files["results.json"].read_text(encoding="utf-8")
    numbers = json.loads(text, parse_constant=refuse)
    assert numbers == results.numbers
    assert [arm["key"] for arm in numbers["arms"]] == list(arms.LABELS)
    assert (numbers["data"]["n_train"], numbers["data"]["n_test"]) == (300, 60)
    assert numbers["seconds"] > 0
    assert numbers["machine"]["n_threads"] >= 1


def test_numbers_agree_with_the_models(results):
    numbers = results.numbers
    images = data.find_data(digits=True).limited(300, 60)
    fit = VQVAEFit.load(results.files["vqvae.safetensors"])
    codes = fit.encode(images.test_images)
    difference = fit.decode(codes) / 255 - images.test_images / 255
    assert_allclose(numbers["reconstruction"]["mse"], np.mean(difference**2), rtol=1e-5)
    assert numbers["codes"]["test"]["n_used"] == len(np.unique(codes))
    bits = -results.models.priors["gated"].log_prob(codes).mean() / math.log(2)
    rate = numbers["priors"]["gated"]["test"]
    assert_allclose(rate["bits_per_image"], bits, rtol=1e-6)
    assert_allclose(rate["nats_per_code"] * 49 / math.log(2), bits, rtol=1e-6)
    # The price that the model was trained with is the codes that it gives.
    curve = {p["price"]: p for p in numbers["rate_distortion"]}
    assert_array_equal(
        sampling_layer.codes_at_price(fit, images.test_images[:30], 1.0), codes[:30]
    )
    assert curve[4.0]["bits_per_image"] < curve[1.0]["bits_per_image"]


def test_claims_of_the_experiment(results):
    numbers = results.numbers
    for kind in ("gated", "plain"):
        assert arm_of(numbers, f"argmax_{kind}")["n_distinct"] == 1
        equal = numbers["canvas"]["equal_codes"][kind]
        for start in ("training image", "random codes", "sampler"):
            assert equal[start] == 1
        assert equal["other seed"] < 1
    assert arm_of(numbers, "uniform")["n_distinct"] == SMALL.n_images
    assert arm_of(numbers, "test")["frechet"] == pytest.approx(0, abs=1e-6)
    assert arm_of(numbers, "test")["n_images"] == 60
    draws = {(d["favour"], d["tau"]): d for d in numbers["sampling_layer"]["draws"]}
    exact = draws["nearest", 0.0]
    assert (exact["equal_codes"], exact["nearest_codes"]) == (1, 1)
    assert (
        draws["nearest", 0.01]["nearest_codes"] > draws["nearest", 1.0]["nearest_codes"]
    )
    assert draws["farthest", 0.01]["mse"] > 2 * exact["mse"]


class Collector(HTMLParser):
    """Notes what a page says and refers to, and whether its elements are closed."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self):
        super().__init__()
        self.references = []
        self.text = []
        self.open = []

    def handle_starttag(self, tag, attrs):
        self.references += [v for k, v in attrs if k in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_data(self, text):
        self.text.append(text)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_report_is_self_contained(results):
    path = results.files["report.html"]
    assert path.stat().st_size < 5_000_000
    text = path.read_text(encoding="utf-8")
    page = Collector()
    page.feed(text)
    assert not page.open
    assert len(page.references) == len(FIGURES)
    assert all(r.startswith("data:image/png;base64,") for r in page.references)
    for outside in ("http:", "https:", "url(", "@import", "<script"):
        assert outside not in text
    words = " ".join(page.text)
    assert "None" not in words
    assert "nan" not in words.lower().split()


def test_digits_are_never_called_mnist(results):
    report = results.files["report.html"].read_text(encoding="utf-8")
    assert "not on MNIST" in report
    assert "<h1>VQ-VAE and PixelCNN on scikit-learn's digits" in report.replace(
        "&#x27;", "'"
    )
    markdown = results.files["results.md"].read_text(encoding="utf-8")
    assert "digits of scikit-learn, not MNIST" in markdown
    # Figures of MNIST have no place beside these.
    assert "Keras" not in markdown
    assert "Keras" not in report


def test_unfinished_run_continues(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    trained = []

    def stop(_data, models, *_args, **_options):
        trained.append(models)
        raise Stop

    monkeypatch.setattr(run, "_evaluate", stop)
    arguments = {"out_dir": tmp_path, "digits": True, "settings": SMALL}
    for _ in range(2):
        with pytest.raises(Stop):
            run.run_validation(**arguments)
    first, second = trained
    # No step was taken again: the times are those of the first run.
    assert second.vqvae.history.seconds == first.vqvae.history.seconds
    assert_array_equal(second.vqvae.codebook, first.vqvae.codebook)
    with pytest.raises(ValueError, match="unfinished run with other settings"):
        run.run_validation(**arguments, random_seed=1)


# Data


def test_fallback_says_so(monkeypatch, caplog):
    def unreachable(verbose):
        raise OSError("MNIST cannot be fetched: no network")

    monkeypatch.setattr(data, "fetch_mnist", unreachable)
    with caplog.at_level(logging.WARNING, logger="dipy_vqvae"):
        images = data.find_data()
    assert images.name == "digits"
    assert "no network" in caplog.text
    assert "in place of MNIST" in caplog.text


def test_given_folder_must_hold_mnist(tmp_path):
    with pytest.raises(OSError, match="MNIST"):
        data.find_data(mnist_dir=tmp_path)


@pytest.mark.parametrize("name", ["default", "thorough", "quick", "digits"])
def test_settings_go_through_json_and_are_accepted(name):
    settings = getattr(ExperimentSettings, name)()
    assert json.loads(json.dumps(settings.to_dict()))["name"] == settings.name == name
    assert settings.shown_tau in settings.taus
    VQVAEModel(**settings.vqvae)
    for kind in ("gated", "plain"):
        PixelCNNModel(8, kind=kind, **getattr(settings, f"{kind}_prior"))
    TrainingOptions(**settings.gaussian_fit)


def test_derived_seeds_differ():
    seeds = {derived_seed(seed, name) for seed in (0, 1) for name in ("a", "b", "c")}
    assert len(seeds) == 6
    assert derived_seed(0, "a") == derived_seed(0, "a")


# Sampling layer


@pytest.fixture
def vectors_and_codebook():
    rng = np.random.default_rng(0)
    codebook = rng.standard_normal((6, 3)).astype(np.float32)
    return rng.standard_normal((40, 2, 5, 3)).astype(np.float32), codebook


def brute_distances(vectors, codebook):
    return ((vectors[..., None, :].astype(float) - codebook) ** 2).sum(-1)


@pytest.mark.parametrize("tau", [0.0, 1e-6])
def test_cold_layer_takes_the_favoured_code(vectors_and_codebook, tau):
    vectors, codebook = vectors_and_codebook
    d2 = brute_distances(vectors, codebook)
    for favour, expected in (("nearest", d2.argmin(-1)), ("farthest", d2.argmax(-1))):
        drawn = sampling_layer.sampling_layer(vectors, codebook, tau=tau, favour=favour)
        assert_array_equal(drawn.first, expected)
        assert drawn.equal == 1
        assert drawn.expected_equal == pytest.approx(1, abs=1e-4)


def test_layer_draws_from_the_softmax_of_distances():
    codebook = np.array([[0.0], [1.0], [3.0]], np.float32)
    vectors = np.full((20_000, 1, 1), 0.25, np.float32)
    tau = 2.0
    drawn = sampling_layer.sampling_layer(vectors, codebook, tau=tau)
    p = np.exp(-((0.25 - codebook[:, 0]) ** 2) / tau)
    p /= p.sum()
    for codes in (drawn.first, drawn.second):
        share = np.bincount(codes.ravel(), minlength=3) / codes.size
        assert_allclose(share, p, atol=0.015)
    assert drawn.expected_equal == pytest.approx((p**2).sum(), rel=1e-5)
    # The two draws are independent.
    assert drawn.equal == pytest.approx((p**2).sum(), abs=0.015)


def test_layer_draws_of_an_image_do_not_depend_on_the_number(vectors_and_codebook):
    vectors, codebook = vectors_and_codebook
    few, many = (
        sampling_layer.sampling_layer(v, codebook, tau=1.0, random_seed=3)
        for v in (vectors[:7], vectors)
    )
    assert_array_equal(few.second, many.second[:7])


def test_layer_refuses_nonsense(vectors_and_codebook):
    with pytest.raises(ValueError, match="tau=-1"):
        sampling_layer.sampling_layer(*vectors_and_codebook, tau=-1)
    with pytest.raises(ValueError, match="favour='far'"):
        sampling_layer.sampling_layer(*vectors_and_codebook, tau=1, favour="far")


def test_mean_distances(vectors_and_codebook):
    vectors, codebook = vectors_and_codebook
    d2 = brute_distances(vectors, codebook)
    distances = sampling_layer.mean_distances(vectors, codebook)
    assert distances["nearest"] == pytest.approx(d2.min(-1).mean(), rel=1e-4)
    assert distances["average"] == pytest.approx(d2.mean(), rel=1e-4)
    assert distances["farthest"] == pytest.approx(d2.max(-1).mean(), rel=1e-4)


# Arms without a prior


def test_marginal_codes_follow_the_frequencies():
    rng = np.random.default_rng(0)
    codes = rng.choice(3, p=(0.7, 0.2, 0.1), size=(500, 2, 2)).astype(np.int32)
    codes[:, 0, 0] = 2
    drawn = arms.marginal_codes(codes, 4000, random_seed=0)
    share = np.bincount(codes.ravel()) / codes.size
    assert_allclose(np.bincount(drawn.ravel()) / drawn.size, share, atol=0.02)
    by_position = arms.position_marginal_codes(codes, 4000, random_seed=0)
    assert by_position.shape == (4000, 2, 2)
    assert (by_position[:, 0, 0] == 2).all()
    there = np.bincount(by_position[:, 1, 1], minlength=3) / 4000
    assert_allclose(there, np.bincount(codes[:, 1, 1]) / 500, atol=0.03)


def test_uniform_codes():
    drawn = arms.uniform_codes(1000, grid=(3, 3), n_codes=4, random_seed=0)
    assert drawn.shape == (1000, 3, 3)
    assert_allclose(
        np.bincount(drawn.ravel()) / drawn.size, np.full(4, 0.25), atol=0.02
    )


# Measures


def test_independent_bits():
    n = 4000
    rng = np.random.default_rng(0)
    codes = rng.integers(4, size=(n, 1, 2))
    codes[:, 0, 1] = 3  # known at its position, and frequent everywhere
    bits = measures.independent_bits(codes, codes, 4)
    assert bits["uniform"] == 4
    p = np.array([1, 1, 1, 5]) / 8
    expected = -0.25 * np.log2(p).sum() - np.log2(p[3])
    assert bits["unigram"] == pytest.approx(expected, rel=0.02)
    assert bits["position_unigram"] == pytest.approx(2, abs=0.01)


def test_frequencies_are_never_zero():
    p = measures.frequencies(np.array([[0, 0, 1]]), 3)
    assert_allclose(p, np.array([2.5, 1.5, 0.5]) / 4.5)


def test_reconstruction_quality():
    images = np.random.default_rng(0).random((5, 28, 28))
    quality = measures.reconstruction_quality(images, images + 0.1, variance=0.05)
    assert quality["mse"] == pytest.approx(0.01)
    assert quality["mse_over_variance"] == pytest.approx(0.2)
    assert quality["psnr"] == pytest.approx(20)
    assert 0 < quality["ssim"] < 1


def test_copies_are_found():
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (50, 28, 28), dtype=np.uint8)
    samples = data.unit(training[[7, 3]])
    nearest = measures.neighbour_distances(samples, training)
    assert_array_equal(nearest.index, [7, 3])
    assert_allclose(nearest.distance, 0, atol=1e-5)
    codes = rng.integers(5, size=(50, 2, 2))
    others = np.full((2, 2, 2), 9)
    assert measures.share_of_copies(np.concatenate([codes[:2], others]), codes) == 0.5


def test_ruler():
    digits = data.find_data(digits=True)
    images = data.unit(digits.test_images[:100])
    ruler = measures.Ruler(images)
    assert ruler.accuracy(images, digits.test_labels[:100]) > 0.7
    same = ruler.measure(arms.Arm("test", images))
    assert same["frechet"] == pytest.approx(0, abs=1e-6)
    assert sum(same["class_histogram"]) == same["n_images"] == 100
    repeated = ruler.measure(arms.Arm("plain", np.repeat(images[:1], 9, 0)))
    assert (repeated["n_distinct"], repeated["class_perplexity"]) == (1, 1)
    assert repeated["mean_pairwise_distance"] == 0
    assert repeated["frechet"] > 10
    single = ruler.measure(arms.Arm("plain", images[:1]))
    assert single["frechet"] is None
    # Outputs are told apart by their codes where they have any.
    codes = np.arange(9).reshape(9, 1, 1)
    by_codes = ruler.measure(arms.Arm("plain", np.repeat(images[:1], 9, 0), codes))
    assert by_codes["n_distinct"] == 9


def test_plain_numbers():
    nested = {"a": [np.float64("inf"), np.bool_(True)], 1: {"b": np.arange(2)}}
    assert measures.plain_numbers(nested) == {"a": [None, True], "1": {"b": [0, 1]}}


# Gaussian VAE


def test_gaussian_vae_has_the_networks_of_the_vqvae(results):
    fit = results.models.vqvae
    vae = build_gaussian_vae(fit.config, random_seed=0)
    shapes = [
        [tuple(p.shape) for p in part.parameters()]
        for part in (fit.net.encoder, vae.encoder, fit.net.decoder, vae.decoder)
    ]
    assert shapes[0][:-2] == shapes[1][:-2]
    assert shapes[1][-2][0] == 2 * shapes[0][-2][0]
    assert shapes[2] == shapes[3]
    assert vae.latent_shape == (4, 7, 7)


def test_parameters_include_the_codebook(results):
    net = results.models.vqvae.net
    assert n_parameters(net.quantiser) == 0
    parts = (net.encoder, net.decoder, net.rate)
    expected = sum(p.numel() for part in parts for p in part.parameters())
    assert n_parameters(net) == expected + 12 * 4


# Words and tables


def test_every_question_has_what_answers_it():
    assert [question.number for question in QUESTIONS] == [1, 2, 3, 4, 5, 6]
    assert all(question.tables for question in QUESTIONS)
    shown = [name for question in QUESTIONS for name in question.figures]
    assert sorted([*shown, "arms.png", "training.png"]) == sorted(FIGURES)
    assert CAPTIONS.keys() == FIGURES.keys()


def test_the_report_has_the_numbers_of_every_question(numbers):
    arm_of(numbers, "gated")["frechet"] = 1234.5
    arm_of(numbers, "argmax_plain")["n_distinct"] = 77
    numbers["canvas"]["equal_codes"]["plain"]["random codes"] = 0.4321
    numbers["gaussian_vae"]["n_active"] = 543
    numbers["sampling_layer"]["model_codes_nearest"] = 0.678
    numbers["memorisation"]["samples"]["median"] = 87.65
    figures = dict.fromkeys(FIGURES, b"\x89PNG" + bytes(20))
    sections = make_report(numbers, figures).split('<span class="n">')
    for text, question in (
        ("<td>1,234.5</td>", 3),
        ("<td>77</td>", 4),
        ("<td>43.21%</td>", 5),
        ("<td>87.65</td>", 5),
        ("<td>543</td>", 6),
        ("that the model chooses: 67.8%", 2),
        (f"<td>{numbers['reconstruction']['psnr']:.2f}</td>", 1),
    ):
        assert text in sections[question]


@pytest.mark.parametrize(("n_train", "n_rated"), [(60_000, N_TRAIN_RATED), (300, 300)])
def test_notes_name_the_images_that_were_measured(numbers, n_train, n_rated):
    numbers["data"]["n_train"] = n_train
    for make in (priors_table, reconstruction_table):
        assert f"the first {n_rated:,} training images" in make(numbers).note


def test_training_images_are_rated_up_to_the_limit(results, monkeypatch):
    monkeypatch.setattr(evaluation, "N_TRAIN_RATED", 7)
    images = data.find_data(digits=True).limited(300, 60)
    part = evaluation.Evaluation(images, results.models, SMALL, random_seed=0)
    bits = part.priors()["priors"]["gated"]["train"]["bits_per_image"]
    codes = results.models.train_codes[:7]
    expected = measures.rate(results.models.priors["gated"], codes)["bits_per_image"]
    assert bits == expected


def test_mnist_is_compared_with_the_original(numbers):
    numbers["data"]["name"] = "mnist"
    table = summary_table(numbers).to_markdown()
    assert "0.00428" in table
    assert "110.4 (other features)" in table
    assert "1 of 10" in table


def test_tables_are_rectangular(numbers):
    tables = [table for question in QUESTIONS for table in question.tables]
    for make in (*tables, arms_table, summary_table):
        table = make(numbers)
        assert table.rows
        assert all(len(row) == len(table.header) for row in table.rows)
        lines = table.to_markdown().split("\n\n")[0].strip().split("\n")
        assert len({line.count("|") for line in lines}) == 1


# Figures


def test_code_colours_tell_codes_apart():
    codebook = np.random.default_rng(0).standard_normal((128, 16))
    colours = code_colours(codebook)
    assert colours.shape == (128, 3)
    assert (colours >= 0).all()
    assert (colours <= 1).all()
    assert len(np.unique(colours, axis=0)) == 128
    assert code_colours(codebook[:, :1]).shape == (128, 3)

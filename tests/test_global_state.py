"""No call leaves a trace in what belongs to the caller: random states and the like."""

from contextlib import suppress
import inspect
import logging
import os
import random
import signal
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch

import dipy_vqvae as dv
from dipy_vqvae import metrics
from dipy_vqvae.data import pad_to, read_image
from dipy_vqvae.experiment.data import load_digits
from dipy_vqvae.metrics import populations
from dipy_vqvae.report import mosaic

TINY = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1}
CLASSES = (
    *(dv.VQVAEModel, dv.VQVAEFit, dv.PixelCNNModel, dv.PixelCNNFit),
    *(dv.AnomalyModel, dv.AnomalyFit),
)


def global_state():
    """All that a library could change behind its user's back."""
    return {
        "random": random.getstate(),
        "numpy": repr(np.random.get_state(legacy=True)),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": (
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.allow_tf32,
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
        ),
        "errors": np.geterr(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        "loggers": [
            (log.level, log.handlers[:], log.propagate)
            for log in map(logging.getLogger, ("", "dipy", "dipy_vqvae"))
        ],
    }


class Things:
    """What the calls are made with."""

    def __init__(self, folder):
        rng = np.random.default_rng(0)
        self.folder = folder
        self.images = rng.integers(0, 255, (24, 8, 9), np.uint8)
        self.mask = rng.random((24, 8, 9)) < 0.8
        self.labels = np.arange(24) % 3
        self.fit = dv.VQVAEModel(**TINY).fit(self.images, n_epochs=1)
        self.codes = self.fit.encode(self.images)
        model = dv.PixelCNNModel(6, n_channels=4, n_layers=1)
        self.prior = model.fit(self.codes, n_epochs=1)
        self.fit.save(folder / "vqvae")
        self.prior.save(folder / "prior")
        self.model = dv.AnomalyModel(self.fit, self.prior, n_restorations=2)
        self.others = 255 - self.images[:8]
        self.detector = self.model.fit(self.others)
        self.detector.save(folder / "anomaly")
        volume = rng.normal(size=(8, 9, 4)).astype(np.float32)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / "v.nii.gz")

    def fit_vqvae(self, **options):
        model = dv.VQVAEModel(**TINY, **options, random_seed=3)
        model.fit(
            self.images,
            mask=self.mask,
            validation_images=self.images[:5],
            n_epochs=2,
            n_decoder_epochs=1,
            patience=1,
            checkpoint=self.folder / f"{len(options)}.ckpt",
        )

    def fit_prior(self, **options):
        model = dv.PixelCNNModel(6, n_channels=4, n_layers=1, dropout=0.2, **options)
        model.fit(
            self.codes,
            labels=self.labels,
            validation_codes=self.codes[:4],
            validation_labels=self.labels[:4],
            n_epochs=1,
            average_decay=0.9,
        )

    def fail_to_fit(self):
        with suppress(ValueError):
            dv.VQVAEModel(**TINY).fit(
                self.images, learning_rate=1e30, batch_size=4, n_epochs=3
            )

    def complete(self):
        keep = np.zeros(self.codes.shape[1:], bool)
        keep[:1] = True
        self.prior.sample(3, codes=self.codes[:3], keep=keep, random_seed=5)


CALLS = {
    "VQVAEModel": lambda t: dv.VQVAEModel(),
    "VQVAEModel.settings": lambda t: dv.VQVAEModel().settings(),
    "VQVAEModel.checked": lambda t: dv.VQVAEModel().checked(),
    "VQVAEModel.of_consequence": lambda t: dv.VQVAEModel().of_consequence(),
    "VQVAEModel.replace": lambda t: dv.VQVAEModel().replace(n_codes=4),
    "VQVAEModel.fit": lambda t: t.fit_vqvae(),
    "VQVAEModel.fit, gradient": lambda t: t.fit_vqvae(codebook="gradient"),
    "VQVAEModel.fit, price": lambda t: t.fit_vqvae(
        rate_weight=0.02, mixed_precision=True
    ),
    "VQVAEModel.fit, diverging": lambda t: t.fail_to_fit(),
    "VQVAEModel.load_model_weights": lambda t: dv.VQVAEModel().load_model_weights(
        t.folder / "vqvae"
    ),
    "VQVAEModel.fetch_default_weights": lambda t: (
        dv.VQVAEModel().fetch_default_weights()
    ),
    "VQVAEFit.load": lambda t: dv.VQVAEFit.load(t.folder / "vqvae"),
    "VQVAEFit.save": lambda t: t.fit.save(t.folder / "again"),
    "VQVAEFit.to_content": lambda t: t.fit.to_content(),
    "VQVAEFit.from_content": lambda t: dv.VQVAEFit.from_content(
        **t.fit.to_content(), path="file"
    ),
    "VQVAEFit.encode": lambda t: t.fit.encode(t.images, mask=t.mask),
    "VQVAEFit.opened": lambda t: t.fit.opened(t.images, mask=t.mask),
    "VQVAEFit.latents": lambda t: t.fit.latents(t.images, mask=t.mask),
    "VQVAEFit.decode": lambda t: t.fit.decode(t.codes),
    "VQVAEFit.predict": lambda t: t.fit.predict(t.images),
    "VQVAEFit.usage": lambda t: t.fit.usage(t.images),
    "VQVAEFit.report": lambda t: t.fit.report(t.images, mask=t.mask),
    "VQVAEFit.scaling_of": lambda t: t.fit.scaling_of(t.images),
    "VQVAEFit.positions_inside": lambda t: t.fit.positions_inside(t.mask),
    "PixelCNNModel": lambda t: dv.PixelCNNModel(),
    "PixelCNNModel.settings": lambda t: dv.PixelCNNModel().settings(),
    "PixelCNNModel.checked": lambda t: dv.PixelCNNModel().checked(),
    "PixelCNNModel.of_consequence": lambda t: dv.PixelCNNModel().of_consequence(),
    "PixelCNNModel.replace": lambda t: dv.PixelCNNModel().replace(n_codes=4),
    "PixelCNNModel.fit": lambda t: t.fit_prior(),
    "PixelCNNModel.fit, plain": lambda t: t.fit_prior(kind="plain"),
    "PixelCNNModel.load_model_weights": lambda t: dv.PixelCNNModel().load_model_weights(
        t.folder / "prior"
    ),
    "PixelCNNModel.fetch_default_weights": lambda t: (
        dv.PixelCNNModel().fetch_default_weights()
    ),
    "PixelCNNFit.load": lambda t: dv.PixelCNNFit.load(t.folder / "prior"),
    "PixelCNNFit.save": lambda t: t.prior.save(t.folder / "again"),
    "PixelCNNFit.to_content": lambda t: t.prior.to_content(),
    "PixelCNNFit.from_content": lambda t: dv.PixelCNNFit.from_content(
        **t.prior.to_content(), path="file"
    ),
    "PixelCNNFit.log_prob": lambda t: t.prior.log_prob(t.codes),
    "PixelCNNFit.predict": lambda t: t.prior.predict(t.codes),
    "PixelCNNFit.surprisal": lambda t: t.prior.surprisal(t.codes).z,
    "PixelCNNFit.quantise": lambda t: t.prior.quantise(
        t.fit.latents(t.images), t.fit.codebook, price=0.1
    ),
    "PixelCNNFit.compress": lambda t: t.prior.compress(t.codes),
    "PixelCNNFit.decompress": lambda t: t.prior.decompress(t.prior.compress(t.codes)),
    "PixelCNNFit.draw_components": lambda t: t.prior.draw_components(5),
    "PixelCNNFit.report": lambda t: t.prior.report(t.images, t.fit),
    "PixelCNNFit.sample": lambda t: t.prior.sample(5, random_seed=2),
    "PixelCNNFit.sample, kept": lambda t: t.complete(),
    "load": lambda t: dv.load(t.folder / "prior"),
    "AnomalyModel": lambda t: dv.AnomalyModel(t.fit, t.prior),
    "AnomalyModel.fit": lambda t: t.model.fit(t.others),
    "AnomalyFit.load": lambda t: dv.AnomalyFit.load(t.folder / "anomaly"),
    "AnomalyFit.save": lambda t: t.detector.save(t.folder / "again"),
    "AnomalyFit.scored": lambda t: list(t.detector.scored(t.images[:3])),
    "AnomalyFit.scores": lambda t: t.detector.scores(t.images[:3]),
    "AnomalyFit.scores_of": lambda t: t.detector.scores_of(
        scored.summary for scored in t.detector.scored(t.images[:2])
    ),
    "AnomalyFit.score_of": lambda t: t.detector.score_of(
        t.detector.maker.maps(next(iter(t.detector._subjects(t.images[:2]))))
    ),
    "AnomalyFit.score_map": lambda t: t.detector.score_map(t.images[:3]),
    "AnomalyFit.p_map": lambda t: t.detector.p_map(t.images[:3]),
    "AnomalyFit.lesions": lambda t: t.detector.lesions(t.images[:3], alpha=0.2),
    "AnomalyFit.selection": lambda t: t.detector.selection(0.2, "fdr"),
    "AnomalyFit.restore": lambda t: t.detector.restore(t.images[:3]),
    "AnomalyFit.log10p_of": lambda t: [
        t.detector.log10p_of(scored) for scored in t.detector.scored(t.images[:2])
    ],
    "compress_images": lambda t: dv.compress_images(t.fit, t.prior, t.images),
    "decompress_images": lambda t: dv.decompress_images(
        t.fit, t.prior, dv.compress_images(t.fit, t.prior, t.images)
    ),
    "load_images": lambda t: dv.load_images([t.folder / "v.nii.gz"], skip_empty=True),
    "open_images": lambda t: dv.open_images([t.folder / "v.nii.gz"]),
    "metrics": lambda t: metrics.ssim(t.images, t.images + 1.0, data_range=255),
    "populations": lambda t: populations.mean_pairwise_distance(t.images),
    "mosaic": lambda t: mosaic.save_mosaic(t.folder / "m.png", t.images),
    "digits": lambda t: load_digits(),
    "images": lambda t: pad_to(
        read_image(t.folder / "v.nii.gz").data[None], (8, 12, 4)
    ),
}


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    # What importing it does to the environment is its own affair.
    import sklearn.datasets  # noqa: F401

    return Things(tmp_path_factory.mktemp("things"))


@pytest.mark.parametrize("name", CALLS)
def test_no_call_changes_what_is_not_its_own(things, name):
    before = global_state()
    CALLS[name](things)
    after = global_state()
    assert [key for key in before if before[key] != after[key]] == []


@pytest.mark.parametrize("function", [dv.fetch_mnist, dv.load_mnist])
def test_mnist_that_is_not_there(tmp_path, monkeypatch, function):
    monkeypatch.setenv("DIPY_HOME", str(tmp_path))
    options = {"mirrors": []} if function is dv.fetch_mnist else {"folder": tmp_path}
    before = global_state()
    with suppress(OSError, ValueError):
        function(**options)
    assert before == global_state()


def test_all_public_calls_are_there():
    public = {
        f"{cls.__name__}.{name}"
        for cls in CLASSES
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") and inspect.isroutine(member)
    }
    functions = {
        *("compress_images", "decompress_images"),
        *("load", "load_images", "open_images"),
    }
    assert public | functions <= {name.split(",")[0] for name in CALLS}


def test_a_change_would_be_found():
    before = global_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        assert global_state()["torch"] != before["torch"]
    state = np.random.get_state()
    np.random.random()
    assert global_state()["numpy"] != before["numpy"]
    np.random.set_state(state)
    assert global_state() == before


def test_all_randomness_has_a_seed(things):
    """The caller's seeds matter to nothing: two of them give one result."""
    results = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fit = dv.VQVAEModel(**TINY).fit(things.images, n_epochs=1)
            prior = dv.PixelCNNModel(6, n_channels=4, n_layers=1, dropout=0.3)
            prior = prior.fit(things.codes, n_epochs=1)
            results.append((fit.encode(things.images), prior.sample(9)))
    for first, second in zip(*results):
        np.testing.assert_array_equal(first, second)

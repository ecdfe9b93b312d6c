"""What a program has set for all of its process changes no result, nor do its threads."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
import threading
import warnings

import numpy as np
import numpy.testing as npt
import pytest
import torch
from toy_vqvae import blobs

import dipy_vqvae as dv

IMAGES = blobs(24, (9, 10))
MASK = np.indices((9, 10)).sum(0) > 3
VQVAE = {"n_codes": 8, "code_dim": 4, "n_channels": 8, "n_blocks": 1}
PRIOR = {"n_codes": 8, "n_channels": 8, "n_layers": 1}
TRAINING = {"n_epochs": 2, "batch_size": 8}


def fit_vqvae(**model):
    model = {**VQVAE, "revive_below": 0.5, "n_refinements": 1, **model}
    return dv.VQVAEModel(**model).fit(
        IMAGES,
        mask=MASK,
        validation_images=IMAGES[:4],
        n_decoder_epochs=1,
        **TRAINING,
    )


def fit_prior(kind, codes):
    model = dv.PixelCNNModel(**PRIOR, kind=kind, dropout=0.3)
    return model.fit(codes, labels=np.arange(24) % 3, validation_codes=codes[:3],
                     validation_labels=np.zeros(3, int), average_decay=0.9, **TRAINING)  # fmt: skip


def everything(folder):
    """Results of all that computes."""
    fits = [fit_vqvae(), fit_vqvae(codebook="gradient", rate_weight=0.05)]
    fits.append(
        dv.VQVAEModel(**VQVAE, spatial_dims=3).fit(
            IMAGES[:, :8, :8].reshape(3, 8, 8, 8), patch_shape=6, n_epochs=2
        )
    )
    codes = fits[0].encode(IMAGES)
    priors = [fit_prior(kind, codes) for kind in ("gated", "plain")]
    results = {}
    for i, fit in enumerate([*fits, *priors]):
        fit.save(folder / f"{i}.safetensors")
        fit = type(fit).load(folder / f"{i}.safetensors")
        results |= {f"{i} {name}": array for name, array in fit._arrays().items()}
        results[f"{i} loss"] = fit.history["loss"]
        if i < 2:
            results[f"{i} codes"] = fit.encode(IMAGES, mask=MASK)
            results[f"{i} restored"] = fit.predict(IMAGES)
            results[f"{i} perplexity"] = fit.usage(IMAGES).perplexity
        elif i > 2:
            labels = np.arange(24) % 3
            results[f"{i} nats"] = fit.log_prob(codes, labels=labels)
            results[f"{i} p"] = fit.predict(codes, labels=labels)
            results[f"{i} sample"] = fit.sample(3, labels=1)
    return results


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("expected"))


@contextmanager
def default(setter, value, before):
    setter(value)
    try:
        yield
    finally:
        setter(before)


@contextmanager
def errors_of_numpy():
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@contextmanager
def a_thread_that_draws():
    """Another thread that seeds and draws from torch's and NumPy's generators."""
    is_over = threading.Event()

    def draw():
        while not is_over.is_set():
            torch.manual_seed(7)
            np.random.seed(7)
            torch.rand(1000), np.random.random(1000)
            is_over.wait(1e-4)

    with torch.random.fork_rng(devices=[]):
        thread = threading.Thread(target=draw)
        thread.start()
        yield
        is_over.set()
        thread.join()


SETTINGS = {
    "bfloat16": lambda: default(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "float64": lambda: default(torch.set_default_dtype, torch.float64, torch.float32),
    "device": lambda: default(torch.set_default_device, "meta", None),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic": lambda: default(torch.use_deterministic_algorithms, True, False),
    "errors": errors_of_numpy,
    "a thread that draws": a_thread_that_draws,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_process(expected, tmp_path, name):
    with SETTINGS[name]():
        found = everything(tmp_path)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        npt.assert_array_equal(found[key], value, err_msg=key)


def test_threads_train_as_one_does():
    """Trainings side by side give what each gives alone, and leave torch as it was."""
    codes = np.random.default_rng(0).integers(8, size=(24, 3, 3))
    jobs = [
        fit_vqvae,
        lambda: fit_prior("gated", codes),
        lambda: fit_vqvae(codebook="gradient", random_seed=1),
        lambda: fit_prior("plain", codes),
    ]
    alone = [job() for job in jobs]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    with ThreadPoolExecutor(3) as pool:
        together = [f.result() for f in [pool.submit(job) for job in jobs * 3]]
    for i, fit in enumerate(together):
        assert fit.history == alone[i % 4].history
        for name, array in alone[i % 4]._arrays().items():
            npt.assert_array_equal(fit._arrays()[name], array, err_msg=name)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.random.get_state()[1].tolist() == numpy_state

"""Codes in use and their perplexity, epoch by epoch, without held-out images."""

import json
import logging

import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import SETTINGS, blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.vqvae.task import VQVAETask


@pytest.fixture
def chosen(monkeypatch):
    """Codes of all steps, in order."""
    codes, loss = [], VQVAETask.loss

    def recorded(self, *args):
        quantise = self.module.quantiser.forward

        def forward(vectors, *, codes=None, inside=None, **options):
            kept.append((codes if inside is None else codes[inside]).numpy().copy())
            return quantise(vectors, codes=codes, inside=inside, **options)

        kept = codes
        self.module.quantiser.forward = forward
        try:
            return loss(self, *args)
        finally:
            del self.module.quantiser.forward

    monkeypatch.setattr(VQVAETask, "loss", recorded)
    return codes


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("masked", [False, True])
def test_counts_are_those_of_the_codes_of_an_epoch(chosen, codebook, masked):
    images = blobs(20, (12, 10))
    mask = np.zeros((12, 10), bool)
    mask[:6] = True
    fit = fit_to(
        images,
        mask=mask if masked else None,
        model={"codebook": codebook},
        n_epochs=2.5,
        batch_size=8,
    )
    # Three steps an epoch, and a part of the third.
    epochs = [chosen[:3], chosen[3:6], chosen[6:]]
    expected = [code_usage(np.concatenate(codes), 8) for codes in epochs if codes]
    assert len(expected) == len(fit.history.epochs) == 3
    assert fit.history["n_used"] == [usage.n_used for usage in expected]
    npt.assert_allclose(fit.history["perplexity"], [u.perplexity for u in expected])


def test_a_resumed_training_counts_on(tmp_path):
    images = blobs(20, (12, 10))
    options = {"n_epochs": 3, "checkpoint_steps": 1}
    expected = fit_to(images, **options).history

    class Stop(Exception):
        pass

    original, n_steps = VQVAETask.loss, 0

    def stop(self, *args):
        nonlocal n_steps
        n_steps += 1
        if n_steps == 5:  # in the middle of the second epoch
            raise Stop
        return original(self, *args)

    VQVAETask.loss = stop
    try:
        with pytest.raises(Stop):
            fit_to(images, checkpoint=tmp_path / "c", **options)
    finally:
        VQVAETask.loss = original
    assert fit_to(images, checkpoint=tmp_path / "c", **options).history == expected


def test_the_decoder_alone_has_no_codes_to_count():
    fit = fit_to(blobs(20, (12, 10)), n_epochs=2, n_decoder_epochs=1)
    assert fit.history["n_used"][-1] is None and fit.history["n_used"][0] > 0


def test_a_collapse_is_seen_while_it_happens(caplog, capsys):
    images = np.zeros((16, 8, 8), np.uint8)
    images[:, ::2] = 255
    with caplog.at_level(logging.INFO, logger="dipy_vqvae"):
        fit = dv.VQVAEModel(**SETTINGS).fit(images, n_epochs=1, verbose=True)
    used, perplexity = fit.history["n_used"][0], fit.history["perplexity"][0]
    # Most blocks are alike.
    assert 1 <= perplexity <= used < 8
    assert f"codes used {used:.4g}, perplexity {perplexity:.4g}" in caplog.text
    assert "codes used" in capsys.readouterr().err


def test_files_hold_no_counts(tmp_path):
    fit = fit_to(blobs(12, (8, 8)))
    fit.save(tmp_path / "fit")
    again = dv.load(tmp_path / "fit")
    assert again.net.quantiser.usage is None
    assert again.history == fit.history


def test_a_history_is_written_the_same_once_it_was_read(tmp_path):
    """Byte for byte: a resumed command writes it again from the model file."""
    fit = fit_to(blobs(12, (8, 8)))
    fit.save(tmp_path / "a")
    loaded = dv.load(tmp_path / "a").history
    assert list(fit.history.train) != sorted(fit.history.train)
    assert json.dumps(loaded.to_dict()) == json.dumps(fit.history.to_dict())

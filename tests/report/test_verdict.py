"""Verdicts: which one, in which order, and which option is named."""

from types import SimpleNamespace

import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae.report.summary import summarise
from dipy_vqvae.report.verdict import fall_at_end, judge_prior, judge_vqvae
from dipy_vqvae.training.history import History


def history_of(losses, *, held_out=(), n_steps=10_000):
    history = History(n_steps=n_steps)
    for epoch, loss in enumerate(losses, start=1):
        validation = {"loss": held_out[epoch - 1]} if held_out else {}
        history.record(
            epoch, train={"loss": loss}, validation=validation, seconds=epoch
        )
    return history


FLAT = (0.5, 0.11, 0.1, 0.1, 0.1)


def judge(
    *,
    losses=FLAT,
    held_out=(),
    n_steps=10_000,
    fitting=None,
    n_used=128,
    sharpness=0.9,
    relative_mse=0.05,
    ssim=0.93,
    contrast_ratio=1.1,
    is_held_out=True,
    scaling="range",
    **asked,
):
    fit = SimpleNamespace(
        history=history_of(losses, held_out=held_out, n_steps=n_steps),
        n_codes=128,
        description={"model": asked, "fitting": fitting or {}},
        config=SimpleNamespace(
            scaling=SimpleNamespace(method=scaling),
            rate_weight=asked.get("rate_weight", 0.0),
            n_refinements=asked.get("n_refinements", 0),
        ),
    )
    summary = SimpleNamespace(
        errors={
            "sharpness": sharpness,
            "relative_mse": relative_mse,
            "psnr": 32.9,
            "ssim": ssim,
        },
        usage=SimpleNamespace(n_used=n_used),
        contrast_ratio=contrast_ratio,
        held_out=is_held_out,
    )
    return judge_vqvae(fit, summary)


def test_a_sound_fit():
    verdict = judge()
    assert verdict.kind == "usable" and verdict.is_usable
    assert "32.9 dB" in verdict.text and "128 of 128" in verdict.text
    assert "dipy_fit_pixelcnn" in verdict.advice
    assert verdict.remarks == ()
    # What was not measured is not held against a fit.
    assert judge(sharpness=None, relative_mse=None).kind == "usable"


def test_an_untrained_model_is_not_told_to_use_fewer_codes():
    """As after a few steps: 5 of 128 codes, worse than a constant image."""
    verdict = judge(relative_mse=1.24, n_used=5, n_steps=50, sharpness=0.01)
    assert verdict.kind == "constant" and not verdict.is_usable
    assert "124%" in verdict.text
    # Five epochs of 50 steps: 1,500 steps are 150 epochs.
    assert "150 are about 1,500 steps" in verdict.advice
    said = " ".join([str(verdict), *verdict.remarks])
    assert "--n_codes" not in said and "--revive_below" not in said
    assert judge(n_steps=50, n_used=5).kind == "too short"


def test_units_that_differ_explain_a_failure():
    verdict = judge(relative_mse=1.0, contrast_ratio=30.0)
    assert verdict.kind == "constant" and "--scaling volume" in verdict.advice
    assert "30.0-fold" in verdict.advice
    other = judge(relative_mse=1.0, contrast_ratio=30.0, scaling="volume")
    assert "--scaling" not in other.advice and "--learning_rate" in other.advice
    (remark,) = judge(contrast_ratio=3.0).remarks
    assert "--scaling volume" in remark


def test_a_loss_that_is_still_falling():
    falling = (1.0, 0.8, 0.6, 0.4, 0.2)
    verdict = judge(losses=falling)
    assert verdict.kind == "too short"
    # From 0.4 at four fifths of the training to 0.2.
    assert "fell by 50%" in verdict.text
    assert "10 are about 20,000 steps" in verdict.advice
    assert judge(losses=falling, held_out=FLAT).kind == "usable"
    npt.assert_allclose(fall_at_end(history_of(falling)), 0.5)
    assert fall_at_end(history_of(falling[:2])) is None
    # Epochs of the decoder alone have another loss and do not count.
    history = history_of(FLAT).followed_by(history_of((0.01, 0.001)))
    history.train["quantisation"] = [1.0] * 5 + [None] * 2
    npt.assert_allclose(fall_at_end(history), 0, atol=1e-12)


def test_a_training_that_the_time_ended():
    # Five of 20 epochs in 90 seconds.
    fitting = {"max_seconds": 90.0, "n_epochs": 20}
    verdict = judge(n_steps=300, fitting=fitting)
    assert "--max_minutes: 8 are about 1,600 steps" in verdict.advice
    # All epochs, before the time was over.
    assert "--n_epochs" in judge(n_steps=300, fitting={**fitting, "n_epochs": 5}).advice


def test_overfitting():
    verdict = judge(held_out=(0.5, 0.2, 0.2, 0.3, 0.4), n_steps=100)
    # Not both too long and too short.
    assert verdict.kind == "overfitted" and "after epoch 2 of 5" in verdict.text
    assert "--patience" in verdict.advice


def test_a_collapse():
    verdict = judge(n_used=20)
    assert verdict.kind == "collapsed" and "20 of 128" in verdict.text
    assert "--revive_below 0.1" in verdict.advice and "--n_codes" in verdict.advice
    for asked in ({"codebook": "gradient"}, {"revive_below": 0.2}):
        assert "--revive_below" not in judge(n_used=20, **asked).advice
    assert judge(n_used=60).kind == "usable"
    (remark,) = judge(n_used=60).remarks
    assert "68 of 128 codes do not occur" in remark


def test_blur():
    verdict = judge(sharpness=0.2)
    assert verdict.kind == "blurred" and "20%" in verdict.text
    for option in ("--downsampling", "--n_codes", "--ssim_weight", "--n_refinements"):
        assert option in verdict.advice
    assert "--rate_weight" not in verdict.advice
    assert "--ssim_weight" not in judge(sharpness=0.2, ssim_weight=0.5).advice
    assert "--rate_weight" in judge(sharpness=0.2, rate_weight=0.1).advice
    soft = judge(sharpness=0.7)
    assert soft.kind == "soft" and soft.is_usable and soft.text.startswith("Usable")
    assert "--ssim_weight 0.3" in soft.advice
    # 32.9 dB and nearly all codes in use, but detail is lost.
    assert judge(ssim=0.848, n_used=124).kind == "soft"


def test_training_images_are_no_evidence():
    (remark,) = judge(is_held_out=False).remarks
    assert "No images were held out" in remark and "--validation_fraction" in remark


def test_measures_of_the_verdict(tmp_path):
    """The squared error over the variance, and contrasts of files."""
    stacks = [blobs(6, (12, 10), seed=i) * np.uint8(1 + i) for i in range(2)]
    for i, stack in enumerate(stacks):
        np.save(tmp_path / f"{i}.npy", stack)
    images = dv.open_images(tmp_path)
    fit = fit_to(images)
    summary = summarise(fit, images, held_out=False)
    expected = [
        np.mean((stack - fit.predict(stack).astype(float)) ** 2) / stack.var()
        for stack in stacks
    ]
    npt.assert_allclose(summary.errors["relative_mse"], np.mean(expected), rtol=1e-5)
    low, high = np.percentile([stack.std() for stack in stacks], (10, 90))
    npt.assert_allclose(summary.contrast_ratio, high / low)


# Priors


def judge_codes(*, losses=FLAT, held_out=FLAT, n_steps=10_000, shared=0.5, bits=2.0):
    prior = SimpleNamespace(
        history=history_of(losses, held_out=held_out, n_steps=n_steps), description={}
    )
    rates = {"training": bits, "held-out": bits + 0.1}
    return judge_prior(prior, shared=np.array([0.1, shared]), bits=rates, entropy=4.0)


def test_priors():
    verdict = judge_codes()
    assert verdict.kind == "usable" and verdict.remarks == ()
    assert "2.10 bits per code, 4.00 by" in verdict.text
    assert judge_codes(bits=4.5).kind == "frequencies"
    assert judge_codes(held_out=(0.5, 0.2, 0.2, 0.3, 0.4)).kind == "overfitted"
    assert judge_codes(n_steps=40).kind == "too short"
    copies = judge_codes(shared=1.0)
    assert copies.kind == "copies" and "1 of 2 samples" in copies.text
    assert not copies.is_usable
    (remark,) = judge_codes(held_out=()).remarks
    assert "No images were held out" in remark


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_loss_does_not_fall(value):
    assert fall_at_end(history_of([value] * 4)) == 0

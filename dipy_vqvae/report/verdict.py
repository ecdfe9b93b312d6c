"""What a fit is good for, in a word, and the option to try next."""

from dataclasses import dataclass, field
import math

import numpy as np

# A training of fewer steps is short, whatever its curve looks like.
FEW_STEPS = 1_500
# A loss that falls by more in the last fifth of the training is still falling.
FALLING = 0.1
# Squared error over variance; that of the best constant image is 1.
CONSTANT = 0.9
# A held-out loss of so much more than its lowest has risen again.
RISEN = 1.02
# Fractions of the codes that are in use.
COLLAPSED, FEW_USED = 0.25, 0.5
# Squared differences between neighbouring voxels, over those of the images.
BLURRED, SOFT = 0.5, 0.8
# Structural similarity below which detail is lost.
LOW_SSIM = 0.9
# Ratio of the contrasts of files, 90th over 10th percentile, as for `scaling`.
OTHER_UNITS = 2.0


@dataclass(frozen=True)
class Verdict:
    """Verdict on a fit.

    Attributes
    ----------
    kind : str
        ``"usable"``, ``"soft"``, ``"blurred"``, ``"collapsed"``, ``"overfitted"``,
        ``"too short"`` or ``"constant"`` of a VQ-VAE; ``"usable"``, ``"copies"``,
        ``"overfitted"``, ``"too short"`` or ``"frequencies"`` of a prior.
    text : str
        What was found.
    advice : str
        What to try next.
    remarks : tuple of str
        What else a user should know.
    """

    kind: str
    text: str
    advice: str
    remarks: tuple = field(default=())

    @property
    def is_usable(self):
        """Whether the fit can be used as it is."""
        return self.kind in ("usable", "soft")

    def __str__(self):
        return f"{self.text} {self.advice}"


def judge_vqvae(fit, summary):
    """Judge a VQ-VAE by its training and by measures of images.

    The first of these that holds is the verdict: the others may be its consequences. A
    codebook is judged only once the loss is flat.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    summary : FitSummary
        Measures of images.

    Returns
    -------
    verdict : Verdict
    """
    checks = (_constant, _overfitted, _too_short, _collapsed, _blurred, _usable)
    found = (check(fit, summary) for check in checks)
    kind, text, advice = next(finding for finding in found if finding is not None)
    return Verdict(kind, text, advice, tuple(_remarks(fit, summary, kind)))


def _constant(fit, summary):
    error = summary.errors["relative_mse"]
    if error is None or error < CONSTANT:
        return None
    text = (
        f"No better than a constant image: the squared error is {error:.0%} of the "
        "variance of the images."
    )
    units = _other_units(fit, summary)
    if units:
        return "constant", text, units
    longer = _longer(fit) or (
        "Use a lower --learning_rate, a third of what it was, and look at the images: "
        "there may be nothing to learn in them."
    )
    return "constant", text, longer


def _overfitted(fit, summary):
    losses = fit.history.validation.get("loss", [])
    if not (losses and losses[-1] > RISEN * min(losses) and fit.history.best_epoch):
        return None
    text = (
        "Overfitted: the loss on held-out images was lowest after epoch "
        f"{fit.history.best_epoch:g} of {fit.history.epochs[-1]:g} and rose again."
    )
    return "overfitted", text, "Use fewer epochs, --patience, or more training images."


def _too_short(fit, summary):
    advice = _longer(fit)
    if advice is None:
        return None
    return "too short", f"Trained for too short: {_length(fit.history)}.", advice


def _collapsed(fit, summary):
    used = summary.usage.n_used
    if used >= COLLAPSED * fit.n_codes:
        return None
    text = f"The codebook has collapsed: {used} of {fit.n_codes} codes are in use."
    return "collapsed", text, f"Use {_more_codes_used(fit)}."


def _blurred(fit, summary):
    sharpness, ssim = (summary.errors[name] for name in ("sharpness", "ssim"))
    is_similar = ssim is None or ssim >= LOW_SSIM
    if sharpness is None or (sharpness >= SOFT and is_similar):
        return None
    kind, word = ("blurred", "Blurred") if sharpness < BLURRED else ("soft", "Soft")
    good = "" if kind == "blurred" else "Usable. "
    text = (
        f"{good}{word}, unless the images are noisy: the reconstructions have "
        f"{sharpness:.0%} of the squared differences between neighbouring voxels"
        f"{'' if ssim is None else f', SSIM {ssim:.3f}'}."
    )
    return kind, text, f"For more detail, use {_against_blur(fit)}."


def _usable(fit, summary):
    errors = summary.errors
    measures = []
    if errors["psnr"] is not None:
        measures.append(f"PSNR {errors['psnr']:.1f} dB")
    if errors["ssim"] is not None:
        measures.append(f"SSIM {errors['ssim']:.3f}")
    measures.append(f"{summary.usage.n_used} of {fit.n_codes} codes in use")
    advice = (
        "Next, fit a prior (dipy_fit_pixelcnn). For a lower error, use a smaller "
        "--downsampling or more --n_codes; for fewer bits, --rate_weight."
    )
    return "usable", f"Usable: {', '.join(measures)}.", advice


def _remarks(fit, summary, kind):
    """List what else a user should know."""
    remarks = []
    if not summary.held_out:
        remarks.append(
            "No images were held out: all results are of training images. "
            "Use --validation_fraction or --validation_files to hold out subjects."
        )
    units = _other_units(fit, summary)
    if units and kind != "constant":
        remarks.append(units)
    # A codebook is not judged before the loss is flat.
    is_flat = kind not in ("constant", "too short", "collapsed")
    if is_flat and summary.usage.n_used < FEW_USED * fit.n_codes:
        n_unused = fit.n_codes - summary.usage.n_used
        remarks.append(
            f"{n_unused} of {fit.n_codes} codes do not occur in these images. Use "
            f"{_more_codes_used(fit)}."
        )
    return remarks


def _other_units(fit, summary):
    """Say what to do where the units of the files differ; empty where they do not."""
    if fit.config.scaling.method == "volume" or summary.contrast_ratio < OTHER_UNITS:
        return ""
    return (
        f"The contrasts of the files differ {summary.contrast_ratio:.1f}-fold, as if "
        "their units did: use --scaling volume."
    )


def _more_codes_used(fit):
    asked = fit.description.get("model", {})
    remedies = "more training images, or a smaller --n_codes"
    if asked.get("codebook") != "gradient" and asked.get("revive_below", 0) < 0.1:
        remedies = f"--revive_below 0.1, {remedies}"
    return remedies


def _against_blur(fit):
    """List the options that keep more detail."""
    remedies = ["a smaller --downsampling", "more --n_codes", "--ssim_weight 0.3"]
    if fit.description.get("model", {}).get("ssim_weight"):
        remedies.pop()
    if fit.config.rate_weight:
        remedies.insert(0, "a smaller --rate_weight")
    if fit.config.n_refinements < 2:
        remedies.append("--n_refinements 2")
    return f"{', '.join(remedies[:-1])}, or {remedies[-1]}"


# Length of a training


def fall_at_end(history):
    """Return by which fraction the loss fell in the last fifth of a training.

    That of held-out images, if there are any; None for fewer than three epochs.

    Parameters
    ----------
    history : History
        Losses by epoch.

    Returns
    -------
    fall : float or None
    """
    losses = history.validation.get("loss") or history.train.get("loss") or []
    # The epochs of the decoder alone have another loss.
    measured = history.train.get("quantisation", losses)
    ends = [i for i, value in enumerate(measured) if value is not None]
    if not losses or len(ends) < 3:
        return None
    epochs = np.array(history.epochs)[ends]
    losses = np.array(losses, float)[ends]
    before = np.interp(0.8 * epochs[-1], epochs, losses)
    return float(1 - losses[-1] / before) if before > 0 else 0.0


def _is_falling(history):
    fall = fall_at_end(history)
    return fall is not None and fall > FALLING


def _length(history):
    parts = []
    if 0 < history.n_steps < FEW_STEPS:
        parts.append(f"{history.n_steps:,} steps")
    if _is_falling(history):
        parts.append(
            f"the loss fell by {fall_at_end(history):.0%} in the last fifth of the "
            "training"
        )
    return ", and ".join(parts)


def _longer(fit):
    """Say how much longer to train, or None where the training was long enough."""
    history, fitting = fit.history, fit.description.get("fitting") or {}
    is_short = 0 < history.n_steps < FEW_STEPS
    if not is_short and not _is_falling(history):
        return None
    factor = FEW_STEPS / history.n_steps if is_short else 2
    if not history.epochs:
        return "Use more --n_epochs."
    n_seconds = fitting.get("max_seconds")
    if n_seconds and history.epochs[-1] < fitting.get("n_epochs", 0):
        # It was the time that ended the training, not the number of epochs.
        minutes = _rounded(max(factor, 2) * n_seconds / 60)
        steps = round(history.n_steps * minutes * 60 / n_seconds)
        return f"Use more --max_minutes: {minutes:,} are about {steps:,} steps."
    n_epochs = _rounded(max(factor, 2) * history.epochs[-1])
    steps = round(history.n_steps * n_epochs / history.epochs[-1])
    return f"Use more --n_epochs: {n_epochs:,} are about {steps:,} steps."


def _rounded(value):
    """Round up to two digits.

    Examples
    --------
    >>> _rounded(301.2), _rounded(7.2), _rounded(0.3)
    (310, 8, 1)
    """
    step = 10 ** max(0, math.floor(math.log10(value)) - 1) if value > 1 else 1
    return max(1, math.ceil(value / step) * step)


# Priors


def judge_prior(prior, *, shared, bits, entropy):
    """Judge a prior by its training, its code lengths and its samples.

    Parameters
    ----------
    prior : PixelCNNFit
        The prior.
    shared : array (n,), float
        For each sample, the largest fraction of codes that it shares with a training
        grid.
    bits : dict of float
        Bits per code of ``"training"`` and maybe ``"held-out"`` grids.
    entropy : float
        Entropy of the code frequencies, bits per code.

    Returns
    -------
    verdict : Verdict
    """
    history, losses = prior.history, prior.history.validation.get("loss", [])
    remarks = []
    if not losses:
        remarks.append(
            "No images were held out: a low rate of the training codes may be due to "
            "overfitting."
        )
    n_copies = int((shared == 1).sum())
    copies = f"{n_copies} of {len(shared)} samples have the codes of a training image."
    rate = bits.get("held-out", bits["training"])
    if bits["training"] > entropy:
        text = (
            "So far the prior has learnt only the code frequencies: "
            f"{bits['training']:.2f} bits per code, their entropy is {entropy:.2f}."
        )
        advice = _longer(prior) or "Use a smaller network for so few images."
        return Verdict("frequencies", text, advice, tuple(remarks))
    if losses and losses[-1] > RISEN * min(losses):
        text = (
            "Overfitted: the likelihood of held-out codes was highest after epoch "
            f"{history.best_epoch:g} of {history.epochs[-1]:g} and fell again."
        )
        advice = "Use --dropout, --n_shifts, --patience, or more training images."
        remarks += [copies] * bool(n_copies)
        return Verdict("overfitted", text, advice, tuple(remarks))
    advice = _longer(prior)
    if advice is not None:
        text = f"Trained for too short: {_length(history)}."
        remarks += [copies] * bool(n_copies)
        return Verdict("too short", text, advice, tuple(remarks))
    if n_copies:
        advice = "Use --dropout, --n_shifts, or more training images."
        return Verdict("copies", f"Copies: {copies}", advice, tuple(remarks))
    text = f"Usable: {rate:.2f} bits per code, {entropy:.2f} by the code frequencies."
    advice = (
        "For likelier samples, use more --n_epochs, --n_shifts, or --n_components for "
        "images of several kinds."
    )
    return Verdict("usable", text, advice, tuple(remarks))

"""The report of one fit of a VQ-VAE: a single HTML file."""

from html import escape
import json
import math

import numpy as np

from dipy_vqvae._version import __version__
from dipy_vqvae.report.atlas import code_blocks, draw_atlas
from dipy_vqvae.report.charts import draw_training, draw_usage
from dipy_vqvae.report.examples import draw_examples
from dipy_vqvae.report.html import Table, cards, document, figure
from dipy_vqvae.report.pictures import code_colours
from dipy_vqvae.report.samples import samples_section
from dipy_vqvae.report.summary import summarise
from dipy_vqvae.report.wording import number, seconds
from dipy_vqvae.vqvae import codebook_fingerprint


def vqvae_report(fit, collection, *, held_out):
    """Report a fit: curves, reconstructions, use of the codes, rate.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    collection : ImageCollection
        Images to look at it through; of many, some.
    held_out : bool
        Whether they are others than those of the training.

    Returns
    -------
    html : str
        A whole document without references to anything outside of it.
    """
    summary = summarise(fit, collection, held_out=held_out)
    is_nifti = collection.files[0].kind == "nifti"
    colours = code_colours(fit.codebook)
    title = f"VQ-VAE, {fit.n_codes} codes"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(_lead(fit, summary))}</p>',
        *(f'<p class="warning">{escape(text)}</p>' for text in remarks(fit, summary)),
        cards(_cards(fit, summary)),
        "<h2>Originals and reconstructions</h2>",
        _examples(summary, colours),
        "<h2>Error</h2>",
        _error_table(summary).to_html(),
        "<h2>Training</h2>",
        figure(
            draw_training(fit.history, n_codes=fit.n_codes),
            "Squared error and distance to the nearest code, in the network's units, "
            "by epoch. A vertical line marks the epoch that was kept.",
        ),
        "<h2>Use of the codes</h2>",
        figure(
            draw_usage(summary.usage),
            f"Frequencies of the codes on {_images(summary)}: {summary.usage.n_used} "
            f"of {fit.n_codes} occur, with a perplexity of "
            f"{summary.usage.perplexity:.1f}.",
        ),
        "<h2>Where each code lives</h2>",
        figure(
            draw_atlas(summary.atlas, colours, code_blocks(fit), is_nifti=is_nifti),
            "The most frequent codes, with their share of all. Large: where in the "
            "image a code is found, dark where it is most frequent, each by its own "
            "scale" + (_SIDES if fit.spatial_dims == 3 else "") + ". Small: the block "
            "that the decoder draws where a code is among its own kind, and the "
            "code's colour above.",
        ),
        "<h2>Rate</h2>",
        rate_table(fit, summary).to_html(),
        samples_section(codebook_fingerprint(fit)),
        "<h2>How it was made</h2>",
        f"<p>{escape(_how(fit))}</p>",
        "<details><summary>Settings and data</summary><pre>"
        + escape(json.dumps(fit.description, indent=1, default=_plain))
        + "</pre></details>",
        f"<footer>Made by dipy_vqvae {escape(__version__)}.</footer>",
    ]
    return document(title, parts)


_SIDES = ", seen along the third, second and first axis"


def remarks(fit, summary):
    """What a user should know before trusting the figures."""
    texts = []
    if not summary.held_out:
        texts.append(
            "No images were held out: all figures are of training images, and say "
            "nothing of others. --validation_fraction or --validation_files hold "
            "subjects out."
        )
    losses = fit.history.validation.get("loss", [])
    if losses and losses[-1] > 1.02 * min(losses) and fit.history.best_epoch:
        texts.append(
            f"The error on held-out images was lowest after epoch "
            f"{fit.history.best_epoch:g} of {fit.history.epochs[-1]:g} and rose "
            "again: fewer epochs, --patience, or more training images."
        )
    if summary.usage.n_used < fit.n_codes / 2:
        texts.append(
            f"{fit.n_codes - summary.usage.n_used} of {fit.n_codes} codes do not occur "
            "in these images: a smaller --n_codes would do as well, or there are too "
            "few images."
        )
    return texts


def rate_table(fit, summary):
    """What the codes cost, counted in three ways."""
    entropy = math.log2(summary.usage.perplexity)
    ways = [
        ("All codes equally long", math.log2(fit.n_codes)),
        ("By how often each code occurs (entropy)", entropy),
    ]
    nats = fit.history.train.get("nats_per_code")
    if nats:
        ways.append(("Under the rate network, in training", nats[-1] / math.log(2)))
    rows = []
    for name, bits in ways:
        per_image = bits * summary.codes_per_image
        per_voxel = per_image / summary.voxels_per_image
        ratio = summary.bits_per_voxel / per_voxel if per_voxel else math.inf
        rows.append(
            (
                name,
                number(bits, 2),
                number(per_image, 0),
                number(per_voxel, 3),
                f"{ratio:,.0f}" if math.isfinite(ratio) else "–",
            )
        )
    note = (
        f"{summary.codes_per_image:,.0f} codes for an image of "
        f"{summary.voxels_per_image:,.0f} voxels, on average. The last column: bits of "
        "a voxel in the file over bits of a voxel as codes. A prior "
        "(dipy_fit_pixelcnn) needs fewer bits still."
    )
    header = ("", "bits per code", "bits per image", "bits per voxel", "smaller by")
    return Table(header, rows, note)


def _images(summary):
    kind = "held-out" if summary.held_out else "training"
    text = f"{summary.n_images:,} {kind} images"
    if summary.n_images < summary.n_all_images:
        text += f" (of {summary.n_all_images:,})"
    return text


def _lead(fit, summary):
    training = fit.description.get("training_images", {})
    n = training.get("number")
    trained = f"Trained on {n:,} images" if isinstance(n, int) else "Trained"
    factors = " × ".join(str(f) for f in fit.config.downsampling)
    kind = "slices" if fit.spatial_dims == 2 else "volumes"
    files = f" from {summary.n_files:,} files" if summary.n_files > 1 else ""
    files = files if summary.n_files < summary.n_images else ""
    return (
        f"{trained} ({kind}; {factors} voxels per code). Figures and pictures are of "
        f"{_images(summary)}{files}."
    )


def _cards(fit, summary):
    errors, entropy = summary.errors, math.log2(summary.usage.perplexity)
    bits = entropy * summary.codes_per_image / summary.voxels_per_image
    return (
        (_with_unit(errors["psnr"], 1, " dB"), "PSNR"),
        (number(errors["ssim"], 3), "SSIM"),
        (_significant(errors["mae"]), "mean absolute error, in the images' units"),
        (f"{summary.usage.n_used} / {fit.n_codes}", "codes in use"),
        (number(bits, 3), "bits per voxel, entropy of the codes"),
    )


def _examples(summary, colours):
    if not summary.examples:
        return "<p>All of the images that were looked at are constant.</p>"
    return figure(
        draw_examples(summary.examples, colours=colours),
        "Images, what the model makes of them, the difference (blue: too bright, red: "
        "too dark, in parts of the range that is shown), and their codes.",
    )


def _error_table(summary):
    errors = summary.errors
    return Table(
        ("", "MSE", "MAE", "PSNR, dB", "SSIM"),
        [
            (
                _images(summary),
                _significant(errors["mse"]),
                _significant(errors["mae"]),
                number(errors["psnr"], 2),
                number(errors["ssim"], 4),
            )
        ],
        "Means over the files, in their units, of the voxels inside the mask; each "
        "file as in the table of dipy_reconstruct_vqvae. PSNR and SSIM are relative to "
        "the file's range of values; constant files have neither.",
    )


def _how(fit):
    history = fit.history
    text = (
        f"{history.epochs[-1]:g} epochs, {history.n_steps:,} steps, "
        f"{seconds(history.seconds[-1])}."
    )
    if history.best_epoch is not None and history.best_epoch != history.epochs[-1]:
        text += f" Lowest error on held-out images after epoch {history.best_epoch:g}."
    return text


def _with_unit(value, digits, unit):
    return number(value, digits) + (unit if value is not None else "")


def _significant(value):
    return number(None, 0) if value is None else f"{value:,.4g}"


def _plain(value):
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)

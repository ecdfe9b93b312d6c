"""The report of one fit of a prior: a single HTML file."""

from dataclasses import dataclass, replace
from html import escape
import json
import math

import numpy as np

from dipy_vqvae._version import __version__
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.report.charts import draw_prior_training
from dipy_vqvae.report.examples import draw_samples
from dipy_vqvae.report.html import Table, cards, document, figure
from dipy_vqvae.report.page import styled
from dipy_vqvae.report.pictures import as_picture, code_colours, enlarge, spread
from dipy_vqvae.report.rows import PictureRow, picture_rows
from dipy_vqvae.report.wording import number, percent, seconds

# Shown, and compared with the training grids.
N_SAMPLES = {2: 48, 3: 8}
N_MAPS = {2: 8, 3: 4}
# Grids whose code length is computed.
N_RATED = 1000


@dataclass(frozen=True)
class PriorReport:
    """Report of a prior as HTML.

    Attributes
    ----------
    html : str
        A whole document without references to anything outside of it.
    samples : str
        Samples alone, for the report of the VQ-VAE.
    """

    html: str
    samples: str


def prior_report(fit, prior, codes, *, held_out=None, is_nifti=True):
    """Report a prior: curves, code length, samples, and whether they are copies.

    Parameters
    ----------
    fit : VQVAEFit
        The VQ-VAE.
    prior : PixelCNNFit
        The prior for its codes.
    codes : CodeSet
        The training codes.
    held_out : CodeSet, optional
        Codes that were held out.
    is_nifti : bool, optional
        Whether the first axis of the images runs to the right.

    Returns
    -------
    report : PriorReport
    """
    n_samples = N_SAMPLES[fit.spatial_dims]
    labels = None
    if prior.n_classes:
        labels = np.arange(n_samples) % prior.n_classes
    inside = _masks_of_samples(codes, n_samples)
    samples = prior.sample(
        n_samples,
        random_seed=0,
        labels=labels,
        grid_shape=codes.most_frequent_grid(),
        mask=inside,
    )
    nearest = closest_grids(samples, codes.codes, inside=inside)
    lengths = {"training": _bits(prior, codes)}
    if held_out is not None:
        lengths["held out"] = _bits(prior, held_out)
    entropy = math.log2(code_usage(codes.inside(), fit.n_codes).perplexity)
    texts = remarks(prior, nearest)
    if lengths["training"][1] > entropy:
        texts.append(
            "So far the prior has learnt only the code frequencies: train for more "
            "epochs, or use a smaller network for so few images."
        )
    view = {"spatial_dims": fit.spatial_dims, "is_nifti": is_nifti}
    title = f"PixelCNN prior, {prior.n_codes} codes"
    shown = _figure_of_samples(fit, samples, inside, labels, view)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(_lead(prior, codes))}</p>',
        *(f'<p class="warning">{escape(text)}</p>' for text in texts),
        cards(_cards(prior, lengths, samples, nearest)),
        "<h2>Samples</h2>",
        shown,
        "<h2>Codes, encoded and drawn</h2>",
        figure(
            _draw_maps(fit, codes, samples, view),
            "Codes of training images and of samples, with their images. Like colours "
            "are codes that are near each other.",
        ),
        "<h2>Code length</h2>",
        _length_table(fit, entropy, lengths).to_html(),
        "<h2>Training</h2>",
        figure(
            draw_prior_training(prior.history),
            "Nats per code by epoch. A vertical line marks the epoch that was kept.",
        ),
        f"<p>{escape(_how(prior))}</p>",
        "<details><summary>Settings and data</summary><pre>"
        + escape(json.dumps(prior.description, indent=1, default=str))
        + "</pre></details>",
        f"<footer>Made by dipy_vqvae {escape(__version__)}.</footer>",
    ]
    lead = f"{_lead(prior, codes)} {_how(prior)}"
    return PriorReport(document(title, parts), f"<p>{escape(lead)}</p>{shown}")


def _figure_of_samples(fit, samples, inside, labels, view):
    """Decode samples and show them, zero outside their masks."""
    images = fit.decode(samples)
    if inside is not None:
        images[~_blocks(fit, inside, images.shape[1:])] = 0
    pictures = [as_picture(image, **view) for image in images]
    names = [f"class {label}" for label in labels] if labels is not None else ()
    n_columns = 8 if fit.spatial_dims == 2 else 4
    return figure(
        draw_samples(pictures, n_columns=n_columns, names=names),
        "Images sampled from the prior and decoded by the VQ-VAE, in the order in "
        "which they were drawn, unselected.",
    )


def _masks_of_samples(codes, n):
    """Masks of training images, one for each of n samples; None without masks."""
    if codes.masks is None:
        return None
    grid = codes.most_frequent_grid()
    known = [m for m in spread_over_files(codes, n).masks if m.shape[1:] == grid]
    known = known or [m for m in codes.masks if m.shape[1:] == grid]
    known = np.concatenate(known)
    return known[np.arange(n) % len(known)]


def _blocks(fit, inside, shape):
    return np.stack(
        [
            enlarge(one, fit.config.downsampling, shape[: fit.spatial_dims])
            for one in inside
        ]
    )


def closest_grids(samples, codes, *, inside=None):
    """How much of each sample the training grid most like it has in common."""
    best = np.zeros(len(samples))
    flat = samples.reshape(len(samples), -1)
    for grids in codes:
        if grids.shape[1:] != samples.shape[1:]:
            continue
        grids = grids.reshape(len(grids), -1)
        for i, sample in enumerate(flat):
            counts = slice(None) if inside is None else inside[i].reshape(-1)
            equal = grids[:, counts] == sample[counts]
            best[i] = max(best[i], equal.mean(axis=1).max())
    return best


def remarks(prior, nearest):
    """What a user should know before trusting the samples."""
    texts = []
    losses = prior.history.validation.get("loss", [])
    if not losses:
        texts.append(
            "No images were held out: that the training codes are likely under the "
            "prior may mean that it knows them by heart."
        )
    elif losses[-1] > 1.02 * min(losses):
        texts.append(
            "The likelihood of held-out codes was best after epoch "
            f"{prior.history.best_epoch:g} of {prior.history.epochs[-1]:g} and fell "
            "again: --dropout, --patience, or more training images."
        )
    copies = int((nearest == 1).sum())
    if copies:
        texts.append(
            f"{copies} of {len(nearest)} samples have the codes of a training image."
        )
    return texts


def _lead(prior, codes):
    return (
        f"Fitted to {len(codes):,} grids of "
        f"{codes.describe_grids().replace(' x ', ' × ')} codes. Samples are new "
        "images from a fixed seed."
    )


def spread_over_files(codes, n):
    """Choose about n grids, of as many files as possible: CodeSet -> CodeSet."""
    files = spread(len(codes.paths), n)
    per_file = -(-n // len(files))
    rows = {i: spread(len(codes.codes[i]), per_file) for i in files}

    def choose(items):
        return None if items is None else [items[i][rows[i]] for i in files]

    return replace(
        codes,
        paths=[codes.paths[i] for i in files],
        codes=choose(codes.codes),
        masks=choose(codes.masks),
        labels=choose(codes.labels),
    )


def _bits(prior, codes):
    """Mean code length under the prior: bits per image, and per code."""
    some = spread_over_files(codes, N_RATED)
    bits = -float(some.log_prob(prior).sum()) / math.log(2)
    return bits / len(some), bits / len(some.inside())


def _length_table(fit, entropy, lengths):
    per_image, per_code = lengths["training"]
    n = per_image / per_code
    rows = [
        ("All codes equally long", math.log2(fit.n_codes)),
        ("By how often each code occurs (entropy)", entropy),
    ]
    rows = [(name, number(n * bits, 1), number(bits, 3)) for name, bits in rows]
    for name, (per_image, per_code) in lengths.items():
        rows.append(
            (f"Under the prior, {name}", number(per_image, 1), number(per_code, 3))
        )
    note = f"Of {N_RATED:,} grids of each kind at most."
    return Table(("", "bits per image", "bits per code"), rows, note)


def _cards(prior, lengths, samples, nearest):
    kind = "held out" if "held out" in lengths else "training"
    per_image, per_code = lengths[kind]
    n_distinct = len(np.unique(samples.reshape(len(samples), -1), axis=0))
    return (
        (number(per_image, 1), f"bits per image, {kind}"),
        (number(per_code, 2), f"bits per code, of {math.log2(prior.n_codes):.1f}"),
        (f"{n_distinct} / {len(samples)}", "samples distinct"),
        (
            percent(float(np.median(nearest))),
            "of a sample's codes are those of the nearest training image (median)",
        ),
    )


@styled
def _draw_maps(fit, codes, samples, view):
    colours = code_colours(fit.codebook)
    n = min(N_MAPS[fit.spatial_dims], len(samples))
    encoded = [grid for grids in spread_over_files(codes, n).codes for grid in grids]
    rows = []
    for what, how, grids in (
        ("Training image", "decoded", encoded[:n]),
        ("Sample", "decoded", samples[:n]),
    ):
        images = [fit.decode(grid[np.newaxis])[0] for grid in grids]
        maps = [
            enlarge(grid, fit.config.downsampling, image.shape[: fit.spatial_dims])
            for grid, image in zip(grids, images)
        ]
        rows += [
            PictureRow(what, how, [_grey(as_picture(i, **view)) for i in images]),
            PictureRow(
                "Codes", "", [_colour(colours, as_picture(m, **view)) for m in maps]
            ),
        ]
    most = max(len(row.pictures) for row in rows)
    return picture_rows(rows, n_columns=most)


def _grey(picture):
    low, high = np.nanpercentile(picture, (0.5, 99.8))
    grey = ((picture - low) / (high - low if high > low else 1)).clip(0, 1)
    return np.where(np.isnan(grey), 1.0, grey)[..., np.newaxis].repeat(3, axis=-1)


def _colour(colours, codes):
    beside = np.isnan(codes)
    painted = colours[np.where(beside, 0, codes).astype(int)]
    return np.where(beside[..., np.newaxis], 1.0, painted)


def _how(prior):
    history = prior.history
    return (
        f"{history.epochs[-1]:g} epochs, {history.n_steps:,} steps, "
        f"{seconds(history.seconds[-1])}."
    )

"""HTML report of the fit of a prior."""

from dataclasses import replace
from html import escape
import logging
import math

import numpy as np

from dipy_vqvae.metrics import code_usage, n_distinct
from dipy_vqvae.report.charts import draw_prior_training
from dipy_vqvae.report.html import Table, cards, details, document, figure
from dipy_vqvae.report.objects import Report, verdict_html
from dipy_vqvae.report.pictures import (
    as_picture,
    code_colours,
    enlarge,
    grey_limits,
    spread,
    to_colours,
    to_grey,
)
from dipy_vqvae.report.rows import PictureRow, draw_rows, draw_samples
from dipy_vqvae.report.style import styled
from dipy_vqvae.report.verdict import judge_prior
from dipy_vqvae.report.view import View
from dipy_vqvae.report.wording import describe_training, number, percent

logger = logging.getLogger("dipy_vqvae")

# By number of spatial dimensions.
N_SAMPLES = {2: 48, 3: 8}
N_COLUMNS = {2: 8, 3: 4}
# Grids of which the rate is computed.
N_RATED = 1000
_SAMPLES_CAPTION = (
    "Images sampled from the prior with a fixed seed and decoded by the VQ-VAE, not "
    "selected."
)


def prior_report(fit, prior, codes, *, held_out=None, view=None):
    """Report a prior: samples, rate, training curves, and copies of training images.

    Parameters
    ----------
    fit : VQVAEFit
        The VQ-VAE.
    prior : PixelCNNFit
        The prior for its codes.
    codes : CodeSet
        The training codes.
    held_out : CodeSet, optional
        Codes of held-out images.
    view : View, optional
        How the axes of images are drawn; by default the first one downwards.

    Returns
    -------
    report : Report
        With `samples`, for the report of the VQ-VAE.
    """
    samples, masks, labels = _sample(fit, prior, codes)
    shared = shared_codes(samples, codes.codes, masks=masks)
    rates = {"training": _rates(prior, codes)}
    if held_out is not None:
        rates["held-out"] = _rates(prior, held_out)
    entropy = math.log2(code_usage(codes.inside(), fit.n_codes).perplexity)
    verdict = judge_prior(
        prior,
        shared=shared,
        bits={name: per_code for name, (_, per_code) in rates.items()},
        entropy=entropy,
    )
    view = view or View(fit.spatial_dims)
    title = f"PixelCNN prior, {prior.n_codes} codes"
    grids = codes.describe_grids().replace(" x ", " × ")
    lead = f"Fitted to {len(codes):,} grids of {grids} codes."
    training = describe_training(prior.history)
    drawn = {
        "samples": _draw_samples(fit, samples, masks, labels, view),
        **_draw_conditioned(fit, prior, codes.most_frequent_grid(), masks, view),
        "codes": _draw_code_maps(fit, codes, samples, masks, view),
        "training": draw_prior_training(prior.history),
    }
    sample_figure = figure(drawn["samples"], _SAMPLES_CAPTION)
    parts = [
        f"<h1>{escape(title)}</h1>",
        *verdict_html(verdict),
        f'<p class="lead">{escape(lead)}</p>',
        cards(_cards(prior, rates, samples, shared)),
        "<h2>Samples</h2>",
        sample_figure,
        *_conditioned_html(prior, drawn),
        "<h2>Codes of training images and samples</h2>",
        figure(
            drawn["codes"],
            "Decoded training images and samples, with their codes. Similar colours: "
            "codebook vectors near each other.",
        ),
        "<h2>Rate</h2>",
        _rate_table(fit, entropy, rates).to_html(),
        "<h2>Training</h2>",
        figure(
            drawn["training"],
            "Nats per code by epoch. With held-out images, a vertical line marks the "
            "best epoch.",
        ),
        f"<p>{escape(training)}</p>",
        *details(prior.description),
    ]
    return Report(
        title=title,
        verdict=verdict,
        figures={name: png.figure for name, png in drawn.items()},
        html=document(title, parts),
        samples=f"<p>{escape(f'{lead} {training}')}</p>{sample_figure}",
    )


def _sample(fit, prior, codes):
    """Return samples of the prior, their masks and their labels, None without."""
    n = N_SAMPLES[fit.spatial_dims]
    logger.info("Sampling %d images for the report", n)
    labels = np.arange(n) % prior.n_classes if prior.n_classes else None
    masks = _masks_of_samples(codes, n)
    samples = prior.sample(
        n,
        random_seed=0,
        labels=labels,
        covariates=_random_covariates(prior, n),
        grid_shape=codes.most_frequent_grid(),
        mask=masks,
    )
    return samples, masks, labels


def _draw_samples(fit, samples, masks, labels, view):
    return draw_samples(
        [as_picture(image, view) for image in _decoded(fit, samples, masks)],
        n_columns=N_COLUMNS[fit.spatial_dims],
        names=[] if labels is None else [f"class {label}" for label in labels],
        marks=view.marks(fit.decode(samples[:1]).shape[1 : 1 + fit.spatial_dims]),
    )


def _decoded(fit, grids, masks):
    """Decode grids of codes, of any shapes; NaN outside their masks of codes."""
    images = []
    for i, grid in enumerate(grids):
        image = fit.decode(grid[np.newaxis])[0]
        if masks is not None:
            shape = image.shape[: fit.spatial_dims]
            image[~enlarge(masks[i], fit.config.downsampling, shape)] = np.nan
        images.append(image)
    return images


def _random_covariates(prior, n):
    """Return covariates of n samples from the range of the training; None without."""
    rng = np.random.default_rng(0)
    covariates = {
        c.name: rng.uniform(c.low, c.high, n) for c in prior.config.covariates
    }
    return covariates or None


def _draw_conditioned(fit, prior, grid_shape, masks, view):
    """Draw samples for each covariate, from its lowest to its highest value.

    The other covariates and the class have their random values, the same in a row.
    """
    n_rows, n_columns = 2, N_COLUMNS[fit.spatial_dims]
    n = n_rows * n_columns
    # One mask for all: what changes is due to the covariate.
    mask = None if masks is None else np.repeat(masks[:1], n, axis=0)
    labels = np.zeros(n, int) if prior.n_classes else None
    drawn = {}
    for covariate in prior.config.covariates:
        row_values = _random_covariates(prior, n_rows)
        columns = {name: np.repeat(v, n_columns) for name, v in row_values.items()}
        values = np.linspace(covariate.low, covariate.high, n_columns)
        columns[covariate.name] = np.tile(values, n_rows)
        samples = prior.sample(
            n, labels=labels, covariates=columns, grid_shape=grid_shape, mask=mask
        )
        drawn[f"samples by {covariate.name}"] = draw_samples(
            [as_picture(image, view) for image in _decoded(fit, samples, mask)],
            n_columns=n_columns,
            names=[f"{value:.3g}" for value in values],
        )
    return drawn


def _conditioned_html(prior, drawn):
    return [
        figure(
            drawn[f"samples by {covariate.name}"],
            f"Samples by {covariate.name}, from {covariate.low:g} to "
            f"{covariate.high:g}, the range of the training.",
        )
        for covariate in prior.config.covariates
    ]


def _masks_of_samples(codes, n):
    """Return masks of n training images, of the usual grid; None without masks."""
    if codes.masks is None:
        return None
    grid = codes.most_frequent_grid()
    masks = [m for m in spread_over_files(codes, n).masks if m.shape[1:] == grid]
    masks = masks or [m for m in codes.masks if m.shape[1:] == grid]
    masks = np.concatenate(masks)
    return masks[np.arange(n) % len(masks)]


def shared_codes(samples, codes, *, masks=None):
    """Return the largest fraction of codes that a sample shares with a training grid.

    (n, *grid) int, list of (m, *grid) int -> (n,) float
    """
    largest = np.zeros(len(samples))
    for grids in codes:
        if grids.shape[1:] != samples.shape[1:]:
            continue
        for i, sample in enumerate(samples):
            equal = grids == sample  # (m, *grid)
            equal = (
                equal.reshape(len(grids), -1) if masks is None else equal[:, masks[i]]
            )
            largest[i] = max(largest[i], equal.mean(axis=1).max())
    return largest


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
        covariates=None
        if codes.covariates is None
        else [
            {name: values[rows[i]] for name, values in codes.covariates[i].items()}
            for i in files
        ],
    )


def _rates(prior, codes):
    """Return the mean rate under the prior, in bits per image and bits per code."""
    subset = spread_over_files(codes, N_RATED)
    bits = -float(subset.log_prob(prior).sum()) / math.log(2)
    return bits / len(subset), bits / len(subset.inside())


def _rate_table(fit, entropy, rates):
    per_image, per_code = rates["training"]
    n_codes = per_image / per_code
    bits = {"Fixed length": math.log2(fit.n_codes), "Code frequencies": entropy}
    rows = [(name, n_codes * value, value) for name, value in bits.items()]
    rows += [(f"Prior, {name}", *values) for name, values in rates.items()]
    rows = [(name, number(a, 1), number(b, 3)) for name, a, b in rows]
    note = (
        f"Rate under the prior: means over at most {N_RATED:,} images. Code frequencies: "
        "their entropy."
    )
    return Table(("", "bits per image", "bits per code"), rows, note)


def _cards(prior, rates, samples, shared):
    kind = "held-out" if "held-out" in rates else "training"
    per_image, per_code = rates[kind]
    fixed = math.log2(prior.n_codes)
    return (
        (number(per_image, 1), f"bits per image, {kind}"),
        (number(per_code, 2), f"bits per code ({fixed:.1f} at fixed length)"),
        (f"{n_distinct(samples)} / {len(samples)}", "distinct samples"),
        (
            percent(float(np.median(shared))),
            "codes in common with the most similar training image (median of samples)",
        ),
    )


@styled
def _draw_code_maps(fit, codes, samples, masks, view):
    colours = code_colours(fit.codebook)
    n = min(N_COLUMNS[fit.spatial_dims], len(samples))
    chosen = spread_over_files(codes, n)
    training = [grid for grids in chosen.codes for grid in grids][:n]
    inside = None
    if chosen.masks is not None:
        inside = [mask for masks_of_file in chosen.masks for mask in masks_of_file]
    rows, limits = [], None
    for title, grids, masks_of_row in (
        ("Training image", training, inside),
        ("Sample", samples[:n], masks),
    ):
        images = _decoded(fit, grids, masks_of_row)
        pictures = [as_picture(image, view) for image in images]
        # Samples are drawn as bright as training images.
        limits = limits or grey_limits(np.concatenate([p.ravel() for p in pictures]))
        shapes = [image.shape[: fit.spatial_dims] for image in images]
        maps = []
        for i, (grid, shape) in enumerate(zip(grids, shapes)):
            if masks_of_row is not None:
                grid = np.where(masks_of_row[i], grid, np.nan)
            code_map = enlarge(grid, fit.config.downsampling, shape)
            maps.append(to_colours(as_picture(code_map, view, nearest=True), colours))
        greys = [to_grey(picture, limits) for picture in pictures]
        marks = [view.marks(shape) for shape in shapes]
        rows += [
            PictureRow(title, "decoded", greys, marks=marks),
            PictureRow("Codes", "", maps),
        ]
    return draw_rows(rows)

"""The figures of the reports of fits, each as a PNG picture."""

import math

import numpy as np

from dipy_vqvae.report.curves import draw_curves, panel
from dipy_vqvae.report.page import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    WARM,
    Page,
    points,
    styled,
)
from dipy_vqvae.report.pictures import as_picture, side_by_side

# More tiles than this are no atlas but a wall.
_MOST_CODES = 48
_WIDTH = 944


@styled
def draw_training(history, *, n_codes):
    """Training curves of a VQ-VAE.

    Parameters
    ----------
    history : History
        Of the training.
    n_codes : int
        Size of the codebook.

    Returns
    -------
    png : bytes
    """
    page = Page(944, 288)
    held_out = bool(history.validation)
    axes = panel(page, 62, "Squared error", width=184)
    curves = [("training", history.train["mse"], ACCENT)]
    if held_out:
        curves.append(("held out", history.validation["mse"], INK))
    draw_curves(axes, history.epochs, curves, log=_spans(curves))
    if held_out and history.best_epoch is not None:
        axes.axvline(history.best_epoch, color=FAINT, linewidth=1, zorder=0)
    axes = panel(page, 372, "Distance to the codes", width=184)
    curves = [("training", history.train["quantisation"], ACCENT)]
    draw_curves(axes, history.epochs, curves, log=_spans(curves))
    if held_out:
        axes = panel(page, 682, "Codes on held-out images", width=184)
        curves = [
            ("used", history.validation["n_used"], ACCENT),
            ("perplexity", history.validation["perplexity"], INK),
        ]
        axes.set_ylim(0, n_codes * 1.05)
        draw_curves(axes, history.epochs, curves)
    elif "nats_per_code" in history.train:
        axes = panel(page, 682, "Nats per code, rate network", width=184)
        curves = [("training", history.train["nats_per_code"], ACCENT)]
        draw_curves(axes, history.epochs, curves)
    return page


@styled
def draw_prior_training(history):
    """Training curves of a prior.

    Parameters
    ----------
    history : History
        Of the training.

    Returns
    -------
    png : bytes
    """
    page = Page(600, 300)
    axes = panel(page, 62, "Nats per code", width=400, height=200)
    curves = [("training", history.train["loss"], ACCENT)]
    if history.validation:
        curves.append(("held out", history.validation["loss"], INK))
        if history.best_epoch is not None:
            axes.axvline(history.best_epoch, color=FAINT, linewidth=1, zorder=0)
    draw_curves(axes, history.epochs, curves)
    return page


@styled
def draw_usage(usage):
    """How often each code occurs.

    Parameters
    ----------
    usage : CodeUsage
        Of some images.

    Returns
    -------
    png : bytes
    """
    page = Page(760, 290)
    histogram = np.sort(usage.histogram)[::-1]
    share = histogram / histogram.sum()
    ranks = np.arange(1, len(share) + 1)
    used = share > 0
    axes = panel(page, 62, "How often each code is used", width=670)
    axes.bar(ranks[used], share[used], width=0.82, color=ACCENT)
    axes.set_yscale("log")
    axes.axhline(1 / len(share), color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.text(
        len(share),
        1.15 / len(share),
        "even use",
        ha="right",
        color=MUTED,
        fontsize=points(11),
    )
    axes.set_xlabel("codes, most frequent first", fontsize=points(11))
    axes.set_xlim(0, len(share) + 1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    return page


@styled
def draw_atlas(atlas, colours, blocks, *, is_nifti=True):
    """Where in the image the most frequent codes live, and what they look like.

    Parameters
    ----------
    atlas : CodeAtlas
        Where the codes lie.
    colours : array (K, 3)
        A colour in [0, 1] for each code.
    blocks : array (K, *downsampling)
        What each code looks like.
    is_nifti : bool, optional
        Whether the first axis of the images runs to the right.

    Returns
    -------
    png : bytes
    """
    histogram = atlas.histogram
    order = np.argsort(-histogram, kind="stable")[:_MOST_CODES]
    order = order[histogram[order] > 0]
    maps = _maps_of(atlas, order, blocks.shape[1:], is_nifti)
    height, width = next(iter(maps.values())).shape
    is_volume = atlas.counts.ndim == 4
    n_columns = 5 if is_volume else 8
    margin, gap, side, title = 18, 14, 26, 20
    room = (_WIDTH - 2 * margin - (n_columns - 1) * gap) / n_columns
    zoom = (room - side - 4) / width
    zoom = max(1.0, math.floor(2 * zoom) / 2) if zoom > 1 else zoom
    tall = max(height * zoom, side)
    n_rows = -(-len(order) // n_columns)
    page = Page(_WIDTH, int(2 * margin + n_rows * (tall + title + gap) - gap))
    middle = blocks if not is_volume else blocks[..., blocks.shape[3] // 2]
    shown = middle.swapaxes(1, 2)[:, ::-1] if is_nifti else middle
    low, high = np.percentile(shown[order], (1, 99))
    shown = ((shown - low) / (high - low if high > low else 1)).clip(0, 1)
    for place, code in enumerate(order):
        row, column = divmod(place, n_columns)
        x = margin + column * (room + gap)
        y = margin + row * (tall + title + gap)
        share = histogram[code] / histogram.sum()
        page.text(x, y + 11, f"{code}", size=11, weight="bold")
        page.text(x + 30, y + 11, f"{100 * share:.2g}%", size=11, color=MUTED)
        y += title
        block = shown[code]
        grey = block[..., np.newaxis].repeat(3, axis=-1)
        page.picture(x, y, grey, zoom=side / max(block.shape))
        swatch = colours[code][np.newaxis, np.newaxis]
        page.picture(x, y + side + 3, swatch, zoom=side / 4)
        page.picture(x + side + 4, y, _heat(maps[code]), zoom=zoom)
    return page


@styled
def draw_samples(pictures, *, n_columns=8, names=()):
    """Images side by side.

    Parameters
    ----------
    pictures : list of array (H, W)
        Float values; NaN is paper.
    n_columns : int, optional
        In one row.
    names : list of str, optional
        Above them.

    Returns
    -------
    png : bytes
    """
    values = np.concatenate([p[np.isfinite(p)] for p in pictures])
    low, high = np.percentile(values, (0.5, 99.8))
    span = high - low if high > low else 1.0
    height, width = np.max([p.shape for p in pictures], axis=0)
    n_columns = min(n_columns, len(pictures))
    margin, gap, title = 12, 4, 16 if names else 0
    zoom = min((_WIDTH - 2 * margin - (n_columns - 1) * gap) / n_columns / width, 4)
    zoom = max(1.0, math.floor(2 * zoom) / 2) if zoom > 1 else zoom
    n_rows = -(-len(pictures) // n_columns)
    page = Page(
        int(2 * margin + n_columns * (width * zoom + gap) - gap),
        int(2 * margin + n_rows * (height * zoom + gap + title) - gap),
    )
    for i, picture in enumerate(pictures):
        row, column = divmod(i, n_columns)
        x = margin + column * (width * zoom + gap)
        y = margin + row * (height * zoom + gap + title)
        if names:
            page.text(x, y + 11, names[i], size=10.5, color=MUTED)
        grey = ((picture - low) / span).clip(0, 1)
        grey = np.where(np.isnan(grey), 1.0, grey)[..., np.newaxis].repeat(3, axis=-1)
        page.picture(x, y + title, grey, zoom=zoom)
    return page


def _maps_of(atlas, order, block, is_nifti):
    """Where codes live, as pictures; of volumes, from three sides."""
    # In the proportions of the image, whatever those of a block.
    repeats = [max(1, round(n / min(block))) for n in block]

    def picture(shares, axes, is_nifti):
        for axis, i in enumerate(axes):
            shares = shares.repeat(repeats[i], axis)
        return as_picture(shares, spatial_dims=2, is_nifti=is_nifti)

    if atlas.counts.ndim == 3:
        shares = atlas.shares()
        return {code: picture(shares[code], (0, 1), is_nifti) for code in order}
    sides = [(atlas.shares(axis), _others(axis)) for axis in (2, 1, 0)]
    return {
        code: side_by_side([picture(s[code], axes, True) for s, axes in sides], gap=1)
        for code in order
    }


def _others(axis):
    return [other for other in range(3) if other != axis]


def _heat(values):
    """From faint grey over orange to black, each map by its own maximum."""
    top = np.nanmax(values)
    level = values / top if top > 0 else values * 0
    stops = np.array([_rgb("#f1f3f5"), _rgb(WARM), _rgb(INK)])
    level = np.nan_to_num(level)
    painted = np.stack(
        [np.interp(level, [0, 0.6, 1], stops[:, c]) for c in range(3)], axis=-1
    )
    return np.where(np.isnan(values)[..., np.newaxis], 1.0, painted)


def _rgb(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def _spans(curves):
    """Whether curves fall so far that a logarithm shows them better."""
    values = np.concatenate([values for _, values, _ in curves])
    return bool(values.min() > 0 and values.max() > 4 * values.min())

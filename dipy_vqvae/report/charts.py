"""The figures of the reports of fits, each as a PNG picture."""

import math

from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullFormatter,
    ScalarFormatter,
)
import numpy as np

from dipy_vqvae.report.page import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    Page,
    points,
    styled,
)


@styled
def draw_training(history, *, n_codes):
    """Training curves of a VQ-VAE."""
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
    """Training curves of a prior."""
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
    """How often each code occurs."""
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


def _spans(curves):
    """Whether curves fall so far that a logarithm shows them better."""
    values = np.concatenate([values for _, values, _ in curves])
    return bool(values.min() > 0 and values.max() > 4 * values.min())


def panel(page, x, title, *, y=46, width=250, height=190):
    axes = page.axes(x, y, width, height)
    page.text(x - 34, y - 18, title, size=13, weight="bold")
    return axes


def end_labels(axes, curves):
    """Name curves at their last point, without overlaps."""
    low, high = axes.get_ylim()
    is_log = axes.get_yscale() == "log"

    def place(value):
        if is_log:
            value, bottom, top = (math.log(v) for v in (value, low, high))
            return (value - bottom) / (top - bottom)
        return (value - low) / (high - low)

    heights = sorted(
        (place(values[-1]), name, colour) for name, values, colour in curves
    )
    lowest = -1.0
    for height, name, colour in heights:
        height = max(height, lowest + 0.085)
        lowest = height
        axes.text(
            1.03,
            height,
            name,
            color=colour,
            transform=axes.transAxes,
            fontsize=points(11),
            va="center",
        )


def draw_curves(axes, epochs, curves, *, log=False):
    if log:
        axes.set_yscale("log")
    for _, values, colour in curves:
        marker = "o" if len(values) < 2 else None
        axes.plot(epochs, values, color=colour, marker=marker, markersize=4)
    axes.set_xlabel("epochs", fontsize=points(11))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(0, max(epochs) * 1.02)
    if log:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6, 8)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    end_labels(axes, curves)

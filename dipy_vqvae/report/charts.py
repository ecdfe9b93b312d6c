"""Charts: training curves and code frequencies."""

import math

from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
import numpy as np

from dipy_vqvae.report.style import ACCENT, FAINT, INK, MUTED, new_figure, styled

_LABEL_GAP = 0.085  # between labels of curves, in heights of the axes


def new_charts(*titles, width, height=288, footnote=""):
    """Make a figure with axes side by side.

    Parameters
    ----------
    *titles : str
        Title of each axes.
    width, height : int
        Size of the figure in pixels of the page.
    footnote : str, optional
        Text below the axes.

    Returns
    -------
    figure : matplotlib Figure
    axes : list of matplotlib Axes
    """
    figure = new_figure(width, height, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15, wspace=0.08)
    axes = figure.subplots(1, len(titles), squeeze=False)[0]
    for panel, title in zip(axes, titles):
        panel.set_title(title)
    if footnote:
        figure.supxlabel(footnote, x=0.015, ha="left", size="medium", color=MUTED)
    return figure, list(axes)


@styled
def draw_training(history, *, n_codes):
    """Draw the training curves of a VQ-VAE."""
    usage, of = history.validation, "held-out"
    if "n_used" not in usage:
        usage, of = history.train, "training"
    has_rate = "nats_per_code" in history.train and not history.validation
    titles = ["Mean squared error", "Distance to the codes"]
    titles += [f"Codebook usage, {of}"] * ("n_used" in usage)
    titles += ["Rate network: nats per code"] * has_rate
    figure, axes = new_charts(*titles, width=944)
    curves = [("training", history.train["mse"], ACCENT)]
    if history.validation:
        curves.append(("held-out", history.validation["mse"], INK))
        _mark_best_epoch(axes[0], history)
    draw_curves(axes[0], history.epochs, curves, log=_needs_log(curves))
    curves = [("training", history.train["quantisation"], ACCENT)]
    draw_curves(axes[1], history.epochs, curves, log=_needs_log(curves))
    if "n_used" in usage:
        curves = [
            ("codes used", usage["n_used"], ACCENT),
            ("perplexity", usage["perplexity"], INK),
        ]
        axes[2].set_ylim(0, n_codes * 1.05)
        draw_curves(axes[2], history.epochs, curves)
    if has_rate:
        curves = [("training", history.train["nats_per_code"], ACCENT)]
        draw_curves(axes[-1], history.epochs, curves)
    return figure


@styled
def draw_prior_training(history):
    """Draw the training curves of a prior."""
    figure, (axes,) = new_charts("Nats per code", width=600)
    curves = [("training", history.train["loss"], ACCENT)]
    if history.validation:
        curves.append(("held-out", history.validation["loss"], INK))
        _mark_best_epoch(axes, history)
    draw_curves(axes, history.epochs, curves)
    return figure


@styled
def draw_usage(usage):
    """Draw the frequencies of the codes."""
    figure, (axes,) = new_charts("Code frequencies", width=760)
    draw_frequencies(axes, usage.histogram)
    axes.set_xlabel("codes, most frequent first")
    return figure


def draw_frequencies(axes, histogram):
    """Draw the sorted frequencies of codes, and uniform use.

    Parameters
    ----------
    axes : matplotlib Axes
    histogram : array (K,), int
        How often each code occurs.
    """
    frequencies = np.sort(histogram)[::-1] / np.sum(histogram)
    n_codes, n_used = len(frequencies), np.count_nonzero(frequencies)
    ranks = np.arange(1, n_used + 1)
    axes.bar(ranks, frequencies[:n_used], width=0.82, color=ACCENT)
    axes.set_yscale("log")
    axes.axhline(1 / n_codes, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.text(n_codes, 1.15 / n_codes, "uniform", ha="right", color=MUTED)
    axes.set_xlim(0, n_codes + 1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")


def draw_curves(axes, epochs, curves, *, log=False):
    """Draw curves over epochs, named at their ends.

    Parameters
    ----------
    axes : matplotlib Axes
    epochs : sequence of float
    curves : list of (str, sequence of float, str)
        Name, values and colour of each curve.
    log : bool, optional
        Whether the values are on a logarithmic scale.
    """
    if log:
        axes.set_yscale("log")
    for _, values, colour in curves:
        marker = "o" if len(values) < 2 else None
        # Where a stage does not measure it there is a gap.
        values = np.array(values, float)
        axes.plot(epochs, values, color=colour, marker=marker, markersize=4)
    axes.set_xlabel("epochs")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(0, max(epochs) * 1.02)
    if log:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6, 8)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    label_ends(axes, curves)


def label_ends(axes, curves):
    """Name curves at their last points, without overlaps.

    Parameters
    ----------
    axes : matplotlib Axes
        With its final limits.
    curves : list of (str, sequence of float, str)
        Name, values and colour of each curve.
    """
    axes.autoscale_view()  # limits are updated lazily
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [
        (to_axes.transform((1, _measured(values)[-1]))[1], name, colour)
        for name, values, colour in curves
    ]
    y = -math.inf
    for height, name, colour in sorted(ends):
        y = max(height, y + _LABEL_GAP)
        options = {"color": colour, "va": "center", "transform": axes.transAxes}
        axes.text(1.03, y, name, **options)


def _measured(values):
    return [value for value in values if value is not None]


def _needs_log(curves):
    values = np.concatenate([_measured(values) for _, values, _ in curves])
    return bool(values.min() > 0 and values.max() > 4 * values.min())


def _mark_best_epoch(axes, history):
    if history.best_epoch is not None:
        axes.axvline(history.best_epoch, color=FAINT, linewidth=1, zorder=0)

"""Curves with their names at their ends."""

import math

from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullFormatter,
    ScalarFormatter,
)

from dipy_vqvae.report.page import points


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

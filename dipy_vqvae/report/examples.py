"""Images beside their reconstructions."""

import math

from matplotlib.colors import LinearSegmentedColormap
import numpy as np

from dipy_vqvae.report.page import ACCENT, MUTED, PAPER, Page, styled
from dipy_vqvae.report.rows import PictureRow, picture_rows

# From too dark to too bright.
RESIDUAL = LinearSegmentedColormap.from_list("residual", [ACCENT, PAPER, "#b3321e"])
_WIDTH = 944
_N_COLUMNS = 8
_N_COLUMNS_OF_VOLUMES = 4


@styled
def draw_examples(examples, *, colours=None, footnote=""):
    """Draw originals, reconstructions, residuals, and codes where colours are given."""
    residuals = [np.abs(example.relative_residual) for example in examples]
    limit = _round_up(np.median([np.nanpercentile(r, 98) for r in residuals]))
    shapes = [example.original.shape for example in examples]
    wide = any(width > 1.6 * height for height, width in shapes)
    n_columns = min(_N_COLUMNS_OF_VOLUMES if wide else _N_COLUMNS, len(examples))
    bands = []
    for start in range(0, len(examples), n_columns):
        band = examples[start : start + n_columns]
        rows = [
            PictureRow("Original", "", [_grey(e, e.original) for e in band]),
            PictureRow(
                "Reconstruction", "", [_grey(e, e.reconstruction) for e in band]
            ),
            PictureRow(
                "Residual",
                f"±{100 * limit:g}% of range",
                [_paint(RESIDUAL, e.relative_residual / limit) for e in band],
            ),
        ]
        if colours is not None:
            maps = [_paint_codes(colours, e.codes) for e in band]
            rows.append(PictureRow("Codes", "like colours are near", maps))
        layout = {
            "headers": [_short(example.name) for example in band],
            "cell": np.max(shapes, axis=0),
            "n_columns": n_columns,
        }
        bands.append((rows, layout))
    return _stack(bands, footnote)


def _stack(bands, footnote):
    sizes = [picture_rows(rows, **layout) for rows, layout in bands]
    height = sum(size.height for size in sizes)
    page = Page(sizes[0].width, height + (16 if footnote else 0))
    y = 0
    for (rows, layout), size in zip(bands, sizes):
        picture_rows(rows, **layout, page=page, y=y)
        y += size.height
    if footnote:
        page.text(18, y + 4, footnote, size=10.5, color=MUTED)
    return page


def _grey(example, values):
    low, high = example.limits
    grey = ((values - low) / (high - low)).clip(0, 1)
    return np.where(np.isnan(grey), 1.0, grey)[..., np.newaxis].repeat(3, axis=-1)


def _paint(colours, values):
    painted = colours((np.nan_to_num(values).clip(-1, 1) + 1) / 2)[..., :3]
    return np.where(np.isnan(values)[..., np.newaxis], 1.0, painted)


def _paint_codes(colours, codes):
    beside = np.isnan(codes)
    painted = colours[np.where(beside, 0, codes).astype(int)]
    return np.where(beside[..., np.newaxis], 1.0, painted)


def _round_up(value):
    """The next of 1, 2, 5, 10, ... percent.

    Examples
    --------
    >>> _round_up(0.034), _round_up(0.0)
    (0.05, 0.01)
    """
    value = max(float(value), 0.01)
    power = 10.0 ** math.floor(math.log10(value))
    factor = next(f for f in (1, 2, 5, 10) if f * power >= value * (1 - 1e-9))
    return round(factor * power, 12)


def _short(name, longest=16):
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


@styled
def draw_samples(pictures, *, n_columns=8, names=()):
    """Images side by side."""
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

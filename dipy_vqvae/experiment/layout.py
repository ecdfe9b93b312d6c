"""Rows of images with labels and figures."""

from dataclasses import dataclass, field

import numpy as np

from dipy_vqvae.report import ACCENT, MUTED, Page, strip

_MARGIN = 18


def footnote_of(numbers):
    """What is written below a figure: which images, which settings."""
    data = numbers["data"]
    return (
        f"{data['title']}: {data['n_train']:,} training and {data['n_test']:,} test "
        f"images, {numbers['settings']['name']} settings, seed {numbers['random_seed']}"
    )


@dataclass
class ImageRow:
    """A row of images with its label.

    Attributes
    ----------
    title, subtitle : str
        At its left.
    images : array (n, H, W) or (n, H, W, 3)
        Values in [0, 1].
    values : tuple of str
        At its right, under the headers; a second line is smaller.
    heading : str or None
        Above the row, where a group of rows begins.
    """

    title: str
    subtitle: str
    images: np.ndarray
    values: tuple = ()
    heading: str | None = field(default=None)


def image_rows(
    rows, *, headers=(), footnote=None, label_width=196, value_width=70, zoom=2
):
    """Draw rows of images with labels at their left and figures at their right.

    Parameters
    ----------
    rows : list of ImageRow
    headers : tuple of str, optional
        Above the figures.
    footnote : str, optional
        Below everything.
    label_width, value_width : int, optional
        Room for labels and for each figure, pixels.
    zoom : int, optional
        Pixels of the page for a pixel of an image.

    Returns
    -------
    page : Page
    """
    n = max(len(row.images) for row in rows)
    size, row_gap, heading_height = 28 * zoom, 6, 34
    left = _MARGIN + label_width
    right = left + (n * 29 - 1) * zoom
    width = right + len(headers) * value_width + _MARGIN
    header_lines = max((header.count("\n") + 1 for header in headers), default=0)
    top = _MARGIN + 16 * header_lines
    height = top + len(rows) * (size + row_gap) + _MARGIN
    height += sum(heading_height for row in rows if row.heading)
    height += 22 if footnote else 0
    page = Page(width, height)
    for i, header in enumerate(headers):
        x = right + (i + 1) * value_width
        for j, line in enumerate(reversed(header.split("\n"))):
            page.text(x, top - 12 - 15 * j, line, size=11, color=MUTED, ha="right")
    y = top
    for row in rows:
        if row.heading:
            page.line(_MARGIN, width - _MARGIN, y + 7)
            page.text(
                _MARGIN, y + 25, row.heading, size=12, color=ACCENT, weight="bold"
            )
            y += heading_height
        page.picture(left, y, strip(row.images, n=n), zoom=zoom)
        two_lines = row.subtitle or any("\n" in value for value in row.values)
        baseline = y + size / 2 + (-3 if two_lines else 4)
        page.text(_MARGIN, baseline, row.title, size=13)
        page.text(_MARGIN, baseline + 17, row.subtitle, size=11, color=MUTED)
        for i, value in enumerate(row.values):
            x = right + (i + 1) * value_width
            first, _, second = value.partition("\n")
            page.text(x, baseline, first, size=12, ha="right")
            page.text(x, baseline + 17, second, size=11, color=MUTED, ha="right")
        y += size + row_gap
    if footnote:
        page.text(_MARGIN, height - 14, footnote, size=10.5, color=MUTED)
    return page

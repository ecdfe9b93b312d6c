"""Rows of pictures of any size with labels."""

from dataclasses import dataclass

import numpy as np

from dipy_vqvae.report.page import MUTED, Page

_MARGIN = 18
_GAP = 6
_HIGHEST = 170


@dataclass(frozen=True, eq=False)
class PictureRow:
    """A row of pictures with its label.

    Attributes
    ----------
    title, subtitle : str
        At its left.
    pictures : list of array (H, W) or (H, W, 3)
        Values in [0, 1].
    """

    title: str
    subtitle: str
    pictures: list


def picture_rows(
    rows,
    *,
    headers=(),
    label_width=132,
    width=944,
    cell=None,
    n_columns=None,
    page=None,
    y=0,
):
    """Draw rows of pictures in columns."""
    n = n_columns or len(rows[0].pictures)
    left = _MARGIN + label_width
    room = (width - left - _MARGIN - (n - 1) * _GAP) / n
    shapes = [picture.shape[:2] for row in rows for picture in row.pictures]
    tallest, widest = np.max(shapes if cell is None else [*shapes, cell], axis=0)
    zoom = min(room / widest, _HIGHEST / tallest)
    if zoom > 2:  # whole pixels look best
        zoom = np.floor(2 * zoom) / 2
    height, width = tallest * zoom, widest * zoom
    top = y + _MARGIN + (18 if any(headers) else 0)
    if page is None:
        page = Page(
            int(np.ceil(left + n * (width + _GAP) - _GAP + _MARGIN)),
            int(np.ceil(top + len(rows) * (height + _GAP) - _GAP + _MARGIN)),
        )
    for i, header in enumerate(headers):
        page.text(left + i * (width + _GAP), top - 8, header, size=10.5, color=MUTED)
    for j, row in enumerate(rows):
        y = top + j * (height + _GAP)
        baseline = y + height / 2 + (-3 if row.subtitle else 4)
        page.text(_MARGIN, baseline, row.title)
        page.text(_MARGIN, baseline + 17, row.subtitle, size=11, color=MUTED)
        for i, picture in enumerate(row.pictures):
            x = left + i * (width + _GAP) + (width - picture.shape[1] * zoom) / 2
            above = (height - picture.shape[0] * zoom) / 2
            page.picture(x, y + above, picture, zoom=zoom)
    return page

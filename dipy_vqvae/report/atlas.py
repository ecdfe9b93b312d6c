"""Where in the image each code lives, and what it looks like."""

import math

import numpy as np

from dipy_vqvae.report.page import INK, MUTED, WARM, Page, styled
from dipy_vqvae.report.pictures import as_picture, side_by_side

# Places that are told apart along an axis.
_MOST_PLACES = {2: 64, 3: 24}
# More tiles than this are no atlas but a wall.
_MOST_CODES = 48
_WIDTH = 944


class CodeAtlas:
    """How often each code occurs at each place of images of any size.

    Places are relative: the same fraction of the way along each axis.

    Parameters
    ----------
    n_codes : int
        Size K of the codebook.
    grid : tuple of int
        A typical grid of codes; long axes are told apart less finely.

    Attributes
    ----------
    counts : array (K, *places), int64
        How often each code was seen at each place.
    """

    def __init__(self, n_codes, grid):
        most = _MOST_PLACES[len(grid)]
        self.counts = np.zeros((n_codes, *(min(n, most) for n in grid)), np.int64)

    def add(self, codes, inside=None):
        """Count codes."""
        places = self.counts.shape[1:]
        index = [
            np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(int)
            for n, m in zip(codes.shape[1:], places)
        ]
        index = np.ravel_multi_index(np.ix_(*index), places)
        index = np.broadcast_to(index, codes.shape) + codes.astype(np.int64) * np.prod(
            places
        )
        if inside is not None:
            index = index[np.broadcast_to(inside, codes.shape)]
        counts = np.bincount(index.ravel(), minlength=self.counts.size)
        self.counts += counts.reshape(self.counts.shape)

    @property
    def histogram(self):
        """How often each code was seen, array (K,)."""
        return self.counts.reshape(len(self.counts), -1).sum(1)

    def shares(self, axis=None):
        """The share of each code among all that were seen at a place."""
        counts = self.counts if axis is None else self.counts.sum(axis=1 + axis)
        total = counts.sum(axis=0)
        return np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)


def code_blocks(fit):
    """What each code looks like among its own kind."""
    n_around = 1
    n = 2 * n_around + 1
    shape = (n,) * fit.spatial_dims
    blocks = []
    for k in range(fit.n_codes):
        image = fit.decode(np.full((1, *shape), k, np.int32))[0]
        if image.ndim > fit.spatial_dims:
            image = image.mean(axis=-1)
        middle = [slice(n_around * f, (n_around + 1) * f) for f in _factors(fit)]
        blocks.append(image[tuple(middle)])
    return np.stack(blocks)


def _factors(fit):
    return fit.config.downsampling


@styled
def draw_atlas(atlas, colours, blocks, *, is_nifti=True):
    """Where in the image the most frequent codes live, and what they look like."""
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

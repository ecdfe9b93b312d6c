"""Atlas of the codes: where in the image they occur, and what is decoded from them."""

import math

from matplotlib.colors import to_rgb
import numpy as np

from dipy_vqvae.report.pictures import as_picture, side_by_side, to_grey
from dipy_vqvae.report.rows import PictureRow, draw_rows
from dipy_vqvae.report.style import INK, WARM, styled

# Most positions that are counted separately along an axis.
_MOST_POSITIONS = {2: 64, 3: 24}
_MOST_CODES = 48  # drawn
# In pixels of the page.
_WIDTH = 908
_GAP = 14
# In pixels of the PNG file, two per pixel of the page.
_SIDE = 52


class CodeAtlas:
    """Frequencies of codes by position, for images of any size.

    Positions are relative: fractions of the length of each axis.

    Parameters
    ----------
    n_codes : int
        Size K of the codebook.
    grid : tuple of int
        Shape of a typical grid of codes; long axes are binned.

    Attributes
    ----------
    counts : array (K, *positions), int64
        How often each code occurs at each position.
    histogram : array (K,), int64
        How often each code occurs.
    """

    def __init__(self, n_codes, grid):
        most = _MOST_POSITIONS[len(grid)]
        self.counts = np.zeros((n_codes, *(min(n, most) for n in grid)), np.int64)
        self.histogram = np.zeros(n_codes, np.int64)

    def add(self, codes, mask=None):
        """Count codes (n, *grid), where a mask of that shape is true."""
        inside = codes
        if mask is not None:
            mask = np.broadcast_to(mask, codes.shape)
            inside = codes[mask]
        self.histogram += np.bincount(inside.ravel(), minlength=len(self.histogram))
        # One code at each position, whatever the grid: positions that no code falls on,
        # or two, would show as stripes.
        positions = self.counts.shape[1:]
        nearest = [
            ((np.arange(m) + 0.5) * n / m).astype(int)
            for n, m in zip(codes.shape[1:], positions)
        ]
        chosen = np.ix_(np.arange(len(codes)), *nearest)
        index = np.arange(math.prod(positions)).reshape(positions)
        index = index + codes[chosen].astype(np.int64) * index.size
        if mask is not None:
            index = index[mask[chosen]]
        counts = np.bincount(index.ravel(), minlength=self.counts.size)
        self.counts += counts.reshape(self.counts.shape)

    def frequencies(self, axis=None):
        """Return the frequency of each code at each position, summed along an axis."""
        counts = self.counts if axis is None else self.counts.sum(axis=1 + axis)
        total = counts.sum(axis=0)
        return np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)


def code_blocks(fit):
    """Decode each code among equal codes; return blocks (K, *downsampling)."""
    grid = (3,) * fit.spatial_dims
    middle = tuple(slice(factor, 2 * factor) for factor in fit.config.downsampling)
    blocks = []
    for code in range(fit.n_codes):
        image = fit.decode(np.full((1, *grid), code, np.int32))[0]
        if image.ndim > fit.spatial_dims:
            image = image.mean(axis=-1)
        blocks.append(image[middle])
    return np.stack(blocks)


@styled
def draw_atlas(atlas, colours, blocks, view):
    """Draw the most frequent codes: where they occur, and what is decoded from them.

    `view` is that of the images.
    """
    histogram = atlas.histogram
    codes = np.argsort(-histogram, kind="stable")[:_MOST_CODES]
    codes = codes[histogram[codes] > 0]
    maps = _position_maps(atlas, codes, view.of_blocks(blocks.shape[1:]))
    blocks = _block_pictures(blocks, view)
    blocks = to_grey(blocks, np.percentile(blocks[codes], (1, 99)))
    n_columns = 5 if atlas.counts.ndim == 4 else 8
    room = 2 * (_WIDTH - n_columns * _GAP) / n_columns - _SIDE
    zoom = room / next(iter(maps.values())).shape[1]
    zoom = math.floor(zoom) if zoom > 1 else zoom
    tiles, names = [], []
    for code in codes:
        block = _scale(blocks[code], _SIDE / max(blocks.shape[1:3]))
        heat = _scale(_heat(maps[code]), zoom)
        tiles.append(_tile(block, colours[code], heat))
        names.append(f"{code}:  {100 * histogram[code] / histogram.sum():.2g}%")
    starts = range(0, len(codes), n_columns)
    parts = [slice(start, start + n_columns) for start in starts]
    rows = [PictureRow("", "", tiles[part], names=names[part]) for part in parts]
    return draw_rows(rows, label_width=0, gap=_GAP, zoom=0.5)


def _tile(block, colour, heat):
    """Put a block above its colour, and both left of a map; arrays (h, w, 3)."""
    swatch = np.broadcast_to(colour, (_SIDE // 4, _SIDE // 4, 3))
    below = len(block) + 6
    tile = np.ones((max(below + len(swatch), len(heat)), _SIDE + 8 + heat.shape[1], 3))
    for top, left, part in ((0, 0, block), (below, 0, swatch), (0, _SIDE + 8, heat)):
        tile[top : top + part.shape[0], left : left + part.shape[1]] = part
    return tile


def _scale(picture, zoom):
    """Resample a picture to the nearest pixels."""
    rows, columns = (
        (np.arange(max(1, int(n * zoom))) / zoom).astype(int).clip(max=n - 1)
        for n in picture.shape[:2]
    )
    return picture[np.ix_(rows, columns)]


def _block_pictures(blocks, view):
    """Return the picture of each block; of volumes, the middle axial slice."""
    if blocks.ndim == 4:
        axis, section = view.sections()[0]
        blocks = blocks.take(view.middle(axis, blocks.shape[1 + axis]), 1 + axis)
        view = section
    return np.stack([view.picture(block, nearest=True) for block in blocks])


def _position_maps(atlas, codes, view):
    """Draw the frequency of codes at each position; of volumes, along each axis."""
    if atlas.counts.ndim == 3:
        values = atlas.frequencies()
        return {code: as_picture(values[code], view, nearest=True) for code in codes}
    sides = [(atlas.frequencies(axis), side) for axis, side in view.sections()]
    return {
        code: side_by_side(
            [side.picture(values[code], nearest=True) for values, side in sides], gap=1
        )
        for code in codes
    }


def _heat(values):
    """Colour values from light grey over orange to black at their maximum."""
    highest = np.nanmax(values)
    level = np.nan_to_num(values / highest if highest > 0 else values * 0)
    stops = np.array([to_rgb(c) for c in ("#f1f3f5", WARM, INK)])
    painted = np.stack(
        [np.interp(level, [0, 0.6, 1], stops[:, c]) for c in range(3)], axis=-1
    )
    return np.where(np.isnan(values)[..., np.newaxis], 1.0, painted)

"""Draw images by their affine: right and front or top where they belong, in millimetres.

Pictures show the right of the body at the right, and letters say so. Voxels that are not
square are drawn in their proportions.
"""

from dataclasses import dataclass, replace

import numpy as np

from dipy_vqvae.data import directions_of, image_affine

# Letters at the low and the high end of each world axis.
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
# Pixels that a voxel may be wide: sizes in a header may be anything.
_MOST_PIXELS = 10


@dataclass(frozen=True)
class View:
    """How the axes of an image are drawn.

    Parameters
    ----------
    axes : tuple of int
        World axis of each spatial axis of an image (0 right, 1 front, 2 top); empty
        where it is unknown: the first axis is then drawn downwards.
    signs : tuple of int
        1 or -1 for each.
    zooms : tuple of float
        Size of a voxel along each, in mm.
    pixel : float
        Size of a pixel, in mm.
    """

    spatial_dims: int
    axes: tuple = ()
    signs: tuple = ()
    zooms: tuple = (1.0, 1.0, 1.0)
    pixel: float = 1.0

    @classmethod
    def of(cls, affine, spatial_dims):
        """Return the view of images whose axes are the first of an affine (4, 4)."""
        if affine is None:
            return cls(spatial_dims)
        axes, signs = directions_of(affine)
        zooms = np.linalg.norm(affine[:3, :3], axis=0)[:spatial_dims].tolist()
        pixel = max(min(zooms), max(zooms) / _MOST_PIXELS)
        n = spatial_dims
        return cls(n, tuple(axes[:n]), tuple(signs[:n]), tuple(zooms), pixel)

    @classmethod
    def of_file(cls, file, spatial_dims):
        """Return the view of the images of a file (SourceFile)."""
        return cls.of(image_affine(file), spatial_dims)

    def of_blocks(self, factors):
        """Return the view of codes, each for a block of so many voxels."""
        zooms = tuple(z * f for z, f in zip(self.zooms, factors))
        pixel = max(min(zooms), max(zooms) / _MOST_PIXELS)
        return replace(self, zooms=zooms, pixel=pixel)

    def sections(self):
        """Return the axis across, and the view, of three sections of a volume.

        They are an axial, a coronal and a sagittal one.
        """
        across = [2, 1, 0]
        if self.axes:
            across = [self.axes.index(world) for world in across]
        return [(axis, self._without(axis)) for axis in across]

    def middle(self, axis, n):
        """Return the index of the middle of n slices, the same from either side."""
        return n - 1 - n // 2 if self.axes and self.signs[axis] < 0 else n // 2

    def _without(self, axis):
        kept = [other for other in range(3) if other != axis]
        axes = tuple(self.axes[i] for i in kept) if self.axes else (0, 1)
        signs = tuple(self.signs[i] for i in kept) if self.axes else (1, 1)
        zooms = tuple(self.zooms[i] for i in kept)
        return replace(self, spatial_dims=2, axes=axes, signs=signs, zooms=zooms)

    def picture(self, image, *, nearest=False):
        """Turn a 2D image into a picture (H, W), right or front at the right, top up."""
        zooms = self.zooms[:2]
        if self.axes:
            # The lower world axis is drawn to the right, the other one upwards.
            is_turned = self.axes[0] < self.axes[1]
            signs = self.signs[::-1] if is_turned else self.signs
            zooms = zooms[::-1] if is_turned else zooms
            image = image.T if is_turned else image
            image = image[:: -signs[0], :: signs[1]]
        for axis, zoom in enumerate(zooms):
            n = _length(image.shape[axis], zoom, self.pixel)
            image = _resample(image, axis, n, nearest=nearest)
        return image

    def marks(self, shape, *, gap=2):
        """Return where letters of directions stand in the picture of an image.

        Parameters
        ----------
        shape : tuple of int
            Spatial shape of the image.
        gap : int, optional
            Pixels between the sections of a volume.

        Returns
        -------
        marks : list of (float, float, int, int, str)
            Place in pixels from the left and the top, where the middle is from there
            (-1, 0 or 1 to the right and downwards), and the letter.
        """
        if not self.axes:
            return []
        sections = [(None, self)] if self.spatial_dims == 2 else self.sections()
        sizes = [
            section.size([n for axis, n in enumerate(shape) if axis != across])
            for across, section in sections
        ]
        marks, left, highest = [], 0, max(height for height, _ in sizes)
        for (_, section), (height, width) in zip(sections, sizes):
            low, high = sorted(section.axes)
            top = (highest - height) // 2
            for share, letter in zip((0, 1), _ENDS[low]):
                place = (left + share * width, top + height / 2)
                marks.append((*place, 1 - 2 * share, 0, letter))
            for share, letter in zip((1, 0), _ENDS[high]):
                place = (left + width / 2, top + share * height)
                marks.append((*place, 0, 1 - 2 * share, letter))
            left += width + gap
        return marks

    def size(self, shape):
        """Return height and width of the picture of a 2D image."""
        sizes = [_length(n, zoom, self.pixel) for n, zoom in zip(shape, self.zooms)]
        is_turned = self.axes and self.axes[0] < self.axes[1]
        return tuple(sizes[::-1] if is_turned else sizes)


def common_scale(views):
    """Return views with pixels of one size, the smallest one of all."""
    pixel = min(view.pixel for view in views)
    largest = max(max(view.zooms[: view.spatial_dims]) for view in views)
    pixel = max(pixel, largest / _MOST_PIXELS)
    return [replace(view, pixel=pixel) for view in views]


def _length(n, zoom, pixel):
    """Return how many pixels n voxels are drawn with."""
    return max(1, round(n * zoom / pixel))


def _resample(image, axis, n, *, nearest):
    """Resample one axis of a picture to n pixels, linearly or by the nearest pixel."""
    n_before = image.shape[axis]
    if n == n_before:
        return image
    at = (np.arange(n) + 0.5) * n_before / n - 0.5
    if nearest:
        return image.take(np.rint(at).astype(int).clip(0, n_before - 1), axis)
    at = at.clip(0, n_before - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, n_before - 1)
    part = at - low
    part = part[:, np.newaxis] if axis == 0 else part
    first, second = image.take(low, axis), image.take(high, axis)
    # Where only one of the two counts, the other may be NaN.
    return np.where(part == 0, first, (1 - part) * first + part * second)

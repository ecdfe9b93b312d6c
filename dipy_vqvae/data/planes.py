"""Anatomical planes: the axis of a file's slices by its affine, without resampling."""

from dataclasses import dataclass

from nibabel.orientations import io_orientation
import numpy as np

# Slices of a plane lie along this axis of a volume whose axes go right, anterior, up.
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class Turn:
    """How the axes of a stored volume are taken to go right, anterior and up (RAS).

    Parameters
    ----------
    axes : tuple of 3 int
        The stored axis that is nearest to each of these directions.
    flips : tuple of 3 bool
        Whether it goes the other way.

    Examples
    --------
    >>> turn = Turn(axes=(2, 0, 1), flips=(False, True, False))
    >>> volume = np.arange(24).reshape(2, 3, 4)
    >>> turn.to_ras(volume).shape
    (4, 2, 3)
    >>> np.array_equal(turn.to_stored(turn.to_ras(volume)), volume)
    True
    """

    axes: tuple
    flips: tuple

    @classmethod
    def of(cls, affine):
        """Return the turn for an affine (4, 4); oblique axes count as the nearest."""
        directions, signs = directions_of(affine)
        axes = sorted(range(3), key=directions.__getitem__)
        return cls(tuple(axes), tuple(signs[axis] < 0 for axis in axes))

    def to_ras(self, volume):
        """Turn a stored array (X, Y, Z, ...); a view."""
        return self._flipped(volume.transpose(*self.axes, *range(3, volume.ndim)))

    def to_stored(self, volume):
        """Undo `to_ras`."""
        order = np.argsort(self.axes).tolist()
        return self._flipped(volume).transpose(*order, *range(3, volume.ndim))

    def _flipped(self, volume):
        return volume[
            tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        ]


def directions_of(affine):
    """Return the world axis of each axis of an array, and whether it rises.

    Parameters
    ----------
    affine : ndarray of shape (4, 4)
        Oblique axes count as the nearest.

    Returns
    -------
    axes : list of int
        0 for right, 1 for anterior, 2 for superior.
    signs : list of int
        1 or -1 for each.

    Examples
    --------
    >>> directions_of(np.diag([-2, 2, 5, 1]))
    ([0, 1, 2], [-1, 1, 1])
    """
    affine = np.array(affine, float)
    affine[:3, 3] = 0
    orientation = io_orientation(affine)
    return orientation[:, 0].astype(int).tolist(), orientation[:, 1].astype(
        int
    ).tolist()


def image_affine(file):
    """Return the affine of the axes of a file's images, up to the origin.

    Parameters
    ----------
    file : SourceFile
        The file.

    Returns
    -------
    affine : ndarray of shape (4, 4) or None
        Columns for the axes of an image; for slices, the third is across them. None
        where the file has no affine.
    """
    if file.affine is None:
        return None
    affine = file.affine.copy()
    affine[:3, 3] = 0
    across = file.slice_axis
    if file.turn is not None:
        signs = np.where(file.turn.flips, -1, 1)
        affine[:, :3] = affine[:, list(file.turn.axes)] * signs
        across = file.turn.axes.index(across)
    if across is not None:
        order = [axis for axis in range(3) if axis != across]
        affine[:, :3] = affine[:, [*order, across]]
    return affine


def plane_of(affine, axis):
    """Return the plane of slices along an axis of an array.

    Parameters
    ----------
    affine : ndarray of shape (4, 4) or None
        That of the array.
    axis : int
        Axis along which slices lie.

    Returns
    -------
    plane : str or None
        ``"axial"``, ``"coronal"`` or ``"sagittal"``; None if it is unknown.

    Examples
    --------
    >>> plane_of(np.diag([2, 2, 2, 1]), 2)
    'axial'
    """
    if affine is None or axis is None:
        return None
    axes, _ = directions_of(affine)
    return {number: name for name, number in PLANES.items()}[axes[axis]]


def plane_of_files(files):
    """Return the plane of the slices of all files (SourceFile); None if they differ."""
    planes = {plane_of(file.affine, file.slice_axis) for file in files}
    return planes.pop() if len(planes) == 1 else None

"""How images were read from files, which is saved with a model."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from dipy_vqvae.data.orientation import orientation_of
from dipy_vqvae.data.planes import PLANES

_MM = (1.0, 1.0, 1.0)
# World axis and sign of each letter of an orientation such as "RAS".
_DIRECTIONS = {
    letter: (axis, sign)
    for axis, pair in enumerate(("RL", "AP", "SI"))
    for letter, sign in zip(pair, (1, -1))
}


@dataclass(frozen=True)
class Reading:
    """Layout and space of the files that images were read from.

    Attributes
    ----------
    kind : str
        Format of the first file: ``"idx"``, ``"npy"`` or ``"nifti"``.
    slice_axis : int or str
        Axis or plane of a volume's slices, for 2D images.
    volumes_as : str
        What the volumes of a 4D file are: ``"images"`` or ``"channels"``.
    voxel_size : tuple of float
        Of the files' three axes, in mm; the median over the files. For slices of a
        plane, of the axes right, anterior and up.
    orientation : str
        Of the files' three axes, such as ``"LPS"``; the most frequent one. For slices
        of a plane ``"RAS"``, to which they are turned.
    common_affine : tuple of 16 float or None
        The affine of all files, row by row, if they have the same one.
    """

    kind: str = "npy"
    slice_axis: int | str = 2
    volumes_as: str = "images"
    voxel_size: tuple = _MM
    orientation: str = "RAS"
    common_affine: tuple | None = None

    def check(self):
        """Refuse values that no files can have been read with."""
        sizes = np.array(self.voxel_size, dtype=float)
        if sizes.shape != (3,) or not np.isfinite(sizes).all() or (sizes <= 0).any():
            raise ValueError(f"voxels of {self.voxel_size}")
        axes = (0, 1, 2, "axial", "coronal", "sagittal")
        if self.slice_axis not in axes or isinstance(self.slice_axis, bool):
            raise ValueError(f"slices along axis {self.slice_axis!r}")
        if self.volumes_as not in ("images", "channels"):
            raise ValueError(f"volumes as {self.volumes_as!r}")
        if sorted(_DIRECTIONS[letter][0] for letter in self.orientation) != [0, 1, 2]:
            raise ValueError(f"an orientation of {self.orientation!r}")
        if self.common_affine is not None:
            affine = np.array(self.common_affine, dtype=float)
            if affine.shape != (16,) or not np.isfinite(affine).all():
                raise ValueError(f"an affine of {self.common_affine!r}")

    def affine(self, spatial_dims):
        """Return the affine of new images, (4, 4).

        Volumes lie where the training images do, if these have one affine. Otherwise
        the first voxel is at the origin, with voxel size and orientation of the training
        images and without obliqueness. 2D images are stacked along the third axis.
        """
        if spatial_dims == 3 and self.common_affine is not None:
            return np.array(self.common_affine, dtype=float).reshape(4, 4)
        affine = np.zeros((4, 4))
        affine[3, 3] = 1
        for axis, (letter, size) in enumerate(zip(self.orientation, self.voxel_size)):
            world, sign = _DIRECTIONS[letter]
            affine[world, axis] = sign * size
        if spatial_dims == 2:
            last = PLANES.get(self.slice_axis, self.slice_axis)
            order = [axis for axis in range(3) if axis != last]
            affine[:, :3] = affine[:, [*order, last]]
        return affine

    @classmethod
    def from_dict(cls, entries):
        """Return the reading of a model file's description, checked.

        Parameters
        ----------
        entries : dict
            As of `dataclasses.asdict`, lists for tuples.

        Returns
        -------
        reading : Reading

        Raises
        ------
        ValueError
            For entries that no files can have been read with.
        """
        try:
            lists = {n: tuple(v) for n, v in entries.items() if isinstance(v, list)}
            reading = cls(**{**entries, **lists})
            reading.check()
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            raise ValueError(
                "the model file has an invalid description of how its images were read: "
                f"{error}"
            ) from error
        return reading


def describe_reading(images):
    """Describe how the images of a collection are read from their files.

    Parameters
    ----------
    images : ImageCollection

    Returns
    -------
    reading : Reading
    """
    files = images.files
    affines = [_turned_affine(file) for file in files if file.affine is not None]
    sizes, orientation = np.ones((1, 3)), "RAS"
    if affines:
        sizes = np.array([np.linalg.norm(a[:3, :3], axis=0) for a in affines])
        known = Counter(filter(None, map(orientation_of, affines))).most_common(1)
        orientation = known[0][0] if known else orientation
    return Reading(
        kind=files[0].kind,
        slice_axis=images.slice_axis,
        volumes_as=images.volumes_as,
        voxel_size=tuple(np.median(sizes, axis=0).tolist()),
        orientation=orientation,
        common_affine=_common_affine(files),
    )


def _common_affine(files):
    """Return the affine that all files have, up to rounding, as 16 numbers; or None."""
    first = files[0].affine
    for file in files:
        if (
            first is None
            or file.affine is None
            or not np.allclose(file.affine, first, atol=1e-3)
        ):
            return None
    return tuple(first.ravel().tolist())


def _turned_affine(file):
    """Return the affine of a file's axes as its images have them, up to the origin."""
    if file.turn is None:
        return file.affine
    affine = file.affine.copy()
    signs = np.where(file.turn.flips, -1, 1)
    affine[:, :3] = affine[:, list(file.turn.axes)] * signs
    return affine

"""Reading of images from files, saved with the model."""

from collections import Counter
from dataclasses import asdict, dataclass, replace

import numpy as np

from dipy_vqvae.workflows.command import UsageError

# Entry in the description of a fit.
_ENTRY = "reading"

_MM = (1.0, 1.0, 1.0)
# Affines that differ by less, in mm per voxel or mm, are the same.
_SAME_AFFINE = 1e-3
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
    slice_axis : int
        Axis of a volume's slices, for 2D images.
    volumes_as : str
        What the volumes of a 4D file are: ``"images"`` or ``"channels"``.
    voxel_size : tuple of float
        Of the files' three axes, in mm; the median over the files.
    orientation : str
        Of the files' three axes, such as ``"LPS"``; the most frequent one.
    common_affine : tuple of tuple of float, or None
        The affine of the files, if all have the same one.
    """

    kind: str = "npy"
    slice_axis: int = 2
    volumes_as: str = "images"
    voxel_size: tuple = _MM
    orientation: str = "RAS"
    common_affine: tuple | None = None

    def check(self):
        """Refuse values that no files can have been read with."""
        sizes = np.array(self.voxel_size, dtype=float)
        if sizes.shape != (3,) or not np.isfinite(sizes).all() or (sizes <= 0).any():
            raise ValueError(f"voxels of {self.voxel_size}")
        if self.slice_axis not in (0, 1, 2) or isinstance(self.slice_axis, bool):
            raise ValueError(f"slices along axis {self.slice_axis!r}")
        if self.volumes_as not in ("images", "channels"):
            raise ValueError(f"volumes as {self.volumes_as!r}")
        if sorted(_DIRECTIONS[letter][0] for letter in self.orientation) != [0, 1, 2]:
            raise ValueError(f"an orientation of {self.orientation!r}")
        if self.common_affine is not None:
            affine = np.array(self.common_affine, dtype=float)
            is_affine = affine.shape == (4, 4) and np.isfinite(affine).all()
            if not is_affine or not np.linalg.det(affine[:3, :3]):
                raise ValueError(f"an affine of {self.common_affine!r}")

    def affine(self, spatial_dims):
        """Return the affine of new images, (4, 4).

        That of volumes is the affine of the training images, if these have the same
        one. Otherwise the first voxel is at the origin, and voxel size and orientation
        are those of the training images, without obliqueness. 2D images are stacked
        along the third axis.
        """
        if self.common_affine is not None and spatial_dims == 3:
            return np.array(self.common_affine, dtype=float)
        affine = np.zeros((4, 4))
        affine[3, 3] = 1
        for axis, (letter, size) in enumerate(zip(self.orientation, self.voxel_size)):
            world, sign = _DIRECTIONS[letter]
            affine[world, axis] = sign * size
        if spatial_dims == 2:
            order = [axis for axis in range(3) if axis != self.slice_axis]
            affine[:, :3] = affine[:, [*order, self.slice_axis]]
        return affine


def describe_reading(files, *, slice_axis, volumes_as):
    """Return how images were read from files (SourceFile), as a `Reading`."""
    affines = [file.affine for file in files if file.affine is not None]
    sizes, orientation, common = np.ones((1, 3)), "RAS", None
    if affines:
        from dipy_vqvae.data import orientation_of

        sizes = np.array([np.linalg.norm(a[:3, :3], axis=0) for a in affines])
        known = Counter(filter(None, map(orientation_of, affines))).most_common(1)
        orientation = known[0][0] if known else orientation
        if np.ptp(affines, axis=0).max() < _SAME_AFFINE:
            common = tuple(map(tuple, affines[0].tolist()))
    return Reading(
        kind=files[0].kind,
        slice_axis=slice_axis,
        volumes_as=volumes_as,
        voxel_size=tuple(np.median(sizes, axis=0).tolist()),
        orientation=orientation,
        common_affine=common,
    )


def keep_reading(fit, reading):
    """Note in a fit how its training images were read; it is saved with the fit."""
    fit.description[_ENTRY] = asdict(reading)


def reading_of(fit, *, slice_axis=None):
    """Return how images are to be read for a fit.

    A fit of arrays has the defaults. `slice_axis` replaces that of the training.
    """
    known = fit.description.get(_ENTRY) or {}
    if not known and fit.config.n_channels_in > 1:
        known = {"volumes_as": "channels"}
    try:
        reading = Reading(
            **{**known, "voxel_size": tuple(known.get("voxel_size", _MM))}
        )
        reading.check()
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(
            "the model file has an invalid description of how its images were read: "
            f"{error}"
        ) from error
    if slice_axis is not None:
        if fit.spatial_dims == 3:
            raise UsageError("--slice_axis is for models of 2D images, not of volumes")
        reading = replace(reading, slice_axis=slice_axis)
    return reading


def describe_shapes(shapes):
    """Describe the shapes of images in words.

    >>> describe_shapes([(64, 64), (64, 64)])
    '64 x 64'
    >>> describe_shapes([(9, 8), (7, 8), (7, 8)])
    '2 shapes from 7 x 8 to 9 x 8'
    """
    texts = [" x ".join(str(n) for n in shape) for shape in sorted(set(shapes))]
    if len(texts) == 1:
        return texts[0]
    return f"{len(texts)} shapes from {texts[0]} to {texts[-1]}"

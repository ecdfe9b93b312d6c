"""Reading of images from files, saved with the model."""

from collections import Counter
from dataclasses import asdict, dataclass, replace

import numpy as np

from dipy_vqvae.workflows.command import UsageError

# Entry in the description of a fit.
_ENTRY = "reading"

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
            from dipy_vqvae.data import PLANES

            last = PLANES.get(self.slice_axis, self.slice_axis)
            order = [axis for axis in range(3) if axis != last]
            affine[:, :3] = affine[:, [*order, last]]
        return affine


def describe_reading(files, *, slice_axis, volumes_as):
    """Return how images were read from files (SourceFile), as a `Reading`."""
    affines = [_turned_affine(file) for file in files if file.affine is not None]
    sizes, orientation = np.ones((1, 3)), "RAS"
    if affines:
        from dipy_vqvae.data import orientation_of

        sizes = np.array([np.linalg.norm(a[:3, :3], axis=0) for a in affines])
        known = Counter(filter(None, map(orientation_of, affines))).most_common(1)
        orientation = known[0][0] if known else orientation
    return Reading(
        kind=files[0].kind,
        slice_axis=slice_axis,
        volumes_as=volumes_as,
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
        lists = {n: tuple(v) for n, v in known.items() if isinstance(v, list)}
        reading = Reading(**{**known, **lists})
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


def view_of(reading, spatial_dims):
    """Return how images that were read this way are drawn, as `dipy_vqvae.report.View`."""
    from dipy_vqvae.report import View

    if reading.kind != "nifti":
        return View(spatial_dims)
    return View.of(reading.affine(spatial_dims), spatial_dims)


def describe_shapes(shapes):
    """Describe the shapes of images in words.

    >>> describe_shapes([(64, 64), (64, 64)])
    '64 x 64'
    >>> describe_shapes([(9, 8), (7, 8), (7, 8)])
    '2 shapes from 7 x 8 to 9 x 8'
    """
    shapes = sorted(set(map(tuple, shapes)))
    texts = [" x ".join(str(n) for n in shape) for shape in shapes]
    if len(texts) == 1:
        return texts[0]
    return f"{len(texts)} shapes from {texts[0]} to {texts[-1]}"

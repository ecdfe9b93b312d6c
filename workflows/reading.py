"""How a command takes files apart into images, kept with the model it fits."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from dipy_vqvae.workflows.command import UsageError

_ENTRY = "reading"
# In the description of a prior: the fingerprint of the codebook that it is for.
CODEBOOK_ENTRY = "codebook"
_MM = (1.0, 1.0, 1.0)
# World axis and sign.
_DIRECTIONS = {
    letter: (axis, sign)
    for axis, pair in enumerate(("RL", "AP", "SI"))
    for letter, sign in zip(pair, (1, -1))
}


@dataclass(frozen=True)
class Reading:
    """How images were read from files.

    Attributes
    ----------
    kind : str
        Format of the first file: ``"idx"``, ``"npy"`` or ``"nifti"``.
    slice_axis : int
        Axis of a volume's slices, for 2D images.
    volumes_as : str
        What the volumes of a 4D file are: ``"images"`` or ``"channels"``.
    voxel_size : tuple of float
        Of the files' three axes; the median, where files differ.
    orientation : str
        Where the files' three axes point to, such as ``"LPS"``; the most frequent,
        where files differ.
    """

    kind: str = "npy"
    slice_axis: int = 2
    volumes_as: str = "images"
    voxel_size: tuple = _MM
    orientation: str = "RAS"

    def check(self):
        """Refuse what no file of images can have been read like.

        Raises
        ------
        ValueError, TypeError
            If one of the attributes is none of its values.
        """
        sizes = np.array(self.voxel_size, dtype=float)
        if sizes.shape != (3,) or not np.isfinite(sizes).all() or (sizes <= 0).any():
            raise ValueError(f"voxels of {self.voxel_size}")
        if self.slice_axis not in (0, 1, 2) or isinstance(self.slice_axis, bool):
            raise ValueError(f"slices along axis {self.slice_axis!r}")
        if self.volumes_as not in ("images", "channels"):
            raise ValueError(f"volumes as {self.volumes_as!r}")
        if sorted(_DIRECTIONS[letter][0] for letter in self.orientation) != [0, 1, 2]:
            raise ValueError(f"axes to {self.orientation!r}")

    def affine(self, spatial_dims):
        """Affine for images that no file has.

        Voxel sizes and directions are those of the training images, without their
        obliqueness, and the origin is at the first voxel.

        Parameters
        ----------
        spatial_dims : int
            2 for images stacked along the third axis, 3 for volumes.

        Returns
        -------
        affine : array (4, 4)
        """
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
    """Say how images were read.

    Parameters
    ----------
    files : sequence of SourceFile
        Where they came from.
    slice_axis : int
        Axis of the slices.
    volumes_as : str
        What volumes of 4D files are.

    Returns
    -------
    reading : Reading
    """
    affines = [file.affine for file in files if file.affine is not None]
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
    )


def keep_reading(fit, reading):
    """Note in a fit how its images were read; it is saved with the fit.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    reading : Reading
        How its images were read.
    """
    fit.description[_ENTRY] = asdict(reading)


def reading_of(fit, *, slice_axis=None):
    """Tell how images are to be read for a fit.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    slice_axis : int, optional
        Axis of the slices, if another than that of the training images.

    Returns
    -------
    reading : Reading
        Defaults for what a fit that was made from arrays does not know.

    Raises
    ------
    UsageError
        If `slice_axis` is no axis, or the fit is of volumes.
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
            f"the model says how its images were read in a way that makes no sense: "
            f"{error}"
        ) from error
    if slice_axis is not None:
        if fit.spatial_dims == 3:
            raise UsageError("--slice_axis is for models of 2D images, not of volumes")
        reading = replace(reading, slice_axis=checked_slice_axis(slice_axis))
    return reading


def checked_slice_axis(slice_axis):
    """Refuse what is no axis of a volume.

    Parameters
    ----------
    slice_axis : int or None
        The axis; None for the default.

    Returns
    -------
    slice_axis : int or None

    Raises
    ------
    UsageError
        If it is not 0, 1 or 2.
    """
    if slice_axis not in (None, 0, 1, 2):
        raise UsageError(f"--slice_axis must be 0, 1 or 2, got {slice_axis}")
    return slice_axis


def read_labels(path):
    """Read one class for each image.

    Parameters
    ----------
    path : str or Path
        An idx file (of one axis), a .npy file, or text with one number per line.

    Returns
    -------
    labels : array (N,) of int

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it does not hold a list of whole numbers from 0.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".npy"):
        from dipy_vqvae.data import read_image

        labels = read_image(path).data
    elif "idx1" in name or name.removesuffix(".gz").endswith(".idx"):
        from dipy_vqvae.data import read_idx

        labels = read_idx(path, n_axes=1)
    else:
        labels = _read_numbers(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise ValueError(
            f"{path}: labels must be whole numbers in one row, got {labels.dtype} "
            f"of shape {labels.shape}"
        )
    if labels.min() < 0:
        raise ValueError(f"{path}: labels must not be negative, got {labels.min()}")
    return labels.astype(np.int64)


def _read_numbers(path):
    try:
        words = path.read_text(encoding="utf-8-sig").replace(",", " ").split()
        return np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: not a list of labels, one whole number for each image"
        ) from error


def describe_shapes(shapes):
    """Say what shapes images have, as ``64 x 64``.

    Parameters
    ----------
    shapes : list of tuple of int
        That of each of them, or of each file.

    Returns
    -------
    text : str

    Examples
    --------
    >>> describe_shapes([(64, 64), (64, 64)])
    '64 x 64'
    >>> describe_shapes([(9, 8), (7, 8), (7, 8)])
    '2 shapes from 7 x 8 to 9 x 8'
    """
    texts = [" x ".join(str(n) for n in shape) for shape in sorted(set(shapes))]
    if len(texts) == 1:
        return texts[0]
    return f"{len(texts)} shapes from {texts[0]} to {texts[-1]}"

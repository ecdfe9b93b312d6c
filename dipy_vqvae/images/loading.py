"""Many files of images as one array, with where each image came from."""

from dataclasses import dataclass
import logging
import math
from pathlib import Path

import numpy as np

from dipy_vqvae.images.checks import check_spatial_dims
from dipy_vqvae.images.paths import expand_paths
from dipy_vqvae.images.reading import read_image

logger = logging.getLogger("dipy_vqvae")

_VOLUMES_AS = ("images", "channels")


@dataclass(frozen=True, eq=False)
class SourceFile:
    """A file that images came from, and how its axes were taken apart.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        ``"idx"``, ``"npy"`` or ``"nifti"``.
    shape : tuple of int
        Shape as stored.
    dtype : dtype
        Type as stored.
    affine : ndarray of shape (4, 4) or None
        Voxel indices to world coordinates.
    slice_axis, volume_axis : int or None
        The axes of the stored array along which images were taken: slices (or
        the images of a stack), and volumes (of a series or a stack).
    """

    path: Path
    kind: str
    shape: tuple
    dtype: np.dtype
    affine: np.ndarray | None
    slice_axis: int | None = None
    volume_axis: int | None = None

    @property
    def n_slices(self):
        """Slices per volume; 1 where images are whole volumes."""
        return 1 if self.slice_axis is None else self.shape[self.slice_axis]

    @property
    def n_volumes(self):
        """Volumes taken as images of their own."""
        return 1 if self.volume_axis is None else self.shape[self.volume_axis]

    @property
    def image_shape(self):
        """Shape of one image: spatial axes, and channels if any."""
        taken = (self.slice_axis, self.volume_axis)
        return tuple(n for axis, n in enumerate(self.shape) if axis not in taken)


@dataclass(frozen=True, eq=False)
class Sources:
    """Where each of N images came from: a table of arrays, a row per image.

    Parameters
    ----------
    files : tuple of SourceFile
        The files.
    file_index : ndarray of shape (N,), int64
        Which of the files.
    slice_index, volume_index : ndarray of shape (N,), int64
        Position along the file's `slice_axis` and `volume_axis`; 0 where the
        file was not taken apart along such an axis.
    """

    files: tuple
    file_index: np.ndarray
    slice_index: np.ndarray
    volume_index: np.ndarray

    def __len__(self):
        return len(self.file_index)

    def put_back(self, images, *, fill=0):
        """Give results the layout of the files that the images came from.

        Parameters
        ----------
        images : ndarray of shape (N, ...)
            One result per image, in order: reconstructions, or codes on a grid
            of another size than the images.
        fill : float, optional
            Value where no image was taken (skipped slices).

        Yields
        ------
        file : SourceFile
            Each file in turn.
        data : ndarray
            Its results, slices and volumes on the axes where they were found. Of
            the file's own shape if the results are of the images' shape.

        Raises
        ------
        ValueError
            If there are not as many results as images.
        """
        images = np.asarray(images)
        if len(images) != len(self):
            raise ValueError(f"{len(images)} results for {len(self)} images")
        for index, file in enumerate(self.files):
            rows = np.flatnonzero(self.file_index == index)
            shape = (file.n_volumes, file.n_slices, *images.shape[1:])
            data = np.full(shape, fill, dtype=images.dtype)
            data[self.volume_index[rows], self.slice_index[rows]] = images[rows]
            # (V, S, *image) -> (V, *with slices) -> stored order. The volume axis
            # is moved last because slice_axis counts without it.
            if file.slice_axis is None:
                data = data[:, 0]
            else:
                data = np.moveaxis(data, 1, 1 + file.slice_axis)
            if file.volume_axis is None:
                data = data[0]
            else:
                data = np.moveaxis(data, 0, file.volume_axis)
            yield file, data


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their sources.

    Parameters
    ----------
    images : ndarray of shape (N, *spatial) or (N, *spatial, C)
        The images. Users of the class need of it only ``len``, ``shape``,
        ``dtype`` and indexing, so that something that reads on demand can stand
        in its place; `sources` does not depend on the images being in memory.
    sources : Sources
        Where each came from.
    """

    images: np.ndarray
    sources: Sources

    def __len__(self):
        return len(self.sources)


def load_images(
    paths, *, spatial_dims=2, slice_axis=2, volumes_as="images", skip_empty=False
):
    """Read files of images into one array.

    ===========  =======================  ==================================
    file         ``spatial_dims=2``       ``spatial_dims=3``
    ===========  =======================  ==================================
    NIfTI, 3D    its slices               one volume
    NIfTI, 4D    the slices of each       each volume, or the series as the
                 volume, or slices with   channels of one
                 the volumes as channels
    .npy         (H, W), (N, H, W) or     (X, Y, Z), (N, X, Y, Z) or
                 (N, H, W, C)             (N, X, Y, Z, C)
    idx          (N, H, W) or             (N, X, Y, Z) or
                 (N, H, W, C)             (N, X, Y, Z, C)
    ===========  =======================  ==================================

    Parameters
    ----------
    paths : str, Path or sequence of them
        Files, globs and folders, see `expand_paths`.
    spatial_dims : int, optional
        2 for slices, 3 for volumes.
    slice_axis : int, optional
        Axis of NIfTI images along which slices follow one another: 0, 1 or 2.
        Used with ``spatial_dims=2``.
    volumes_as : {"images", "channels"}, optional
        What the volumes of a 4D NIfTI image are.
    skip_empty : bool, optional
        Leave out images in which all pixels have one value.

    Returns
    -------
    images : ImageSet
        All images as one array in the type of the files (the smallest type that
        holds them all where files differ), and the sources. Images of a 4D file
        follow one another volume by volume, slice by slice.

    Raises
    ------
    OSError
        If a file is missing or cannot be read, or a glob or folder has none.
    ValueError
        If a file cannot be used (see `read_image`), if images differ in shape,
        or if all are empty and those are skipped.
    """
    check_spatial_dims(spatial_dims)
    if volumes_as not in _VOLUMES_AS:
        raise ValueError(
            f"volumes_as must be 'images' or 'channels', got {volumes_as!r}"
        )
    if slice_axis not in (0, 1, 2):
        raise ValueError(f"slice_axis must be 0, 1 or 2, got {slice_axis!r}")
    files, stacks = [], []
    for path in expand_paths(paths):
        image = read_image(path)
        file = _describe(image, spatial_dims, slice_axis, volumes_as)
        if files and file.image_shape != files[0].image_shape:
            raise ValueError(
                f"images must have one shape, but {files[0].path} has images of "
                f"{files[0].image_shape} and {file.path} of {file.image_shape}"
            )
        files.append(file)
        stacks.append(_take_apart(image.data, file))
    images = np.ascontiguousarray(
        stacks[0] if len(stacks) == 1 else np.concatenate(stacks)
    )
    del stacks
    sources = _list_sources(files)
    if skip_empty:
        images, sources = _drop_empty(images, sources, spatial_dims)
    return ImageSet(images=images, sources=sources)


def _describe(image, spatial_dims, slice_axis, volumes_as):
    """Which axes of a file hold slices and volumes."""
    n_axes = image.data.ndim
    axes = {"slice_axis": None, "volume_axis": None}
    # Axes of the whole, beyond those of one image without channels.
    n_more = n_axes - spatial_dims
    if image.kind == "nifti":
        if spatial_dims == 2:
            axes["slice_axis"] = slice_axis
        if n_axes == 4 and volumes_as == "images":
            axes["volume_axis"] = 3
    elif n_more in (1, 2):
        axes["slice_axis" if spatial_dims == 2 else "volume_axis"] = 0
    elif n_more != 0 or image.kind == "idx":
        of = f"{spatial_dims}D images (spatial_dims={spatial_dims})"
        raise ValueError(
            f"{image.path}: an array of shape {image.data.shape} is not a stack of {of}"
        )
    return SourceFile(
        path=image.path,
        kind=image.kind,
        shape=image.data.shape,
        dtype=image.data.dtype,
        affine=image.affine,
        **axes,
    )


def _take_apart(data, file):
    """Images of a file along the first axis, volume by volume."""
    # (V, rest) -> (V, S, *image) -> (V * S, *image)
    data = (
        data[np.newaxis]
        if file.volume_axis is None
        else np.moveaxis(data, file.volume_axis, 0)
    )
    if file.slice_axis is None:
        return data
    data = np.moveaxis(data, 1 + file.slice_axis, 1)
    return data.reshape(math.prod(data.shape[:2]), *data.shape[2:])


def _list_sources(files):
    """A row for each image, in the order of `_take_apart`."""
    counts = [(file.n_volumes, file.n_slices) for file in files]
    grids = [np.indices(count).reshape(2, -1) for count in counts]
    volume_index, slice_index = np.concatenate(grids, axis=1)
    n_images = [math.prod(count) for count in counts]
    return Sources(
        files=tuple(files),
        file_index=np.repeat(np.arange(len(files)), n_images),
        slice_index=slice_index,
        volume_index=volume_index,
    )


def _drop_empty(images, sources, spatial_dims):
    """Leave out images that are constant over space, in every channel."""
    space = tuple(range(1, 1 + spatial_dims))
    varies = images.min(axis=space) != images.max(axis=space)  # (N,) or (N, C)
    keep = varies.reshape(len(images), -1).any(axis=1)
    if not keep.any():
        raise ValueError(
            f"{sources.files[0].path}: all {len(images)} images are empty (constant)"
        )
    if keep.all():
        return images, sources
    logger.info("skipped %d of %d images: constant", np.sum(~keep), len(keep))
    return images[keep], Sources(
        files=sources.files,
        file_index=sources.file_index[keep],
        slice_index=sources.slice_index[keep],
        volume_index=sources.volume_index[keep],
    )

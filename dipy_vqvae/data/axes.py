"""Layout of images in files: from a stored array to a stack of images, and back.

A stack has the axes ``(n, *spatial[, C])``: the slices of a volume follow one another,
and so do volumes.
"""

from dataclasses import dataclass
import math

import numpy as np

from dipy_vqvae.data.formats.image import ImageHeader
from dipy_vqvae.data.planes import PLANES, Turn


@dataclass(frozen=True, eq=False)
class SourceFile(ImageHeader):
    """Header of a file that images come from, with the axes along which they follow.

    Parameters
    ----------
    slice_axis, volume_axis : int or None
        Axes of the stored array of slices (or of the images of a stack), and of
        volumes (of a series or a stack).
    turn : Turn or None
        How the axes are turned for slices of an anatomical plane; images are then
        turned ones, and slices are counted from left, back or bottom.
    """

    slice_axis: int | None = None
    volume_axis: int | None = None
    turn: Turn | None = None

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
        axes = range(len(self.shape))
        if self.turn is not None:
            axes = (*self.turn.axes, *axes[3:])
        return tuple(self.shape[axis] for axis in axes if axis not in taken)

    @property
    def layout(self):
        """Arguments of `to_stack` and `from_stack`."""
        return {
            "slice_axis": self.slice_axis,
            "volume_axis": self.volume_axis,
            "turn": self.turn,
        }


@dataclass(frozen=True, eq=False)
class Sources:
    """Origin of each of N images: a table of arrays, a row per image.

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
        """Give results the layout of the files that the images came from."""
        images = np.asarray(images)
        if len(images) != len(self):
            raise ValueError(f"{len(images)} results for {len(self)} images")
        for index, file in enumerate(self.files):
            rows = np.flatnonzero(self.file_index == index)
            data = put_together(
                images[rows],
                file,
                volume_index=self.volume_index[rows],
                slice_index=self.slice_index[rows],
                fill=fill,
            )
            yield file, data


def to_stack(data, *, slice_axis=None, volume_axis=None, turn=None):
    """Return the images of a stored array along the first axis, volume by volume.

    `slice_axis` counts without the volume axis.
    """
    if turn is not None:
        data = turn.to_ras(data)
        slice_axis = turn.axes.index(slice_axis)
    # stored -> (V, *volume) -> (V, S, *image) -> (V * S, *image)
    data = (
        data[np.newaxis] if volume_axis is None else np.moveaxis(data, volume_axis, 0)
    )
    if slice_axis is None:
        return data
    data = np.moveaxis(data, 1 + slice_axis, 1)
    return data.reshape(math.prod(data.shape[:2]), *data.shape[2:])


def from_stack(stack, *, n_volumes=1, slice_axis=None, volume_axis=None, turn=None):
    """Invert :func:`to_stack`, for images of any size."""
    data = stack
    if turn is not None:
        slice_axis = turn.axes.index(slice_axis)
    if slice_axis is not None:
        # (V * S, *image) -> (V, S, *image) -> (V, *volume)
        n_slices = len(stack) // n_volumes
        data = stack.reshape(n_volumes, n_slices, *stack.shape[1:])
        data = np.moveaxis(data, 1, 1 + slice_axis)
    data = data[0] if volume_axis is None else np.moveaxis(data, 0, volume_axis)
    return data if turn is None else turn.to_stored(data)


def describe_file(header, *, spatial_dims, slice_axis, volumes_as):
    """Tell the axes of a file apart: slices, volumes, channels."""
    n_axes = len(header.shape)
    axes = {"slice_axis": None, "volume_axis": None}
    plane = PLANES.get(slice_axis)
    # Axes of the whole, beyond those of one image without channels.
    n_more = n_axes - spatial_dims
    if header.kind == "nifti":
        if n_more < 0:
            raise ValueError(
                f"{header.path}: has {n_axes} axes {header.shape}, volumes have 3"
            )
        if spatial_dims == 2 and n_axes > 2:
            axes["slice_axis"] = slice_axis
            if plane is not None:
                axes["turn"] = Turn.of(header.affine)
                axes["slice_axis"] = axes["turn"].axes[plane]
        if n_axes == 4 and (volumes_as == "images" or header.shape[3] == 1):
            axes["volume_axis"] = 3
    elif n_more in (1, 2):
        axes["slice_axis" if spatial_dims == 2 else "volume_axis"] = 0
    elif n_more != 0 or header.kind == "idx":
        of = f"{spatial_dims}D images (spatial_dims={spatial_dims})"
        raise ValueError(
            f"{header.path}: an array of shape {header.shape} is not a stack of {of}"
        )
    return SourceFile(**vars(header), **axes)


def layout_of_stack(name, images, *, spatial_dims):
    """Describe images in memory, (n, *spatial[, C]), as a stack in a file."""
    header = ImageHeader(name, "npy", images.shape, images.dtype, None)
    return describe_file(
        header, spatial_dims=spatial_dims, slice_axis=0, volumes_as="images"
    )


def list_sources(files):
    """Return a row for each image, in the order of `take_apart`."""
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


def put_together(results, file, *, volume_index=None, slice_index=None, fill=0):
    """Return results, one per image, on the axes where a file has its images."""
    results = np.asarray(results)
    n_images = file.n_volumes * file.n_slices
    if volume_index is not None:
        stack = np.full((n_images, *results.shape[1:]), fill, dtype=results.dtype)
        stack[volume_index * file.n_slices + slice_index] = results
    elif len(results) == n_images:
        stack = results
    else:
        raise ValueError(f"{len(results)} results for {n_images} images of {file.path}")
    return from_stack(stack, n_volumes=file.n_volumes, **file.layout)


@dataclass(frozen=True)
class Layout:
    """The axes of a NIfTI file that holds a stack of images.

    Parameters
    ----------
    spatial_dims : int
        Spatial axes of an image: 2 for slices, 3 for volumes.
    slice_axis : int or None
        Axis of the file's array along which slices lie; None for volumes.
    n_volumes : int or None
        Length of the fourth axis, for volumes one after another; None where the
        file has no such axis.
    turn : Turn or None
        How the axes of the file's array are turned for slices of a plane.

    Examples
    --------
    >>> layout = Layout(spatial_dims=2, slice_axis=1)
    >>> layout.to_volume(np.zeros((5, 8, 9))).shape
    (8, 5, 9)
    >>> layout.to_stack(np.zeros((8, 5, 9))).shape
    (5, 8, 9)
    """

    spatial_dims: int
    slice_axis: int | None = None
    n_volumes: int | None = None
    turn: Turn | None = None

    def to_volume(self, stack):
        """Return the array of a file, from a stack."""
        return from_stack(
            stack,
            n_volumes=self.n_volumes or 1,
            slice_axis=self.slice_axis,
            volume_axis=self._volume_axis,
            turn=self.turn,
        )

    def to_stack(self, volume):
        """Return a stack, from the array of a file."""
        return to_stack(
            volume,
            slice_axis=self.slice_axis,
            volume_axis=self._volume_axis,
            turn=self.turn,
        )

    @property
    def _volume_axis(self):
        return None if self.n_volumes is None else 3


def layout_of(file, *, spatial_dims, slice_axis=2):
    """Return the layout in which results for a file are written."""
    n_volumes = None if file.volume_axis is None else file.n_volumes
    if spatial_dims == 2:
        # Results for images that are no volumes are stacked as those of a model are.
        slice_axis = PLANES.get(slice_axis, slice_axis)
        slice_axis = file.slice_axis if file.kind == "nifti" else slice_axis
    else:
        slice_axis = None
    return Layout(
        spatial_dims, slice_axis=slice_axis, n_volumes=n_volumes, turn=file.turn
    )

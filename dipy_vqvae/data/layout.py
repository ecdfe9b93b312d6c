"""The axes of a NIfTI file, for images one after another and back."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layout:
    """Where in a NIfTI file's array a stack of images lies.

    A stack has the axes ``(n, *spatial)`` or ``(n, *spatial, C)``, the slices of a
    volume following one another, and volumes after that.

    Parameters
    ----------
    spatial_dims : int
        Spatial axes of an image: 2 for slices, 3 for volumes.
    slice_axis : int or None
        Axis of the file's array along which slices lie; None for volumes.
    n_volumes : int or None
        Length of the fourth axis, for volumes one after another; None where the
        file has no such axis.

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

    def to_volume(self, stack):
        """Return the array of a file, from a stack.

        Parameters
        ----------
        stack : array, shape (n, *spatial[, C])
            Images, or codes.

        Returns
        -------
        volume : array
            ``(X, Y, Z)``, then the volumes where there is an axis for them, then
            the channels.
        """
        if self.spatial_dims == 3:
            return stack[0] if self.n_volumes is None else np.moveaxis(stack, 0, 3)
        n_volumes = self.n_volumes or 1
        # (V * S, *image) -> (V, S, *image) -> (V, X, Y, Z) -> (X, Y, Z, V)
        data = stack.reshape(n_volumes, -1, *stack.shape[1:])
        data = np.moveaxis(data, 1, 1 + self.slice_axis)
        return data[0] if self.n_volumes is None else np.moveaxis(data, 0, 3)

    def to_stack(self, volume):
        """Return a stack, from the array of a file.

        Parameters
        ----------
        volume : array
            As from :meth:`to_volume`.

        Returns
        -------
        stack : array, shape (n, *spatial[, C])
        """
        data = volume[np.newaxis]
        if self.n_volumes is not None:
            data = np.moveaxis(volume, 3, 0)
        if self.spatial_dims == 3:
            return data
        data = np.moveaxis(data, 1 + self.slice_axis, 1)
        return data.reshape(-1, *data.shape[2:])


def layout_of(file, *, spatial_dims, slice_axis=2):
    """Return the layout in which results for a file are written.

    Parameters
    ----------
    file : SourceFile
        The file. Its own layout is kept where it is a NIfTI file.
    spatial_dims : int
        Spatial axes of its images.
    slice_axis : int, optional
        Axis along which 2D images of other files are stacked.

    Returns
    -------
    layout : Layout
    """
    n_volumes = None if file.volume_axis is None else file.n_volumes
    if spatial_dims == 2:
        slice_axis = file.slice_axis if file.kind == "nifti" else slice_axis
    else:
        slice_axis = None
    return Layout(spatial_dims, slice_axis=slice_axis, n_volumes=n_volumes)

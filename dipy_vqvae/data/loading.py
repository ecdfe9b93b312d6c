"""Many files of images as one array, with where each image came from."""

from dataclasses import dataclass
import logging

import numpy as np

from dipy_vqvae.data.axes import (
    Sources,
    describe_file,
    list_sources,
    take_apart,
)
from dipy_vqvae.data.checks import check_spatial_dims
from dipy_vqvae.data.formats.reading import read_image
from dipy_vqvae.data.orientation import warn_of_spaces
from dipy_vqvae.data.paths import expand_paths

logger = logging.getLogger("dipy_vqvae")

_VOLUMES_AS = ("images", "channels")


def check_layout(spatial_dims, slice_axis, volumes_as):
    """Refuse wrong options of how files are taken apart."""
    check_spatial_dims(spatial_dims)
    if volumes_as not in _VOLUMES_AS:
        raise ValueError(
            f"volumes_as must be 'images' or 'channels', got {volumes_as!r}"
        )
    if slice_axis not in (0, 1, 2):
        raise ValueError(f"slice_axis must be 0, 1 or 2, got {slice_axis!r}")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their sources.

    Parameters
    ----------
    images : ndarray of shape (N, *spatial) or (N, *spatial, C)
        The images.
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
    check_layout(spatial_dims, slice_axis, volumes_as)
    files, stacks = [], []
    for path in expand_paths(paths):
        image = read_image(path)
        file = describe_file(
            image.header,
            spatial_dims=spatial_dims,
            slice_axis=slice_axis,
            volumes_as=volumes_as,
        )
        if files and file.image_shape != files[0].image_shape:
            raise ValueError(
                f"images must have one shape, but {files[0].path} has images of "
                f"{files[0].image_shape} and {file.path} of {file.image_shape}"
            )
        files.append(file)
        stacks.append(take_apart(image.data, file))
    warn_of_spaces(files, [None] * len(files))
    images = np.ascontiguousarray(
        stacks[0] if len(stacks) == 1 else np.concatenate(stacks)
    )
    del stacks
    sources = list_sources(files)
    if skip_empty:
        images, sources = _drop_empty(images, sources, spatial_dims)
    return ImageSet(images=images, sources=sources)


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

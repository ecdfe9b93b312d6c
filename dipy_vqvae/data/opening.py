"""Open files of images, to be read when they are needed or at once."""

from collections import Counter
from dataclasses import dataclass, replace
import logging
import os

import numpy as np

from dipy_vqvae.data.axes import SourceFile, Sources, describe_file
from dipy_vqvae.data.checks import check_spatial_dims, is_varying
from dipy_vqvae.data.collection import ImageCollection
from dipy_vqvae.data.formats.reading import read_header
from dipy_vqvae.data.formats.volumes import header_of_loaded, is_loaded
from dipy_vqvae.data.names import bids_name
from dipy_vqvae.data.orientation import warn_of_spaces
from dipy_vqvae.data.pairing import expand_with_masks
from dipy_vqvae.data.paths import expand_paths
from dipy_vqvae.data.planes import PLANES
from dipy_vqvae.display import html_table

logger = logging.getLogger("dipy_vqvae")


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self):
        return (
            f"<ImageSet: {len(self)} images, {self.images.dtype} array of shape "
            f"{self.images.shape}, from {len(self.sources.files)} files>"
        )

    def _repr_html_(self):
        rows = [
            ("images", f"{len(self):,}"),
            ("files", f"{len(self.sources.files):,}"),
            ("shape of the array", self.images.shape),
            ("data type", self.images.dtype),
        ]
        return html_table("ImageSet", rows)


def open_images(
    paths,
    *,
    spatial_dims=2,
    slice_axis=2,
    volumes_as="images",
    skip_empty=False,
    mask_files=None,
    cache_bytes=1 << 30,
):
    """Open files of images, to be read when they are needed.

    Headers are read at once, voxels later: of uncompressed files the slices that are
    needed, of compressed ones the whole file, which is cached.

    Parameters
    ----------
    paths : str, Path, image of nibabel, or sequence of them
        Files, globs and folders, see `expand_paths`; each file is a subject. Or images
        that nibabel has loaded.
    spatial_dims, slice_axis, volumes_as : optional
        Layout of the files, see `load_images`.
    skip_empty : bool, optional
        Leave images in which all pixels have one value out of a training.
    mask_files : str, Path, image of nibabel, or sequence of them, optional
        One mask for all files, or one for each, paired by the names of the files
        (BIDS entities, or the words in which the names differ), or in their order
        where names say nothing; as large as the image, or as each volume of a
        series. Nonzero is inside. Voxels outside have no influence and may be NaN.
    cache_bytes : int, optional
        Size of the cache of compressed files; it holds at least one file.

    Returns
    -------
    images : ImageCollection
        The images; shapes may differ from file to file.

    Raises
    ------
    OSError
        If a file is missing or cannot be read, or a glob or folder has none.
    ValueError
        If a file cannot be used or has other channels than the first, or if
        masks do not fit; the message names the file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> with TemporaryDirectory() as folder:
    ...     for i in range(3):
    ...         np.save(f"{folder}/{i}.npy", np.zeros((5, 8 + i, 9), np.uint8))
    ...     images = open_images(folder)
    >>> len(images), images.shapes
    (15, ((8, 9), (9, 9), (10, 9)))
    """
    _check_layout(spatial_dims, slice_axis, volumes_as)
    spatial_dims = int(spatial_dims)
    slice_axis = slice_axis if slice_axis in PLANES else int(slice_axis)
    headers, mask_headers = _read_headers(paths, mask_files)
    files = [
        describe_file(
            header,
            spatial_dims=spatial_dims,
            slice_axis=slice_axis,
            volumes_as=volumes_as,
        )
        for header in headers
    ]
    for file in files:
        _check_channels(file, files[0], spatial_dims)
    _warn_of_kinds([file.path for file in files])
    masks = [None] * len(files)
    if mask_headers is not None:
        masks = [
            _describe_mask(header, file, spatial_dims)
            for header, file in zip(mask_headers, files)
        ]
    warn_of_spaces(files, masks)
    return ImageCollection(
        files,
        masks,
        spatial_dims=spatial_dims,
        skip_empty=skip_empty,
        cache_bytes=cache_bytes,
        slice_axis=slice_axis,
        volumes_as=volumes_as,
    )


def _warn_of_kinds(paths):
    """Warn where BIDS names say that images are of several kinds, such as T1w and mask."""
    kinds = Counter(name.kind for name in map(bids_name, paths) if name)
    if len(kinds) > 1:
        logger.warning(
            "By their names the images are of several kinds: %s; name those of one kind, "
            "unless one model is meant to learn them all",
            ", ".join(f"{n} {kind}" for kind, n in kinds.items()),
        )


def _check_channels(file, first, spatial_dims):
    """Refuse files that do not have as many channels as the first."""
    channels, expected = (f.image_shape[spatial_dims:] for f in (file, first))
    if channels != expected:
        texts = [
            f"{n[0]} channels" if n else "no channels" for n in (channels, expected)
        ]
        raise ValueError(
            f"{file.path}: its images have {texts[0]}, those of {first.path} have "
            f"{texts[1]}"
        )


def names_images(value):
    """Return whether a value is a file, an image of nibabel, or a list of them."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    return bool(entries) and all(
        is_loaded(entry) or isinstance(entry, (str, os.PathLike)) for entry in entries
    )


def _read_headers(images, masks):
    """Return the headers of images, and of the mask of each or None."""
    if not any(map(is_loaded, [*_as_list(images), *_as_list(masks)])):
        images, masks = expand_with_masks(images, masks)
        known = {path: read_header(path) for path in dict.fromkeys([*(masks or [])])}
        headers = [read_header(path) for path in images]
        return headers, None if masks is None else [known[path] for path in masks]
    headers = _headers_in_order(_as_list(images), "image")
    if masks is None:
        return headers, None
    mask_headers = _headers_in_order(_as_list(masks), "mask")
    if len(mask_headers) not in (1, len(headers)):
        raise ValueError(f"{len(mask_headers)} masks for {len(headers)} images")
    return headers, mask_headers * (len(headers) // len(mask_headers))


def _headers_in_order(entries, name):
    """Return headers of images of nibabel, and of files among them."""
    headers = []
    for entry in entries:
        if is_loaded(entry):
            headers.append(header_of_loaded(entry, f"{name}[{len(headers)}]"))
        else:
            headers += [read_header(path) for path in expand_paths(entry)]
    return headers


def _as_list(values):
    if values is None:
        return []
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _describe_mask(header, file, spatial_dims):
    """Tell the axes of a mask apart, to match those of its images."""
    has_channels = len(file.image_shape) > spatial_dims
    shape = file.shape[:-1] if has_channels else file.shape
    slice_axis, volume_axis, turn = file.slice_axis, file.volume_axis, file.turn
    layouts = {shape: (slice_axis, volume_axis)}
    # One mask for all volumes, and for all images of a stack.
    if volume_axis is not None:
        layouts[shape[:volume_axis] + shape[volume_axis + 1 :]] = (slice_axis, None)
    if file.kind != "nifti" and slice_axis is not None:
        layouts[shape[1:]] = (None, None)
    fitting = [s for s in _with_other_last_axes(header.shape) if s in layouts]
    if not fitting:
        allowed = " or ".join(map(str, layouts))
        raise ValueError(
            f"{header.path}: a mask of shape {header.shape} does not go with "
            f"{file.path}, which needs {allowed}"
        )
    slice_axis, volume_axis = layouts[fitting[0]]
    # The array is given this shape when it is read.
    header = replace(header, shape=fitting[0])
    return SourceFile(
        **vars(header), slice_axis=slice_axis, volume_axis=volume_axis, turn=turn
    )


def _with_other_last_axes(shape):
    """Return a shape, without axes of length 1 at its end, and with one more."""
    shapes = [shape]
    while shapes[-1][-1:] == (1,):
        shapes.append(shapes[-1][:-1])
    return [*shapes, (*shape, 1)]


def _check_layout(spatial_dims, slice_axis, volumes_as):
    """Refuse axis options out of range."""
    check_spatial_dims(spatial_dims)
    if volumes_as not in ("images", "channels"):
        raise ValueError(
            f"volumes_as must be 'images' or 'channels', got {volumes_as!r}"
        )
    is_plane = isinstance(slice_axis, str) and slice_axis in PLANES
    if not is_plane and slice_axis not in (0, 1, 2):
        raise ValueError(
            f"slice_axis must be 0, 1, 2, {', '.join(map(repr, sorted(PLANES)))}, got "
            f"{slice_axis!r}"
        )


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
    slice_axis : {0, 1, 2, "axial", "coronal", "sagittal"}, optional
        Axis of NIfTI images along which slices follow one another, used with
        ``spatial_dims=2``. A plane is found by the affine of each file: slices of
        files that are stored in different orders are then alike, with their axes
        going right, anterior or up. They are not resampled.
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
    collection = open_images(
        paths, spatial_dims=spatial_dims, slice_axis=slice_axis, volumes_as=volumes_as
    )
    first = collection.files[0]
    for file in collection.files:
        if file.image_shape != first.image_shape:
            raise ValueError(
                f"images must have one shape, but {first.path} has images of "
                f"{first.image_shape} and {file.path} of {file.image_shape}; "
                "open_images takes files of several shapes"
            )
    stacks = [collection.read(i) for i in range(len(collection.files))]
    images = np.ascontiguousarray(
        stacks[0] if len(stacks) == 1 else np.concatenate(stacks)
    )
    sources = collection.sources
    if skip_empty:
        images, sources = _drop_empty(images, sources, spatial_dims)
    return ImageSet(images=images, sources=sources)


def _drop_empty(images, sources, spatial_dims):
    """Leave out images that are constant over space, in every channel."""
    keep = is_varying(images, spatial_dims)
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

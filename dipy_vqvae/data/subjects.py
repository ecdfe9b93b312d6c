"""Arrays, lists of arrays and files as subjects, for models.

A subject is never divided: a file, an entry of a list, or an array. Its images have
one shape; shapes may differ between subjects. `ArraySubjects` and `ImageCollection`
share what models use:

``counts``, ``shapes``
    number of images of each subject, and their spatial shape;
``n_channels``, ``channel_axis``
    number of channels, and whether the data have an axis for them;
``has_masks``, ``skip_empty``, ``is_array``
    whether there are masks, whether constant images are skipped, and whether the
    data are one array, in which subjects are unknown;
``rows(subject, rows)``, ``mask_rows(subject, rows)``
    images, ``(n, *spatial, C)``, and their masks, ``(n, *spatial)`` or None;
``name(subject)``, ``mask_name(subject)``
    names in messages;
``held_bytes(subject)``
    memory that reading needs.
"""

import logging

from nibabel import Nifti1Image
import numpy as np

from dipy_vqvae.arrays import as_array, is_list_of_arrays
from dipy_vqvae.data.checks import check_images, check_masked_images, zero_outside
from dipy_vqvae.data.collection import ImageCollection
from dipy_vqvae.data.formats.volumes import is_loaded
from dipy_vqvae.data.opening import names_images, open_images

logger = logging.getLogger("dipy_vqvae")


class ArraySubjects:
    """Hold images in memory, a checked stack (n, *spatial, C) per subject.

    `layouts` are the shapes of the arrays as passed, `is_list` tells whether they
    came in a list. Made by `as_subjects`.
    """

    skip_empty = False

    def __init__(self, stacks, masks, *, spatial_dims, layouts, is_list, name):
        self.stacks = stacks
        self.counts = tuple(len(stack) for stack in stacks)
        self.shapes = tuple(stack.shape[1:-1] for stack in stacks)
        self.masks = masks
        self.spatial_dims = spatial_dims
        self.layouts = layouts
        self.is_list = is_list
        self._name = name

    def __len__(self):
        return sum(self.counts)

    @property
    def n_channels(self):
        """Number of channels."""
        return self.stacks[0].shape[-1]

    @property
    def channel_axis(self):
        """Tell whether the (first of the) arrays have an axis for channels."""
        return len(self.layouts[0]) == self.spatial_dims + 2

    @property
    def has_masks(self):
        """Tell whether there are masks."""
        return self.masks is not None

    def rows(self, subject, rows):
        """Return some images of a subject, (n, *spatial, C); 0 outside their mask."""
        images = self.stacks[subject][rows]
        if self.masks is None:
            return images
        return zero_outside(images, self.masks[subject][rows])

    def mask_rows(self, subject, rows):
        """Return the masks of some images of a subject, (n, *spatial), or None."""
        return None if self.masks is None else self.masks[subject][rows]

    @property
    def is_array(self):
        """Tell whether this is one array, in which subjects are unknown."""
        return not self.is_list

    def name(self, subject):
        """Return the name of a file or subject in messages."""
        return f"{self._name}[{subject}]" if self.is_list else self._name

    def mask_name(self, subject):
        """Return the name of its mask in messages."""
        return f"mask of {self.name(subject)}" if self.is_list else "mask"

    def held_bytes(self, subject):
        """Return the bytes that reading from a file keeps in memory for a while."""
        return 0

    def give_back(self, results, *, are_images=False):
        """Return results, (n, ...) for each subject, with the axes of its images.

        The last axis of images is that of channels.
        """
        given = [
            self._with_axes_of(layout, result, are_images)
            for result, layout in zip(results, self.layouts)
        ]
        return given if self.is_list else given[0]

    def _with_axes_of(self, layout, result, are_images):
        if are_images and len(layout) < self.spatial_dims + 2:
            result = result[..., 0]
        return result[0] if len(layout) == self.spatial_dims else result


def as_subjects(images, mask, *, spatial_dims, name="images", layout=None):
    """Check images and masks, and make subjects of them.

    Files and images of nibabel are opened by `open_images`, with the options of `layout`
    or its defaults.
    """
    if names_images(images):
        images = _open(images, mask, name, spatial_dims=spatial_dims, **(layout or {}))
        mask = None
    if isinstance(images, ImageCollection):
        if mask is not None:
            raise ValueError(
                "mask: not used with files, pass mask_files to open_images"
            )
        if images.spatial_dims != spatial_dims:
            raise ValueError(
                f"{name} were opened as images of {images.spatial_dims} axes "
                f"({images.name(0)}, ...), the model is for {spatial_dims}"
            )
        return images
    if not is_list_of_arrays(images):
        images = as_array(images, name)
        _warn_of_colours([images.shape], name, spatial_dims)
        _warn_of_volume(images, name, spatial_dims)
        stack, mask = check_masked_images(
            images, mask, spatial_dims=spatial_dims, name=name
        )
        return ArraySubjects(
            [stack],
            None if mask is None else [mask],
            spatial_dims=spatial_dims,
            layouts=[images.shape],
            is_list=False,
            name=name,
        )
    return _list_of_subjects(images, mask, spatial_dims, name)


def _open(images, mask, name, **layout):
    """Open files or images of nibabel, with masks of either kind or as arrays."""
    if mask is not None and not names_images(mask):
        mask = _as_loaded(mask, images, name)
    collection = open_images(images, mask_files=mask, **layout)
    if all(file.loaded is not None for file in collection.files):
        is_list = isinstance(images, (list, tuple))
        collection.given = "images" if is_list else "image"
    return collection


def _as_loaded(mask, images, name):
    """Turn arrays that are masks of images of nibabel into images of nibabel."""
    is_list = isinstance(images, (list, tuple))
    images, masks = (images, mask) if is_list else ([images], [mask])
    if not all(map(is_loaded, images)):
        raise TypeError(
            f"mask: {name} are files, and so must masks be, got {type(mask).__name__}"
        )
    if not isinstance(masks, (list, tuple)) or len(masks) != len(images):
        raise ValueError(
            f"mask must be a list of {len(images)} masks, one for each image of nibabel"
        )
    return [
        m if is_loaded(m) else Nifti1Image(np.uint8(as_array(m, "mask") != 0), i.affine)
        for m, i in zip(masks, images)
    ]


def _list_of_subjects(entries, mask, spatial_dims, name):
    masks = None
    if mask is not None:
        if not isinstance(mask, (list, tuple)) or len(mask) != len(entries):
            raise ValueError(
                f"mask must be a list of {len(entries)} masks, one for each entry of "
                f"the list of {name}"
            )
        if any(entry is None for entry in mask):
            raise ValueError(
                f"mask must have an array for each entry of {name}, got None"
            )
        masks = []
    stacks, layouts = [], []
    for index, entry in enumerate(entries):
        entry = as_array(entry, f"{name}[{index}]")
        layouts.append(entry.shape)
        _warn_of_volume(entry, f"{name}[{index}]", spatial_dims)
        is_single = entry.ndim == spatial_dims
        stack, entry_mask = _check_entry(
            entry[np.newaxis] if is_single else entry,
            None if masks is None else mask[index],
            spatial_dims,
            f"{name}[{index}]",
        )
        if stack.shape[-1] != (stacks[0] if stacks else stack).shape[-1]:
            raise ValueError(
                f"{name}[{index}] has {stack.shape[-1]} channels, {name}[0] has "
                f"{stacks[0].shape[-1]}"
            )
        stacks.append(stack)
        if masks is not None:
            masks.append(entry_mask)
    _warn_of_colours(layouts, f"{name}[0]", spatial_dims)
    return ArraySubjects(
        stacks,
        masks,
        spatial_dims=spatial_dims,
        layouts=layouts,
        is_list=True,
        name=name,
    )


def _check_entry(entry, mask, spatial_dims, name):
    if mask is None:
        return check_images(entry, spatial_dims=spatial_dims, name=name), None
    return check_masked_images(
        entry, mask, spatial_dims=spatial_dims, name=name, mask_name=f"mask of {name}"
    )


def _warn_of_volume(array, name, spatial_dims):
    """Warn where an array lies in memory as nibabel reads volumes: x varies fastest."""
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    if not is_fortran or array.ndim <= spatial_dims or len(array) == 1:
        return
    n, *image = array.shape
    where = "numpy.moveaxis(data, 2, 0) for the slices along its third axis"
    if spatial_dims == 3:
        where = "numpy.moveaxis(data, 3, 0) for the volumes of a series"
    logger.warning(
        "%s of shape %s: taken for %d images of %s. It lies in memory as a volume that "
        "nibabel or load_nifti read: if it is one, pass the image of nibabel or the "
        "file's name, or %s",
        name,
        array.shape,
        n,
        " x ".join(map(str, image[:spatial_dims])),
        where,
    )


def _warn_of_colours(layouts, name, spatial_dims):
    """Warn where images in colour, (H, W, 3), are taken for H images of W x 3."""
    if any(
        len(shape) != spatial_dims + 1 or shape[-1] not in (3, 4) or shape[-2] < 8
        for shape in layouts
    ):
        return
    n, *image = layouts[0]
    logger.warning(
        "%s of shape %s: taken for %d images of %s without channels. If these are %s "
        "channels of one image, give it a first axis of length 1",
        name,
        layouts[0],
        n,
        " x ".join(map(str, image)),
        layouts[0][-1],
    )

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

import numpy as np

from dipy_vqvae.data.checks import check_images, check_masked_images
from dipy_vqvae.data.collection import ImageCollection


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
        """Tell whether the arrays have an axis for channels."""
        return len(self.layouts[0]) == self.spatial_dims + 2

    @property
    def has_masks(self):
        """Tell whether there are masks."""
        return self.masks is not None

    def rows(self, subject, rows):
        """Return some images of a subject, (n, *spatial, C)."""
        return self.stacks[subject][rows]

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

    def give_back(self, results):
        """Return results in the layout of the images that were given."""
        if not self.is_list:
            return results[0]
        return [
            result[0] if len(layout) == self.spatial_dims else result
            for result, layout in zip(results, self.layouts)
        ]


def as_subjects(images, mask, *, spatial_dims, name="images"):
    """Check images and masks, and make subjects of them."""
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
    is_list = isinstance(images, (list, tuple)) and any(
        isinstance(entry, np.ndarray) for entry in images
    )
    if not is_list:
        stack, mask = check_masked_images(
            images, mask, spatial_dims=spatial_dims, name=name
        )
        return ArraySubjects(
            [stack],
            None if mask is None else [mask],
            spatial_dims=spatial_dims,
            layouts=[np.shape(images)],
            is_list=False,
            name=name,
        )
    return _list_of_subjects(images, mask, spatial_dims, name)


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
        entry = np.asarray(entry)
        layouts.append(entry.shape)
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

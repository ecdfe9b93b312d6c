"""Batches of images for the networks: scaled, padded, channels first."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
import torch

from dipy_vqvae.data import pad_to, padded_shape
from dipy_vqvae.device import MEMORY_FORMATS, to_tensor
from dipy_vqvae.training import order_of_epoch

# Voxels per batch without training: bounds the memory for images of any size.
VOXELS_AT_A_TIME = 1 << 18


@dataclass(frozen=True)
class Batch:
    """Images as the networks see them."""

    # (B, C, *padded), float32: scaled images; 0 outside.
    x: torch.Tensor
    # (B or 1, 1, *padded), float32: 1 inside an image and its mask, 0 in the padding
    # and outside the mask; None if everything is inside.
    weight: torch.Tensor | None
    # (B, *grid), bool: codes whose block of voxels has at least one inside; None if all
    # are (padding to whole blocks is narrower than a block).
    inside: torch.Tensor | None


class ImageBatches:
    """Images as the networks see them, made a batch at a time.

    Images are scaled and padded batch by batch, so that memory grows with the batch
    only. A batch is padded to its largest image along each axis; padding has weight 0.

    Parameters
    ----------
    subjects : ArraySubjects or ImageCollection
        The images, see `as_subjects`; an array is one subject.
    items : tuple of two int arrays of shape (N,), optional
        Subject of each image, and its number among the subject's images. By default
        all images.
    scaling : IntensityScaling or dict
        From the units of the images to those of the network. A dict has the scalings
        of single volumes: of (subject, number), or of (subject, 0) for all images of a
        subject.
    factors : tuple of int
        Downsampling per axis: the padded shape is a multiple of it.
    device : torch.device
        Device of the batches.
    patch_shape : tuple of int, optional
        Take a random patch in place of an image, and each image as often as patches
        are needed to cover it.
    """

    def __init__(
        self, subjects, *, items=None, scaling, factors, device, patch_shape=None
    ):
        self.subjects = subjects
        self.scaling = scaling
        self.factors = factors
        self.device = device
        self.patch_shape = patch_shape
        self.subject, self.row = _all_items(subjects) if items is None else items
        if patch_shape is not None:
            self._repeat_items()
        self._numbers = np.arange(len(self))
        self._last_order = None, None
        # Largest padded shape and grid of codes, along each axis.
        self.padded = self._padded_shape(np.unique(self.subject))
        self.grid = tuple(n // f for n, f in zip(self.padded, factors))

    def _repeat_items(self):
        """Repeat each image as often as patches are needed to cover it."""
        n_patches = [
            prod(-(-n // p) for n, p in zip(shape, self.patch_shape))
            for shape in self.subjects.shapes
        ]
        times = np.array(n_patches)[self.subject]
        self.subject = np.repeat(self.subject, times)
        self.row = np.repeat(self.row, times)

    def __len__(self):
        return len(self.subject)

    def __getitem__(self, indices):
        """Return the images of `indices` as a :class:`Batch`."""
        return self.take(indices, among=indices)

    def take(self, indices, *, among, random_seed=0):
        """Return a part of a batch, padded like the whole batch `among`.

        `random_seed` is that of the patches, if these are taken.
        """
        items = self._numbers[indices]
        present = np.unique(self.subject[among])
        shapes = {self._patch_of(self.subjects.shapes[s]) for s in present}
        padded = self._padded_shape(present)
        has_weights = self.subjects.has_masks or len(shapes) > 1
        x = weight = inside = None
        for positions, images, mask in self._read(items, present, random_seed):
            x = _place(x, images, positions, (len(items), *padded))
            if has_weights:
                if mask is None:
                    mask = np.ones(images.shape[:-1], bool)
                weight = _place(weight, mask, positions, (len(items), *padded))
        if has_weights:
            inside = to_tensor(blocks_inside(weight, self.factors), self.device)
        elif padded not in shapes:
            # One weight serves all images: they have the same shape.
            (shape,) = shapes
            weight = pad_to(np.ones((1, *shape), bool), padded, mode="constant")
        if weight is not None:
            # (B, *padded) -> (B, 1, *padded)
            weight = to_tensor(weight[:, np.newaxis], self.device, torch.float32)
        return Batch(x=to_network(x, self.device), weight=weight, inside=inside)

    def parts(self):
        """Return slices of images of one shape, of about `VOXELS_AT_A_TIME` each."""
        # The number of the shape of each subject.
        _, shapes = np.unique(self.subjects.shapes, axis=0, return_inverse=True)
        ends = np.flatnonzero(np.diff(shapes.reshape(-1)[self.subject])) + 1
        parts = []
        for start, stop in pairwise([0, *ends.tolist(), len(self)]):
            padded = self._padded_shape([self.subject[start]])
            step = images_at_a_time(padded)
            parts += [
                slice(first, min(stop, first + step))
                for first in range(start, stop, step)
            ]
        return parts

    def order(self, random_seed, epoch):
        """Return the random order of the items in an epoch.

        If the files do not fit in the cache together, they are taken in groups that
        do; the items of a group are shuffled together.
        """
        if self._last_order[0] != (random_seed, epoch):
            order = self._order(random_seed, epoch)
            self._last_order = (random_seed, epoch), order
        return self._last_order[1]

    def _order(self, random_seed, epoch):
        held = [self.subjects.held_bytes(s) for s in range(len(self.subjects.counts))]
        # Half of the cache: a batch may reach from one group into the next.
        room = getattr(self.subjects, "cache_bytes", 0) // 2
        order = order_of_epoch(random_seed, epoch, len(self))
        if sum(held) <= room or not any(held):
            return order
        groups = np.zeros(len(held), np.int64)
        used = group = 0
        for subject in order_of_epoch(random_seed, epoch, len(held)):
            if used and used + held[subject] > room:
                used, group = 0, group + 1
            used += held[subject]
            groups[subject] = group
        # A stable sort leaves the order within the groups random.
        return order[np.argsort(groups[self.subject[order]], kind="stable")]

    def _padded_shape(self, subjects):
        """Return the shape that images of some subjects are padded to together."""
        shapes = [self._patch_of(self.subjects.shapes[s]) for s in subjects]
        return padded_shape(tuple(map(max, zip(*shapes))), self.factors)

    def _patch_of(self, shape):
        """Return the shape of the part of an image that is used."""
        if self.patch_shape is None:
            return tuple(shape)
        return tuple(min(n, p) for n, p in zip(shape, self.patch_shape))

    def _read(self, items, present, random_seed):
        """Yield positions in the batch, scaled images and their masks, by subject."""
        has_scalings = isinstance(self.scaling, dict) and len(self.scaling) > 1
        one_by_one = self.patch_shape is not None or (
            has_scalings and self.subjects.spatial_dims == 3
        )
        subjects = self.subject[items]
        for subject in present:
            positions = np.flatnonzero(subjects == subject)
            step = 1 if one_by_one else max(1, len(positions))
            for start in range(0, len(positions), step):
                part = positions[start : start + step]
                yield part, *self._read_subject(int(subject), items[part], random_seed)

    def _read_subject(self, subject, items, random_seed):
        """Return scaled images of one subject, 0 outside, and their masks."""
        rows = _as_slice(self.row[items])
        images = self.subjects.rows(subject, rows)
        mask = self.subjects.mask_rows(subject, rows)
        if self.patch_shape is not None:
            rng = np.random.default_rng([random_seed, int(items[0])])
            patch = self._random_patch(images.shape[1:-1], mask, rng)
            images = images[patch]
            mask = None if mask is None else mask[patch]
        images = self._scaling_of(subject, int(self.row[items[0]])).apply(images)
        if mask is not None:
            images[~mask] = 0
        return images, mask

    def _scaling_of(self, subject, row):
        if not isinstance(self.scaling, dict):
            return self.scaling
        of_subject = self.scaling.get((subject, 0))
        return self.scaling.get((subject, row), of_subject)

    def _random_patch(self, shape, mask, rng):
        """Return the index of a patch with something inside."""
        size = self._patch_of(shape)
        low, high = np.zeros(len(shape), int), np.subtract(shape, size)
        if mask is not None:
            # A patch has at least one voxel inside: that one is chosen first.
            voxels = np.flatnonzero(mask[0])
            voxel = np.unravel_index(rng.choice(voxels), shape)
            low = np.maximum(low, np.subtract(voxel, size) + 1)
            high = np.minimum(high, voxel)
        corner = rng.integers(low, high, endpoint=True)
        return (slice(None), *(slice(c, c + n) for c, n in zip(corner, size)))


def _all_items(subjects):
    """Return subject and number of all images, two arrays of shape (N,)."""
    counts = subjects.counts
    rows = [np.arange(count) for count in counts]
    return np.repeat(np.arange(len(counts)), counts), np.concatenate(rows)


def _as_slice(rows):
    """Return consecutive numbers as a slice, which arrays and files read faster."""
    if rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _place(batch, values, positions, shape):
    """Put values (n, *smaller[, C]) at positions of a batch (B, *padded[, C])."""
    if len(positions) == shape[0]:
        return pad_to(values, shape[1:], mode="constant")
    if batch is None:
        batch = np.zeros((*shape, *values.shape[len(shape) :]), values.dtype)
    batch[(positions, *map(slice, values.shape[1 : len(shape)]))] = values
    return batch


def blocks_inside(mask, factors):
    """Return which blocks have a voxel inside: (B, *padded) -> (B, *grid)."""
    # (B, grid, factor, grid, factor, ...): reduce over the axes of the factors.
    blocks = [n for size, f in zip(mask.shape[1:], factors) for n in (size // f, f)]
    factor_axes = tuple(range(2, 2 + len(blocks), 2))
    return mask.reshape(len(mask), *blocks).any(axis=factor_axes)


def to_network(x, device):
    """Return scaled images as a tensor: (B, *padded, C) -> (B, C, *padded)."""
    x = torch.from_numpy(np.moveaxis(x, -1, 1))
    return x.to(device).contiguous(memory_format=MEMORY_FORMATS[x.ndim - 2])


def images_at_a_time(shape):
    """Return the number of images of a shape in `VOXELS_AT_A_TIME`, at least 1."""
    return max(1, VOXELS_AT_A_TIME // prod(shape))


def to_images(x, shape):
    """Crop a tensor to float32 images: (B, C, *padded) -> (B, *shape, C)."""
    crop = tuple(slice(0, n) for n in shape)
    return x[(slice(None), slice(None), *crop)].movedim(1, -1).float().cpu().numpy()

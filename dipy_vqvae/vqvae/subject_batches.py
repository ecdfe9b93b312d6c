"""Batches of images of several subjects, whose shapes may differ."""

from itertools import pairwise
from math import prod

import numpy as np
import torch

from dipy_vqvae.data import padded_shape
from dipy_vqvae.training import order_of_epoch
from dipy_vqvae.vqvae.batches import Batch, blocks_inside, images_at_a_time, to_network


class SubjectBatches:
    """Images of several subjects as the networks see them, made a batch at a time.

    A batch is padded to its largest image along each axis; the padding has weight 0.
    Alike with :class:`dipy_vqvae.vqvae.batches.ImageBatches` where all shapes are the same.

    Parameters
    ----------
    subjects : ArraySubjects or ImageCollection
        The images.
    survey : Survey
        Which of them to use, and the scaling of each volume.
    scaling : IntensityScaling
        From the units of the images to those of the network; with the method
        "volume" each volume has its own in `survey`.
    factors : tuple of int
        Downsampling per axis.
    device : torch.device
        Where the batches go.
    patch_shape : tuple of int, optional
        Take a patch at random in place of an image, and each image as often as
        patches are needed to cover it.
    """

    def __init__(self, subjects, survey, *, scaling, factors, device, patch_shape=None):
        self.subjects = subjects
        self.factors = factors
        self.device = device
        self.patch_shape = patch_shape
        self.subject, self.row = survey.subject, survey.row
        self._scaling = scaling
        self._scalings = survey.scalings
        self._last_order = None, None
        if patch_shape is not None:
            n_patches = [
                prod(-(-n // p) for n, p in zip(shape, patch_shape))
                for shape in subjects.shapes
            ]
            times = np.array(n_patches)[self.subject]
            self.subject = np.repeat(self.subject, times)
            self.row = np.repeat(self.row, times)
        self.padded_shapes = [
            padded_shape(self._cut(shape), factors) for shape in subjects.shapes
        ]

    def __len__(self):
        return len(self.subject)

    @property
    def grid(self):
        """The largest grid of codes along each axis."""
        return tuple(n // f for n, f in zip(self.padded, self.factors))

    @property
    def padded(self):
        """The largest padded shape along each axis."""
        return self._largest(np.unique(self.subject))

    def grid_of(self, item):
        """The grid of codes of an item by itself."""
        padded = self.padded_shapes[self.subject[item]]
        return tuple(n // f for n, f in zip(padded, self.factors))

    def scaling_of(self, subject, row):
        """The scaling of an image."""
        if self._scalings is None:
            return self._scaling
        of_subject = self._scalings.get((subject, 0))
        return self._scalings.get((subject, int(row)), of_subject)

    def __getitem__(self, indices):
        """The images of `indices` as a :class:`Batch`."""
        return self.take(indices, among=indices)

    def take(self, indices, *, among):
        """Some images of a batch, padded as all of it."""
        items = np.arange(len(self))[indices]
        subjects = self.subject[items]
        present = np.unique(self.subject[among])
        padded = self._largest(present)
        shapes = {self._cut(self.subjects.shapes[s]) for s in present}
        x = np.zeros((len(items), *padded, self.subjects.n_channels), np.float32)
        has_masks = self.subjects.has_masks
        weight = None
        if has_masks or len(shapes) > 1:
            weight = np.zeros((len(items), *padded), bool)
        elif padded not in shapes:
            # As long as one image: it serves all of them.
            weight = np.zeros((1, *padded), bool)
            weight[(slice(None), *map(slice, *shapes))] = True
        for subject in np.unique(subjects):
            places = np.flatnonzero(subjects == subject)
            for some, scaled, mask in self._images(int(subject), items, places):
                at = (some, *map(slice, scaled.shape[1:-1]))
                x[at] = scaled
                if weight is not None and len(weight) == len(x):
                    weight[at] = True if mask is None else mask
        inside = None
        if has_masks or len(shapes) > 1:
            inside = torch.from_numpy(blocks_inside(weight, self.factors))
            inside = inside.to(self.device)
        if weight is not None:
            weight = torch.from_numpy(weight[:, np.newaxis].astype(np.float32))
            weight = weight.to(self.device)
        return Batch(x=to_network(x, self.device), weight=weight, inside=inside)

    def parts(self, size=None):
        """Slices of the items, in order: images of one shape, not too many."""
        shapes = list(dict.fromkeys(self.subjects.shapes))
        kinds = np.array([shapes.index(shape) for shape in self.subjects.shapes])
        ends = np.flatnonzero(np.diff(kinds[self.subject])) + 1
        starts = [0, *ends.tolist(), len(self)]
        parts = []
        for start, stop in pairwise(starts):
            padded = self.padded_shapes[self.subject[start]]
            step = size or images_at_a_time(padded)
            parts += [
                slice(first, min(stop, first + step))
                for first in range(start, stop, step)
            ]
        return parts

    def slices(self, size=None):
        """All batches in order, see `parts`."""
        for part in self.parts(size):
            yield self[part]

    def order(self, random_seed, epoch):
        """Return the order of the items in an epoch, a function of both numbers.

        Files that have to be held are taken in groups that memory has room for; the
        items of a group are shuffled together.
        """
        if self._last_order[0] == (random_seed, epoch):
            return self._last_order[1]
        order = self._order(random_seed, epoch)
        self._last_order = (random_seed, epoch), order
        return order

    def _order(self, random_seed, epoch):
        held = [self.subjects.held_bytes(s) for s in range(len(self.subjects.counts))]
        # A batch may reach from one group into the next.
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

    def _largest(self, subjects):
        shapes = [self.padded_shapes[subject] for subject in subjects]
        return tuple(map(max, zip(*shapes)))

    def _cut(self, shape):
        """The shape of what is taken of an image of a shape."""
        if self.patch_shape is None:
            return tuple(shape)
        return tuple(min(n, p) for n, p in zip(shape, self.patch_shape))

    def _images(self, subject, items, places):
        """For some places in a batch: places, scaled images, and their masks."""
        one_by_one = self.patch_shape is not None or self.subjects.spatial_dims == 3
        size = 1 if one_by_one else len(places)
        for start in range(0, len(places), size):
            some = places[start : start + size]
            rows = self.row[items[some]]
            images = self.subjects.rows(subject, rows)
            mask = self.subjects.mask_rows(subject, rows)
            if self.patch_shape is not None:
                patch = self._patch(images.shape[1:-1], mask, int(items[some[0]]))
                images = images[patch]
                mask = None if mask is None else mask[patch]
            scaled = self.scaling_of(subject, rows[0]).apply(images)
            if mask is not None:
                scaled[~mask] = 0
            yield some, scaled, mask

    def _patch(self, shape, mask, item):
        """Where a patch is: a function of the step's seed and the item."""
        # The training loop has seeded torch's generator for the step; nothing is
        # drawn from it, so that all processes still draw the same from it.
        seed = [torch.default_generator.initial_seed(), item]
        rng = np.random.default_rng(seed)
        size = self._cut(shape)
        low, high = np.zeros(len(shape), int), np.subtract(shape, size)
        if mask is not None:
            # A patch with nothing inside teaches nothing: one voxel is chosen first.
            voxels = np.flatnonzero(mask[0])
            voxel = np.unravel_index(rng.choice(voxels), shape)
            low = np.maximum(low, np.subtract(voxel, size) + 1)
            high = np.minimum(high, voxel)
        corner = rng.integers(low, high, endpoint=True)
        return (slice(None), *(slice(c, c + n) for c, n in zip(corner, size)))

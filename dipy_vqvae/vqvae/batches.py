"""Batches of images for the networks: scaled, padded, channels first."""

from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from dipy_vqvae.data import pad_to, padded_shape

# Voxels that networks are given at a time where nothing is learnt: bounds the
# memory whatever the size of an image.
VOXELS_AT_A_TIME = 1 << 18


@dataclass(frozen=True)
class Batch:
    """Some images as the networks see them.

    Attributes
    ----------
    x : torch.Tensor, shape (B, C, *padded), float32
        Scaled images; 0 outside.
    weight : torch.Tensor, shape (B or 1, 1, *padded), float32, or None
        1 inside an image and its mask, 0 in the padding and outside the mask; None
        where everything is inside.
    inside : torch.Tensor, shape (B, *grid), bool, or None
        Positions of the codes whose block of voxels has at least one inside the
        mask; None where all are (padding is narrower than a block).
    """

    x: torch.Tensor
    weight: torch.Tensor | None
    inside: torch.Tensor | None


class ImageBatches:
    """Images as the networks see them, made a batch at a time.

    The images stay as they are (uint8 stays uint8); scaling and padding happen to
    each batch, so that memory grows with the batch only.

    Parameters
    ----------
    images : array (N, *shape, C)
        Images with a channel axis, any real type.
    mask : array (N, *shape), bool, optional
        What lies outside is replaced by the intensity that is scaled to 0.
    scaling : IntensityScaling
        From the units of the images to those of the network.
    factors : tuple of int
        Downsampling per axis: the padded shape is a multiple of it.
    device : torch.device
        Where the batches go.
    """

    def __init__(self, images, *, mask=None, scaling, factors, device):
        self.images = images
        self.mask = mask
        self.scaling = scaling
        self.factors = factors
        self.device = device
        self.shape = images.shape[1:-1]
        self.padded = padded_shape(self.shape, factors)
        self.grid = tuple(n // f for n, f in zip(self.padded, factors))
        self._padding_weight = None
        if self.padded != self.shape:
            image = np.ones((1, *self.shape), bool)
            self._padding_weight = self._to_weight(image)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, indices):
        """The images of `indices` as a :class:`Batch`."""
        x = self.scaling.apply(self.images[indices])
        weight, inside = self._padding_weight, None
        if self.mask is not None:
            mask = self.mask[indices]
            x[~mask] = 0
            weight = self._to_weight(mask)
            inside = torch.from_numpy(self.positions_inside(indices)).to(self.device)
        x = to_network(self._pad(x), self.device)
        return Batch(x=x, weight=weight, inside=inside)

    def take(self, indices, *, among):
        """Some images of a batch; its other ones, `among`, do not matter."""
        return self[indices]

    def positions_inside(self, indices=slice(None)):
        """Positions that have at least one voxel inside the mask.

        Returns
        -------
        inside : array, shape (B, *grid), bool, or None
            None without a mask: all positions are inside.
        """
        if self.mask is None:
            return None
        return blocks_inside(self._pad(self.mask[indices]), self.factors)

    def parts(self, batch_size=None):
        """Slices of the images, in order, of about `VOXELS_AT_A_TIME` by default."""
        size = batch_size or images_at_a_time(self.padded)
        return [
            slice(start, min(len(self), start + size))
            for start in range(0, len(self), size)
        ]

    def slices(self, batch_size=None):
        """All batches in order, see `parts`."""
        for part in self.parts(batch_size):
            yield self[part]

    def _to_weight(self, mask):
        weight = self._pad(mask)[:, np.newaxis].astype(np.float32)
        return torch.from_numpy(weight).to(self.device)

    def _pad(self, array):
        return pad_to(array, self.padded, mode="constant")


def blocks_inside(mask, factors):
    """Which blocks of voxels have at least one inside a mask."""
    # (B, grid, factor, grid, factor, ...): a block's voxels are on the axes of the
    # factors.
    blocks = [n for size, f in zip(mask.shape[1:], factors) for n in (size // f, f)]
    factor_axes = tuple(range(2, 2 + len(blocks), 2))
    return mask.reshape(len(mask), *blocks).any(axis=factor_axes)


def to_network(x, device):
    """Scaled images ``(B, *padded, C)`` as the tensor that the networks take."""
    x = torch.from_numpy(np.moveaxis(x, -1, 1))
    layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return x.to(device).contiguous(memory_format=layout)


def images_at_a_time(shape):
    """How many images of a spatial shape `VOXELS_AT_A_TIME` are, at least 1."""
    return max(1, VOXELS_AT_A_TIME // prod(shape))


def to_images(x, shape):
    """A tensor ``(B, C, *padded)`` as float32 images ``(B, *shape, C)``."""
    crop = tuple(slice(0, n) for n in shape)
    return x[(slice(None), slice(None), *crop)].movedim(1, -1).float().cpu().numpy()

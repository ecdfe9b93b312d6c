"""Batches of images for the networks: scaled, padded, channels first."""

import numpy as np
import torch

from dipy_vqvae.images.grid import pad_to, padded_shape


class ImageBatches:
    """Images as the networks see them, made a batch at a time.

    The images stay as they are (uint8 stays uint8); scaling and padding happen to
    each batch, so that memory grows with the batch only.

    Parameters
    ----------
    images : array (N, *shape, C)
        Images with a channel axis, any real type.
    scaling : IntensityScaling
        From the units of the images to those of the network.
    factors : tuple of int
        Downsampling per axis: the padded shape is a multiple of it.
    device : torch.device
        Where the batches go.
    """

    def __init__(self, images, *, scaling, factors, device):
        self.images = images
        self.scaling = scaling
        self.device = device
        self.shape = images.shape[1:-1]
        self.padded = padded_shape(self.shape, factors)
        self.weight = None
        if self.padded != self.shape:
            inside = np.ones((1, *self.shape, 1), np.float32)
            inside = pad_to(inside, self.padded, mode="constant")
            # 1 inside the image, 0 in the padding: (1, 1, *padded).
            self.weight = torch.from_numpy(np.moveaxis(inside, -1, 1)).to(device)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, indices):
        """The images of `indices` as a float32 tensor ``(B, C, *padded)``."""
        batch = self.scaling.apply(self.images[indices])
        if self.padded != self.shape:
            batch = pad_to(batch, self.padded)
        x = torch.from_numpy(np.moveaxis(batch, -1, 1))
        layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        return x.to(self.device).contiguous(memory_format=layout)

    def slices(self, batch_size):
        """All batches in order."""
        for start in range(0, len(self), batch_size):
            yield self[slice(start, start + batch_size)]


def to_images(x, shape):
    """A tensor ``(B, C, *padded)`` as float32 images ``(B, *shape, C)``."""
    crop = tuple(slice(0, n) for n in shape)
    return x[(slice(None), slice(None), *crop)].movedim(1, -1).float().cpu().numpy()

"""Images to codes and back with a trained VQ-VAE, subject by subject."""

from dataclasses import dataclass

import numpy as np
import torch

from dipy_vqvae.data import (
    IntensityScaling,
    RangeCheck,
    check_scaled,
    volume_scaling,
)
from dipy_vqvae.device import inference, to_tensor
from dipy_vqvae.settings import check_number, per_axis
from dipy_vqvae.vqvae.batches import Batch, ImageBatches, images_at_a_time, to_images


@dataclass(frozen=True)
class Piece:
    """Consecutive images of a subject as a batch, with one scaling."""

    subject: int
    rows: slice
    batch: Batch
    scaling: IntensityScaling


class Coder:
    """Encode and decode with a trained VQVAENet and its VQVAEConfig."""

    def __init__(self, net, config):
        self.net = net
        self.config = config
        self.device = net.quantiser.codebook.device

    def pieces(self, subjects, scaling=None, batch_size=None):
        """Yield all images piece by piece, in order."""
        for subject, count in enumerate(subjects.counts):
            scalings = self.scalings(subjects, subject, scaling)
            size = checked_size(batch_size, subjects.shapes[subject])
            if len(scalings) > 1:
                size = 1
            batches = ImageBatches(
                subjects,
                items=(np.full(count, subject), np.arange(count)),
                scaling={(subject, row): s for row, s in enumerate(scalings)},
                factors=self.config.downsampling,
                device=self.device,
            )
            # Slices of one volume are compared with the training images together.
            check = self._range_check(scaling)
            for start in range(0, count, size):
                rows = slice(start, min(count, start + size))
                scaling_of_rows = scalings[start if len(scalings) > 1 else 0]
                batch = batches[rows]
                largest = float(batch.x.abs().amax())
                check_scaled(largest, subjects.name(subject))
                if check is not None:
                    check.add(scaling_of_rows.undo(batch.x.cpu().numpy()))
                yield Piece(subject, rows, batch, scaling_of_rows)
            if check is not None:
                check.warn(subjects.name(subject))

    def _range_check(self, scaling):
        """Return what compares a subject with the training images, where it can be."""
        config = self.config
        has_units = config.bounds is not None and config.scaling.method != "volume"
        if not has_units or scaling not in (None, config.scaling):
            return None
        return RangeCheck(*config.bounds)

    def scalings(self, subjects, subject, scaling=None):
        """Return the scalings of a subject's images: one for all, or one for each.

        `scaling` is what the user asks for, for all subjects.
        """
        count = subjects.counts[subject]
        if scaling is not None:
            scalings = as_list(_of_subject(scaling, subjects, subject))
            if len(scalings) not in (1, count):
                raise ValueError(
                    f"scaling: got {len(scalings)} scalings for the {count} images of "
                    f"{subjects.name(subject)}"
                )
            return scalings
        if self.config.scaling.method != "volume":
            return [self.config.scaling]
        if self.config.spatial_dims == 2:
            return [_volume_scaling(subjects, subject, slice(None))]
        return [
            _volume_scaling(subjects, subject, slice(row, row + 1))
            for row in range(count)
        ]

    def encode(self, batch, *, refined=True):
        """Return the codes of a batch: (B, C, *padded) -> (B, *grid), int32."""
        with inference(self.device):
            return codes_of(self.net, batch, refined=refined)

    def latents(self, batch):
        """Return the latents of a batch: (B, C, *padded) -> (B, *grid, D), float32."""
        with inference(self.device):
            _, latents = self.net.encode(
                batch.x, weight=batch.weight, inside=batch.inside
            )
        return latents.movedim(1, -1).cpu().numpy()

    def decode(self, codes, shape, scaling):
        """Return images in the units of the scaling: (B, *grid) -> (B, *shape, C)."""
        with inference(self.device):
            x = self.net.decode(to_tensor(codes, self.device, torch.int64))
            images = to_images(x, shape)
        # With a scaling for each volume, the bounds are those of scaled images.
        has_scaled_bounds = self.config.scaling.method == "volume"
        if has_scaled_bounds:
            self._clip(images)
        images = scaling.undo(images)
        if not has_scaled_bounds:
            self._clip(images)
        return images

    def _clip(self, images):
        """Clip images to the range of the training images, in place."""
        if self.config.bounds is not None:
            np.clip(images, *np.float32(self.config.bounds), out=images)

    def images(self, codes, image_shape=None, scaling=None, batch_size=None):
        """Return images (N, *spatial[, C]) of checked codes (N, *grid)."""
        shape = self.shape_of(codes, image_shape)
        size = checked_size(batch_size, shape)
        scalings = as_list(self.config.scaling if scaling is None else scaling)
        if len(scalings) not in (1, len(codes)):
            raise ValueError(
                f"scaling: got {len(scalings)} scalings for {len(codes)} grids"
            )
        if len(scalings) > 1:
            size = 1
        images = np.empty((len(codes), *shape, self.config.n_channels_in), np.float32)
        for start in range(0, len(codes), size):
            part = slice(start, start + size)
            scaling_of_part = scalings[start if len(scalings) > 1 else 0]
            images[part] = self.decode(codes[part], shape, scaling_of_part)
        return images if self.config.channel_axis else images[..., 0]

    def shape_of(self, codes, image_shape):
        """Return the spatial shape that codes (N, *grid) are decoded to."""
        grid, factors = codes.shape[1:], self.config.downsampling
        full = tuple(n * f for n, f in zip(grid, factors))
        if image_shape is None:
            is_known = grid == self.config.latent_shape and not self.config.mixed_shapes
            return self.config.image_shape if is_known else full
        image_shape = per_axis("image_shape", image_shape, len(factors))
        if any(not n - f < m <= n for n, m, f in zip(full, image_shape, factors)):
            raise ValueError(
                f"image_shape {image_shape} does not go with codes of shape {grid} and "
                f"downsampling {factors}: the codes stand for {full}"
            )
        return image_shape


def codes_of(net, batch, *, refined=True):
    """Return the codes of a batch: (B, C, *padded) -> (B, *grid), int32."""
    codes = net.codes(
        batch.x, weight=batch.weight, inside=batch.inside, refined=refined
    )
    return codes.to(torch.int32).cpu().numpy()


def checked_size(batch_size, shape):
    """Return the images per batch, by default as many as have about 260,000 voxels."""
    if batch_size is None:
        return images_at_a_time(shape)
    check_number("batch_size", batch_size, at_least=1, whole=True)
    return int(batch_size)


def as_list(scaling):
    """Return one scaling or several as a list."""
    scalings = list(scaling) if isinstance(scaling, (list, tuple)) else [scaling]
    for entry in scalings:
        if not isinstance(entry, IntensityScaling):
            raise TypeError(f"scaling must be an IntensityScaling, got {entry!r}")
    return scalings


def _of_subject(scaling, subjects, subject):
    """Return one subject's part of the scalings that the user asks for."""
    if isinstance(scaling, IntensityScaling) or subjects.is_array:
        return scaling
    if len(scaling) != len(subjects.counts):
        raise ValueError(
            f"scaling: got a list of {len(scaling)} for {len(subjects.counts)} subjects"
        )
    return scaling[subject]


def _volume_scaling(subjects, subject, rows):
    """Return the scaling of one volume by itself, or of all slices of a subject."""
    name = subjects.name(subject)
    if rows != slice(None) and subjects.counts[subject] > 1:
        name = f"{name}, volume {rows.start}"
    mask = subjects.mask_rows(subject, rows)
    return volume_scaling(subjects.rows(subject, rows), mask, name)

"""Images to codes and back with a trained VQ-VAE, subject by subject."""

from dataclasses import dataclass

import numpy as np
import torch

from dipy_vqvae.data import IntensityScaling, volume_scaling
from dipy_vqvae.device import inference
from dipy_vqvae.settings import check_number, per_axis
from dipy_vqvae.vqvae.batches import ImageBatches, images_at_a_time, to_images


@dataclass(frozen=True)
class Piece:
    """Some images of a subject, and what belongs to them.

    Attributes
    ----------
    subject : int
        Which subject.
    rows : slice
        Which of its images.
    batches : ImageBatches
        The images, with their mask.
    scaling : IntensityScaling
        Their scaling.
    """

    subject: int
    rows: slice
    batches: ImageBatches
    scaling: IntensityScaling


class Coder:
    """A network with the settings that it is used with.

    Parameters
    ----------
    net : VQVAENet
        The trained network.
    config : VQVAEConfig
        Its settings.
    """

    def __init__(self, net, config):
        self.net = net
        self.config = config
        self.device = net.quantiser.codebook.device
        self.by_image = len(config.downsampling) == 3

    def pieces(self, subjects, scaling=None, batch_size=None):
        """Go through all images, some at a time."""
        for subject, count in enumerate(subjects.counts):
            given = None if scaling is None else _of_subject(scaling, subjects, subject)
            found = self.scalings(subjects, subject, given)
            shape = subjects.shapes[subject]
            size = checked_size(batch_size, shape)
            # One scaling for a piece.
            size = size if len(found) == 1 else 1
            for start in range(0, count, size):
                rows = slice(start, min(count, start + size))
                one = found[start if len(found) > 1 else 0]
                batches = ImageBatches(
                    subjects.rows(subject, rows),
                    mask=subjects.mask_rows(subject, rows),
                    scaling=one,
                    factors=self.config.downsampling,
                    device=self.device,
                )
                yield Piece(subject, rows, batches, one)

    def scalings(self, subjects, subject, given=None):
        """The scalings of a subject's images: one for all, or one for each."""
        count = subjects.counts[subject]
        if given is not None:
            given = given if isinstance(given, (list, tuple)) else [given]
            if len(given) not in (1, count):
                raise ValueError(
                    f"scaling: {len(given)} given for {count} images of "
                    f"{subjects.name(subject)}"
                )
            return list(given)
        if self.config.scaling.method != "volume":
            return [self.config.scaling]
        every = range(count) if self.by_image else [None]
        found = []
        for row in every:
            rows = slice(None) if row is None else slice(row, row + 1)
            name = subjects.name(subject)
            if row is not None and count > 1:
                name = f"{name}, volume {row}"
            mask = subjects.mask_rows(subject, rows)
            found.append(volume_scaling(subjects.rows(subject, rows), mask, name))
        return found

    def encode(self, batches):
        """Codes ``(n, *grid)``, int32, of all images of a piece."""
        with inference(self.device):
            return codes_of(self.net, batches[:])

    def decode(self, codes, shape, scaling):
        """Images ``(n, *shape, C)`` of codes, in the units of the scaling."""
        with inference(self.device):
            x = self.net.decode(torch.from_numpy(codes).to(self.device).long())
            images = to_images(x, shape)
        bounds = self.config.bounds
        is_scaled = self.config.scaling.method == "volume"
        if bounds is not None and is_scaled:
            images = np.clip(images, *np.float32(bounds), out=images)
        images = scaling.undo(images)
        if bounds is not None and not is_scaled:
            images = np.clip(images, *np.float32(bounds), out=images)
        return images

    def images(self, codes, image_shape=None, scaling=None, batch_size=None):
        """Images ``(N, *spatial[, C])`` of checked codes ``(N, *grid)``."""
        shape = self.shape_of(codes, image_shape)
        size = checked_size(batch_size, shape)
        scaling = self.config.scaling if scaling is None else scaling
        scalings = scaling if isinstance(scaling, (list, tuple)) else [scaling]
        if len(scalings) not in (1, len(codes)):
            raise ValueError(f"scaling: {len(scalings)} for {len(codes)} grids")
        size = size if len(scalings) == 1 else 1
        n_channels = self.config.n_channels_in
        images = np.empty((len(codes), *shape, n_channels), np.float32)
        for start in range(0, len(codes), size):
            part = slice(start, start + size)
            one = scalings[start if len(scalings) > 1 else 0]
            images[part] = self.decode(codes[part], shape, one)
        return images if self.config.channel_axis else images[..., 0]

    def shape_of(self, codes, image_shape):
        """The spatial shape that codes ``(N, *grid)`` are decoded to."""
        grid, factors = codes.shape[1:], self.config.downsampling
        full = tuple(n * f for n, f in zip(grid, factors))
        if image_shape is None:
            has_one = not self.config.mixed_shapes
            is_known = grid == self.config.latent_shape and has_one
            return self.config.image_shape if is_known else full
        image_shape = per_axis("image_shape", image_shape, len(factors))
        if any(not n - f < m <= n for n, m, f in zip(full, image_shape, factors)):
            raise ValueError(
                f"image_shape {image_shape} does not go with codes of shape {grid} and "
                f"downsampling {factors}: the codes stand for {full}"
            )
        return image_shape


def codes_of(net, batch, *, refined=True):
    """Codes ``(B, *grid)``, int32, of a :class:`dipy_vqvae.vqvae.batches.Batch`."""
    codes = net.codes(
        batch.x, weight=batch.weight, inside=batch.inside, refined=refined
    )
    return codes.to(torch.int32).cpu().numpy()


def checked_size(batch_size, shape):
    """Images at a time, by default as many as have about 260,000 voxels."""
    if batch_size is None:
        return images_at_a_time(shape)
    check_number("batch_size", batch_size, at_least=1, whole=True)
    return int(batch_size)


def _of_subject(scaling, subjects, subject):
    """What of a user's scalings is for one subject."""
    if isinstance(scaling, IntensityScaling) or subjects.is_array:
        return scaling
    if len(scaling) != len(subjects.counts):
        raise ValueError(
            f"scaling: a list of {len(scaling)} given for {len(subjects.counts)} "
            "subjects"
        )
    return scaling[subject]

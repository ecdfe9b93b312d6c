"""What a fit of a VQ-VAE can do: images to codes and back."""

import numpy as np
import torch

from dipy_vqvae.batches import ImageBatches, images_at_a_time, to_images
from dipy_vqvae.codes import check_codes
from dipy_vqvae.device import choose_device
from dipy_vqvae.history import History
from dipy_vqvae.images.masked import check_masked_images
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.modelfile import load_model, save_model
from dipy_vqvae.parallel import gather, share_of
from dipy_vqvae.settings import check_number, per_axis
from dipy_vqvae.stored_network import load_network
from dipy_vqvae.vqvae_config import VQVAEConfig


class VQVAEFit:
    """A trained VQ-VAE.

    Made by :meth:`VQVAEModel.fit` or :meth:`load`.

    Parameters
    ----------
    net : VQVAENet
        The trained network.
    config : VQVAEConfig
        What it was built from, and the scaling of the intensities.
    history : History
        Losses by epoch.
    description : dict
        Settings and training data.
    """

    def __init__(self, net, config, *, history, description):
        self.net = net
        self.config = config
        self.history = history
        self.description = description

    @property
    def n_codes(self):
        """Codebook size, K."""
        return self.config.n_codes

    @property
    def codebook(self):
        """The codes' vectors, float32 array of shape (K, D)."""
        return self.net.quantiser.codebook.detach().cpu().numpy().copy()

    @property
    def spatial_dims(self):
        """2 for slices, 3 for volumes."""
        return len(self.config.downsampling)

    @property
    def n_channels_in(self):
        """Channels of the images."""
        return self.config.n_channels_in

    @property
    def image_shape(self):
        """Spatial shape of the training images."""
        return self.config.image_shape

    @property
    def latent_shape(self):
        """Grid of codes of an image of the training images' shape."""
        return self.config.latent_shape

    def encode(self, images, *, mask=None, batch_size=None):
        """Codes of images.

        Parameters
        ----------
        images : array, shape (N, *spatial[, C])
            Images in the units of the training images, of any size and real type.
        mask : array, shape (*spatial,) or (N, *spatial), optional
            Nonzero inside. What lies outside has no influence.
        batch_size : int, optional
            Images at a time; by default as many as have about 260,000 voxels.

        Returns
        -------
        codes : array, shape (N, *grid), int32
            Indices in [0, K).

        Raises
        ------
        ValueError
            For images or a mask that cannot be used; the message says why.
        TypeError
            For images that are not real numbers.
        """
        return self._encode(self._batches(images, mask), batch_size)

    def decode(self, codes, *, image_shape=None, batch_size=None):
        """Images of codes.

        Parameters
        ----------
        codes : int array, shape (N, *grid)
            Codes in [0, K), as from :meth:`encode` or from a prior.
        image_shape : tuple of int, optional
            Spatial shape of the images where it is not the whole number of
            blocks that the grid stands for (the rest is cropped). By default
            that of the training images for a grid of their size.
        batch_size : int, optional
            Images at a time; by default as many as have about 260,000 voxels.

        Returns
        -------
        images : array, shape (N, *spatial[, C]), float32
            In the units of the training images.

        Raises
        ------
        ValueError
            For codes that are out of range or of a wrong shape, or an
            `image_shape` that does not fit the grid.
        TypeError
            For codes that are not integers.
        """
        codes = check_codes(codes, n_codes=self.n_codes, spatial_dims=self.spatial_dims)
        images = self._decode(codes, self._shape_of(codes, image_shape), batch_size)
        return images if self.config.channel_axis else images[..., 0]

    def predict(self, images, *, mask=None, batch_size=None):
        """Reconstructions of images.

        Parameters
        ----------
        images : array, shape (N, *spatial[, C])
            Images in the units of the training images, of any size and real type.
        mask : array, shape (*spatial,) or (N, *spatial), optional
            Nonzero inside. What lies outside has no influence, and is 0 in the
            result.
        batch_size : int, optional
            Images at a time; by default as many as have about 260,000 voxels.

        Returns
        -------
        reconstructions : array, float32
            Same shape and units as `images`.

        Raises
        ------
        ValueError
            For images or a mask that cannot be used; the message says why.
        TypeError
            For images that are not real numbers.
        """
        batches = self._batches(images, mask)
        codes = self._encode(batches, batch_size)
        decoded = self._decode(codes, batches.shape, batch_size)
        if batches.mask is not None:
            decoded[~batches.mask] = 0
        return decoded.reshape(np.shape(images))

    def usage(self, images, *, mask=None, batch_size=None):
        """How the codebook is used on images.

        Parameters
        ----------
        images : array, shape (N, *spatial[, C])
            Images in the units of the training images, of any size and real type.
        mask : array, shape (*spatial,) or (N, *spatial), optional
            Nonzero inside. A code counts where its block of voxels has at least one
            inside.
        batch_size : int, optional
            Images at a time; by default as many as have about 260,000 voxels.

        Returns
        -------
        usage : CodeUsage
            ``n_used``, ``perplexity`` and ``histogram``.

        Raises
        ------
        ValueError
            For images or a mask that cannot be used; the message says why.
        TypeError
            For images that are not real numbers.
        """
        batches = self._batches(images, mask)
        codes = self._encode(batches, batch_size)
        return code_usage(codes, self.n_codes, mask=batches.positions_inside())

    def save(self, path):
        """Write a model file (safetensors), all that is needed to use the fit.

        Parameters
        ----------
        path : str or Path
            The file; it is complete or not there at all.

        Raises
        ------
        OSError
            If it cannot be written; what was there before is untouched.
        """
        arrays = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in self.net.state_dict().items()
            # The state of the codebook's training is not needed any more.
            if not name.startswith("quantiser.")
        }
        arrays["quantiser.codebook"] = self.codebook
        save_model(
            path,
            kind="vqvae",
            config=self.config.to_dict(),
            arrays=arrays,
            description={**self.description, "history": self.history.to_dict()},
        )

    @classmethod
    def load(cls, path, *, use_cuda=False):
        """Read a model file.

        Parameters
        ----------
        path : str or Path
            File written by :meth:`save`.
        use_cuda : bool, optional
            Use a GPU. Without one there is a warning and the CPU is used.

        Returns
        -------
        fit : VQVAEFit

        Raises
        ------
        ValueError
            For a file that is damaged, of another kind or of a newer version.
        OSError
            For a file that cannot be read.
        """
        content = load_model(path, kind="vqvae")
        description = dict(content.description or {})
        try:
            history = History.from_dict(description.pop("history", None))
            config = VQVAEConfig.from_dict(content.config)
        except ValueError as error:
            raise ValueError(f"{path} holds no VQ-VAE: {error}") from error
        net = load_network(
            config.build, content.arrays, n_layers=sum(config.n_blocks), path=path
        )
        net = net.to(choose_device(use_cuda))
        return cls(net, config, history=history, description=description)

    def _batches(self, images, mask):
        images, mask = check_masked_images(images, mask, spatial_dims=self.spatial_dims)
        if images.shape[-1] != self.n_channels_in:
            raise ValueError(
                f"images have {images.shape[-1]} channels, the model was trained on "
                f"{self.n_channels_in}"
            )
        return ImageBatches(
            images,
            mask=mask,
            scaling=self.config.scaling,
            factors=self.config.downsampling,
            device=self._device,
        )

    def _encode(self, batches, batch_size):
        size = _checked_size(batch_size, batches.padded)
        return encode_batches(self.net, batches, size)

    def _decode(self, codes, image_shape, batch_size):
        """Images ``(N, *image_shape, C)`` in the units of the training images."""
        size = _checked_size(batch_size, image_shape)
        images = np.empty((len(codes), *image_shape, self.n_channels_in), np.float32)
        with torch.inference_mode():
            for start in range(0, len(codes), size):
                part = slice(start, start + size)
                batch = torch.from_numpy(codes[part]).to(self._device).long()
                images[part] = to_images(self.net.decode(batch), image_shape)
        images = self.config.scaling.undo(images)
        if self.config.bounds is not None:
            images = np.clip(images, *np.float32(self.config.bounds), out=images)
        return images

    def _shape_of(self, codes, image_shape):
        """The spatial shape that codes ``(N, *grid)`` are decoded to."""
        grid, factors = codes.shape[1:], self.config.downsampling
        full = tuple(n * f for n, f in zip(grid, factors))
        if image_shape is None:
            return self.image_shape if grid == self.latent_shape else full
        image_shape = per_axis("image_shape", image_shape, self.spatial_dims)
        if any(not n - f < m <= n for n, m, f in zip(full, image_shape, factors)):
            raise ValueError(
                f"image_shape {image_shape} does not go with codes of shape {grid} and "
                f"downsampling {factors}: the codes stand for {full}"
            )
        return image_shape

    @property
    def _device(self):
        return self.net.quantiser.codebook.device


def encode_batches(net, batches, size=None, *, share=False):
    """Codes ``(N, *grid)``, int32, of all images of an :class:`ImageBatches`.

    Or of a :class:`SubjectBatches`: then the grid is the largest one, and there are
    zeros where a smaller one ends. With `share` several processes share the work,
    and all get the result.
    """

    def encode(part):
        return net.codes(batches[part].x).to(torch.int32).cpu().numpy()

    parts = batches.parts(size)
    with torch.inference_mode():
        if share:
            some = gather([encode(part) for part in share_of(parts).items])
        else:
            some = map(encode, parts)
        codes = np.zeros((len(batches), *batches.grid), np.int32)
        for part, found in zip(parts, some):
            codes[(part, *map(slice, found.shape[1:]))] = found
    return codes


def _checked_size(batch_size, shape):
    if batch_size is None:
        return images_at_a_time(shape)
    check_number("batch_size", batch_size, at_least=1, whole=True)
    return int(batch_size)

"""What a fit of a VQ-VAE can do: images to codes and back."""

import numpy as np

from dipy_vqvae.codes import check_codes
from dipy_vqvae.data import as_subjects, pad_to, padded_shape
from dipy_vqvae.device import inference
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.parallel import gather, share_of
from dipy_vqvae.training import Fit
from dipy_vqvae.vqvae.batches import blocks_inside
from dipy_vqvae.vqvae.coder import Coder, codes_of
from dipy_vqvae.vqvae.config import VQVAEConfig


class VQVAEFit(Fit):
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

    KIND = "vqvae"
    NAME = "VQ-VAE"
    CONFIG = VQVAEConfig

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

    def encode(self, images, *, mask=None, scaling=None, batch_size=None):
        """Codes of images.

        Parameters
        ----------
        images : array, list of arrays, or ImageCollection
            Images in the units of the training images, of any size and real type: an
            array of shape (N, *spatial[, C]); a list with such an array, or one image
            of shape (*spatial,), for each subject; or files, see `open_images`.
        mask : array, shape (*spatial,) or (N, *spatial), or list of them, optional
            Nonzero inside. What lies outside has no influence.
        scaling : IntensityScaling or list of them, optional
            How intensities are scaled, by default as :meth:`scaling_of` says.
        batch_size : int, optional
            Images at a time; by default as many as have about 260,000 voxels.

        Returns
        -------
        codes : array, shape (N, *grid), int32, or list of such arrays
            Indices in [0, K); a list for a list, and for files one for each.

        Raises
        ------
        ValueError
            For images, a mask or a file that cannot be used; the message says why.
        TypeError
            For images that are not real numbers.
        OSError
            For a file that is gone or cannot be read.
        """
        subjects = self._subjects(images, mask)
        codes = []
        for piece in self._coder.pieces(subjects, scaling, batch_size):
            shape = (subjects.counts[piece.subject], *piece.batches.grid)
            _put(codes, piece, self._coder.encode(piece.batches), shape)
        return subjects.give_back(codes)

    def decode(self, codes, *, image_shape=None, scaling=None, batch_size=None):
        """Images of codes.

        Parameters
        ----------
        codes : int array, shape (N, *grid), or list of such arrays
            Codes in [0, K), as from :meth:`encode` or from a prior. An entry of a
            list may be one grid, of shape (*grid,).
        image_shape : tuple of int, or list of them, optional
            Spatial shape of the images where it is not the whole number of
            blocks that the grid stands for (the rest is cropped). By default
            that of the training images for a grid of their size, if they had one.
        scaling : IntensityScaling or list of them, optional
            Gives the images their units, see :meth:`scaling_of`. By default that of
            the training images. Where each volume has its own there is none: images
            are then scaled ones, from about 0 to 1.
        batch_size : int, optional
            Images at a time; by default as many as have about 260,000 voxels.

        Returns
        -------
        images : array, shape (N, *spatial[, C]), float32, or list of such arrays
            In the units of the training images.

        Raises
        ------
        ValueError
            For codes that are out of range or of a wrong shape, or an
            `image_shape` or `scaling` that does not fit.
        TypeError
            For codes that are not integers.
        """
        if not _is_list(codes):
            codes = check_codes(
                codes, n_codes=self.n_codes, spatial_dims=self.spatial_dims
            )
            return self._coder.images(codes, image_shape, scaling, batch_size)
        shapes = image_shape
        if image_shape is None or np.ndim(image_shape[0]) == 0:
            shapes = [image_shape] * len(codes)
        scalings = scaling if _is_list(scaling, object) else [scaling] * len(codes)
        for name, values in (("image_shape", shapes), ("scaling", scalings)):
            if len(values) != len(codes):
                raise ValueError(f"{name}: {len(values)} for {len(codes)} grids")
        images = []
        for index, (entry, shape, one) in enumerate(zip(codes, shapes, scalings)):
            entry = np.asarray(entry)
            is_one = entry.ndim == self.spatial_dims
            entry = check_codes(
                entry[np.newaxis] if is_one else entry,
                n_codes=self.n_codes,
                spatial_dims=self.spatial_dims,
                name=f"codes[{index}]",
            )
            decoded = self._coder.images(entry, shape, one, batch_size)
            images.append(decoded[0] if is_one else decoded)
        return images

    def predict(self, images, *, mask=None, scaling=None, batch_size=None):
        """Reconstructions of images.

        Parameters
        ----------
        images, mask, scaling, batch_size
            As for :meth:`encode`. What lies outside a mask is 0 in the result.

        Returns
        -------
        reconstructions : array, float32, or list of such arrays
            Same shape and units as `images`; for files one stack for each.

        Raises
        ------
        ValueError, TypeError, OSError
            As for :meth:`encode`.
        """
        subjects = self._subjects(images, mask)
        decoded = []
        for piece in self._coder.pieces(subjects, scaling, batch_size):
            codes = self._coder.encode(piece.batches)
            some = self._coder.decode(codes, piece.batches.shape, piece.scaling)
            if piece.batches.mask is not None:
                some[~piece.batches.mask] = 0
            shape = (subjects.counts[piece.subject], *some.shape[1:])
            _put(decoded, piece, some, shape)
        if not subjects.channel_axis:
            decoded = [stack[..., 0] for stack in decoded]
        return subjects.give_back(decoded)

    def usage(self, images, *, mask=None, scaling=None, batch_size=None):
        """How the codebook is used on images.

        Parameters
        ----------
        images, mask, scaling, batch_size
            As for :meth:`encode`. A code counts where its block has a voxel inside.

        Returns
        -------
        usage : CodeUsage
            ``n_used``, ``perplexity`` and ``histogram``.

        Raises
        ------
        ValueError, TypeError, OSError
            As for :meth:`encode`.
        """
        subjects = self._subjects(images, mask)
        found = []
        for piece in self._coder.pieces(subjects, scaling, batch_size):
            codes = self._coder.encode(piece.batches)
            inside = piece.batches.positions_inside()
            found.append(codes.reshape(-1) if inside is None else codes[inside])
        return code_usage(np.concatenate(found), self.n_codes)

    def scaling_of(self, images, *, mask=None):
        """How the intensities of images are scaled for the network.

        What :meth:`decode` needs to give images their units, where each volume has a
        scaling of its own.

        Parameters
        ----------
        images : array, list of arrays, or ImageCollection
            As for :meth:`encode`.
        mask : array or list, optional
            As for :meth:`encode`; only what is inside counts.

        Returns
        -------
        scaling : IntensityScaling, or list
            That of the training images, where there is one; else one for the slices
            of an array or for a single volume, a list with one for each of several
            volumes, and for a list or files a list with these for each.

        Raises
        ------
        ValueError
            For images that cannot be used, or that have one value only.
        """
        if self.config.scaling.method != "volume":
            return self.config.scaling
        subjects = self._subjects(images, mask)
        found = [
            self._coder.scalings(subjects, subject)
            for subject in range(len(subjects.counts))
        ]
        found = [one[0] if len(one) == 1 else one for one in found]
        return found[0] if subjects.is_array else found

    def positions_inside(self, mask):
        """Positions of the codes that have something inside a mask.

        Parameters
        ----------
        mask : array, shape (*spatial,) or (N, *spatial)
            Nonzero inside.

        Returns
        -------
        inside : array, shape (*grid,) or (N, *grid), bool
            Whether the block of voxels has at least one inside.

        Raises
        ------
        ValueError
            If the mask has another number of axes.
        """
        mask = np.asarray(mask) != 0
        is_one = mask.ndim == self.spatial_dims
        if mask.ndim - 1 + is_one != self.spatial_dims:
            raise ValueError(
                f"mask must have {self.spatial_dims} axes, or one more before them, "
                f"got shape {mask.shape}"
            )
        mask = mask[np.newaxis] if is_one else mask
        padded = padded_shape(mask.shape[1:], self.config.downsampling)
        mask = pad_to(mask, padded, mode="constant")
        inside = blocks_inside(mask, self.config.downsampling)
        return inside[0] if is_one else inside

    def _arrays(self):
        """Return the arrays of the network, without the state of its training."""
        arrays = {
            name: array
            for name, array in super()._arrays().items()
            if not name.startswith("quantiser.")
        }
        return {**arrays, "quantiser.codebook": self.codebook}

    def _subjects(self, images, mask):
        subjects = as_subjects(images, mask, spatial_dims=self.spatial_dims)
        if subjects.n_channels != self.n_channels_in:
            raise ValueError(
                f"{subjects.name(0)}: images have {subjects.n_channels} channels, the "
                f"model was trained on {self.n_channels_in}"
            )
        return subjects

    @property
    def _coder(self):
        return Coder(self.net, self.config)


def encode_batches(net, batches):
    """Codes ``(N, *grid)``, int32, of all images of an :class:`ImageBatches`.

    Before refinement. Or of a :class:`SubjectBatches`: then the grid is the largest one,
    and there are zeros where a smaller one ends. Several processes share the work, and
    all get the result.
    """
    parts = batches.parts()
    with inference(batches.device):
        some = gather(
            [
                codes_of(net, batches[part], refined=False)
                for part in share_of(parts).items
            ]
        )
    codes = np.zeros((len(batches), *batches.grid), np.int32)
    for part, found in zip(parts, some):
        codes[(part, *map(slice, found.shape[1:]))] = found
    return codes


def _is_list(value, kind=np.ndarray):
    return isinstance(value, (list, tuple)) and any(isinstance(v, kind) for v in value)


def _put(stacks, piece, results, shape):
    """Put the results for a piece where they belong in the stack of its subject."""
    if piece.subject == len(stacks):
        stacks.append(np.empty(shape, results.dtype))
    stacks[piece.subject][piece.rows] = results

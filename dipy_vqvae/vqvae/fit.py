"""Fit of a VQ-VAE: images to codes and back."""

import numpy as np

from dipy_vqvae.arrays import as_array, as_mask, is_list_of_arrays
from dipy_vqvae.codes import GridList, check_grids
from dipy_vqvae.data import Reading, as_subjects, names_images, pad_to, padded_shape
from dipy_vqvae.device import inference
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.parallel import gather, share_of
from dipy_vqvae.training import Fit
from dipy_vqvae.vqvae.batches import blocks_inside
from dipy_vqvae.vqvae.coder import Coder, codes_of
from dipy_vqvae.vqvae.config import VQVAEConfig
from dipy_vqvae.vqvae.data import survey_images
from dipy_vqvae.vqvae.shifting import check_shift, shifted


class VQVAEFit(Fit):
    """A trained VQ-VAE.

    Made by :meth:`VQVAEModel.fit` or :meth:`load`.
    The method is that of :footcite:p:`vandenOord2017`.

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

    References
    ----------
    .. footbibliography::
    """

    KIND = "vqvae"
    NAME = "VQ-VAE"
    CONFIG = VQVAEConfig
    SHOWN = ("n_codes", "code_dim", "image_shape", "latent_shape")

    @property
    def n_codes(self):
        """Codebook size, K."""
        return self.config.n_codes

    @property
    def codebook(self):
        """Codebook vectors, float32 array of shape (K, D)."""
        return self.net.quantiser.codebook.detach().cpu().numpy().copy()

    @property
    def spatial_dims(self):
        """2 for slices, 3 for volumes."""
        return self.config.spatial_dims

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

    @property
    def reading(self):
        """How the training images were read from files, a `dipy_vqvae.data.Reading`."""
        known = self.description.get("reading") or {}
        if not known and self.config.n_channels_in > 1:
            known = {"volumes_as": "channels"}
        return Reading.from_dict(known)

    @property
    def layout(self):
        """Options of `open_images` with which other files are opened, a dict."""
        reading = self.reading
        return {"slice_axis": reading.slice_axis, "volumes_as": reading.volumes_as}

    def opened(self, images, *, mask=None):
        """Open files and images of nibabel as the training images were opened.

        Parameters
        ----------
        images, mask
            As for :meth:`encode`.

        Returns
        -------
        images : ImageCollection
            With its masks; arrays and collections are returned as they are.
        mask : array, list or None
            None for files and images of nibabel.
        """
        if names_images(images):
            return self._subjects(images, mask), None
        return images, mask

    def encode(self, images, *, mask=None, scaling=None, shift=None, batch_size=None):
        """Encode images.

        Parameters
        ----------
        images : array, list of arrays, image of nibabel, file, or ImageCollection
            Images in the units of the training images, of any size and real type: an
            array of shape (N, *spatial[, C]); a list with such an array, or one image
            of shape (*spatial,), for each subject; or files or images of nibabel, as
            :func:`dipy_vqvae.open_images` takes or returns them.
        mask : array, shape (*spatial,) or (N, *spatial), or list of them, optional
            Nonzero inside. Voxels outside have no influence.
        scaling : IntensityScaling or list of them, optional
            Intensity scaling; by default that of :meth:`scaling_of`.
        shift : tuple of int, optional
            Encode the images moved by so many voxels along each axis, to make
            `variants` for :meth:`PixelCNNModel.fit`. Voxels at the edges are repeated.
            Such codes are not refined: a prior learns as much from them.
        batch_size : int, optional
            Images at a time; by default as many as have about 260,000 voxels.

        Returns
        -------
        codes : array, shape (N, *grid), int32, or list of such arrays
            Indices in [0, K); a list for a list, and for files one for each. Codes for
            an image of nibabel are those of its slices. Files are opened with the
            `slice_axis` and `volumes_as` of the training.

        Raises
        ------
        ValueError, TypeError, OSError
            For images, a mask or a file that cannot be used; the message says why.
        """
        if shift is not None:
            shift = check_shift(shift, self.spatial_dims)
        subjects = self._subjects(images, mask)
        stacks = []
        for piece in self._coder.pieces(subjects, scaling, batch_size):
            batch = piece.batch
            if shift is not None:
                batch = shifted(batch, shift, subjects.shapes[piece.subject])
            codes = self._coder.encode(batch, refined=shift is None)
            _put(stacks, piece, codes, subjects.counts[piece.subject])
        codes = subjects.give_back(stacks)
        return GridList(codes, self.spatial_dims) if isinstance(codes, list) else codes

    def latents(self, images, *, mask=None, scaling=None, batch_size=None):
        """Compute the vectors that become codes.

        Parameters
        ----------
        images, mask, scaling, batch_size
            As for :meth:`encode`.

        Returns
        -------
        latents : array, shape (N, *grid, D), float32, or list of such arrays
            Output of the encoder, moved by the rounds of refinement.

        Raises
        ------
        ValueError, TypeError, OSError
            As for :meth:`encode`.
        """
        subjects = self._subjects(images, mask)
        stacks = []
        for piece in self._coder.pieces(subjects, scaling, batch_size):
            latents = self._coder.latents(piece.batch)
            _put(stacks, piece, latents, subjects.counts[piece.subject])
        return subjects.give_back(stacks)

    def decode(self, codes, *, image_shape=None, scaling=None, batch_size=None):
        """Decode codes.

        Parameters
        ----------
        codes : int array, shape (N, *grid), or list of such arrays
            Codes in [0, K), as from :meth:`encode` or from a prior. An entry of a
            list may be one grid, of shape (*grid,).
        image_shape : tuple of int, or list of them, optional
            Spatial shape of the images, if it is not the whole number of blocks that
            the grid stands for (the rest is cropped). By default that of the training
            images for a grid of their size, if they all had the same shape.
        scaling : IntensityScaling or list of them, optional
            Gives the images their units, see :meth:`scaling_of`. By default that of
            the training images. If each volume has its own there is no default: images
            are then scaled ones, from about 0 to 1.
        batch_size : int, optional
            Images at a time; by default as many as have about 260,000 voxels.

        Returns
        -------
        images : array, shape (N, *spatial[, C]), float32, or list of such arrays
            In the units of the training images.

        Raises
        ------
        ValueError, TypeError
            For codes that are not integers, out of range or of a wrong shape, or an
            `image_shape` or `scaling` that does not fit.
        """
        stacks = check_grids(
            codes, n_codes=self.n_codes, spatial_dims=self.spatial_dims
        )
        if not is_list_of_arrays(codes):
            return self._coder.images(stacks[0], image_shape, scaling, batch_size)
        shapes, scalings = image_shape, scaling
        if not _is_list_of_shapes(image_shape):
            shapes = [image_shape] * len(codes)
        if not isinstance(scaling, (list, tuple)):
            scalings = [scaling] * len(codes)
        for name, values in (("image_shape", shapes), ("scaling", scalings)):
            if len(values) != len(codes):
                raise ValueError(
                    f"{name}: got a list of {len(values)} for {len(codes)} grids"
                )
        decoded = [
            self._coder.images(stack, shape, scaling_of_stack, batch_size)
            for stack, shape, scaling_of_stack in zip(stacks, shapes, scalings)
        ]
        # Without a first axis for an entry of shape (*grid,).
        return [
            images[0] if as_array(grids, "codes").ndim == self.spatial_dims else images
            for images, grids in zip(decoded, codes)
        ]

    def predict(self, images, *, mask=None, scaling=None, batch_size=None):
        """Reconstruct images.

        Parameters
        ----------
        images, mask, scaling, batch_size
            As for :meth:`encode`. Voxels outside a mask are 0 in the result.

        Returns
        -------
        reconstructions : array, float32, or list of such arrays
            Same shape and units as `images`, also for an image of nibabel; for files
            one stack for each.

        Raises
        ------
        ValueError, TypeError, OSError
            As for :meth:`encode`.
        """
        subjects = self._subjects(images, mask)
        stacks = []
        for piece in self._coder.pieces(subjects, scaling, batch_size):
            codes = self._coder.encode(piece.batch)
            shape = subjects.shapes[piece.subject]
            restored = self._coder.decode(codes, shape, piece.scaling)
            inside = subjects.mask_rows(piece.subject, piece.rows)
            if inside is not None:
                restored[~inside] = 0
            _put(stacks, piece, restored, subjects.counts[piece.subject])
        return subjects.give_back(stacks, are_images=True)

    def usage(self, images, *, mask=None, scaling=None, batch_size=None):
        """Compute the codebook usage on images.

        Parameters
        ----------
        images, mask, scaling, batch_size
            As for :meth:`encode`. A code counts if its block has a voxel inside.

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
        parts = []
        for piece in self._coder.pieces(subjects, scaling, batch_size):
            codes, inside = self._coder.encode(piece.batch), piece.batch.inside
            parts.append(
                codes.reshape(-1) if inside is None else codes[inside.cpu().numpy()]
            )
        return code_usage(np.concatenate(parts), self.n_codes)

    def report(self, images, *, mask=None, held_out=None):
        """Report errors, reconstructions, codes and the training, with a verdict.

        Parameters
        ----------
        images, mask
            As for :meth:`encode`; of large collections, a subset is used.
        held_out : bool, optional
            Whether the images were held out from the training; by default, whether
            they are others than those.

        Returns
        -------
        report : Report
            Shows itself in notebooks. It has a ``verdict``, ``figures`` by name, and
            ``save("report.html")``.

        Raises
        ------
        ValueError, TypeError, OSError
            As for :meth:`encode`.
        """
        # The one call into a folder above: the report reads fits, and is drawn last.
        from dipy_vqvae.report import vqvae_report

        subjects = self._subjects(images, mask)
        if held_out is None:
            held_out = not self._was_trained_on(images, mask)
        return vqvae_report(self, subjects, held_out=held_out)

    def _was_trained_on(self, images, mask):
        """Return whether images are those of the training."""
        data = survey_images(
            images,
            mask,
            spatial_dims=self.spatial_dims,
            method="none",
            must_vary=False,
        )
        known = self.description.get("training_images") or {}
        return data.describe()["fingerprint"] == known.get("fingerprint")

    def scaling_of(self, images, *, mask=None):
        """Return the intensity scaling of images.

        If each volume has a scaling of its own, :meth:`decode` needs it to give the
        images their units.

        Parameters
        ----------
        images : array, list of arrays, image of nibabel, file, or ImageCollection
            As for :meth:`encode`.
        mask : array or list, optional
            As for :meth:`encode`; only voxels inside count.

        Returns
        -------
        scaling : IntensityScaling, or list
            That of the training images, if there is one. Otherwise one for the slices
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
        scalings = []
        for subject in range(len(subjects.counts)):
            of_subject = self._coder.scalings(subjects, subject)
            scalings.append(of_subject[0] if len(of_subject) == 1 else of_subject)
        is_one = subjects.is_array or getattr(subjects, "given", None) == "image"
        return scalings[0] if is_one else scalings

    def positions_inside(self, mask):
        """Find the positions of the codes that have something inside a mask.

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
            If the mask has another number of axes, or NaN.
        """
        mask = as_mask(mask, "mask")
        has_one_image = mask.ndim == self.spatial_dims
        if mask.ndim - 1 + has_one_image != self.spatial_dims:
            raise ValueError(
                f"mask must have {self.spatial_dims} axes, or one more before them, "
                f"got shape {mask.shape}"
            )
        mask = mask[np.newaxis] if has_one_image else mask
        padded = padded_shape(mask.shape[1:], self.config.downsampling)
        mask = pad_to(mask, padded, mode="constant")
        inside = blocks_inside(mask, self.config.downsampling)
        return inside[0] if has_one_image else inside

    def _arrays(self):
        """Return the arrays of the network, without the state of its training."""
        arrays = {
            name: array
            for name, array in super()._arrays().items()
            if not name.startswith("quantiser.")
        }
        return {**arrays, "quantiser.codebook": self.codebook}

    def _subjects(self, images, mask):
        subjects = as_subjects(
            images, mask, spatial_dims=self.spatial_dims, layout=self.layout
        )
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
    """Encode all images: ImageBatches -> (N, *grid), int32.

    If shapes differ, the grid is the largest one, with zeros where smaller ones end.
    The processes share the work, and all get the result.
    """
    parts = batches.parts()
    with inference(batches.device):
        results = gather(
            [codes_of(net, batches[part]) for part in share_of(parts).items]
        )
    codes = np.zeros((len(batches), *batches.grid), np.int32)
    for part, codes_of_part in zip(parts, results):
        codes[(part, *map(slice, codes_of_part.shape[1:]))] = codes_of_part
    return codes


def _is_list_of_shapes(image_shape):
    return isinstance(image_shape, (list, tuple)) and any(
        shape is None or np.ndim(shape) for shape in image_shape
    )


def _put(stacks, piece, results, count):
    """Put the results of a piece into the stack of its subject, of `count` images."""
    if piece.subject == len(stacks):
        stacks.append(np.empty((count, *results.shape[1:]), results.dtype))
    stacks[piece.subject][piece.rows] = results

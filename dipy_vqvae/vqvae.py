"""VQ-VAE models: images to discrete codes and back."""

from dataclasses import asdict, dataclass
from math import prod

import numpy as np
import torch

from dipy_vqvae.batches import ImageBatches, to_images
from dipy_vqvae.codes import check_codes
from dipy_vqvae.device import choose_device, seeded
from dipy_vqvae.fingerprint import fingerprint
from dipy_vqvae.history import History
from dipy_vqvae.images.checks import check_images, check_spatial_dims
from dipy_vqvae.images.intensity import IntensityScaling, fit_scaling
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.modelfile import load_model, save_model
from dipy_vqvae.nn.autoencoder import ENCODERS
from dipy_vqvae.nn.gated_pixelcnn import GatedPixelCNN
from dipy_vqvae.nn.quantize import QUANTISERS, to_rows
from dipy_vqvae.nn.vqvae import VQVAENet
from dipy_vqvae.settings import check_choice, check_number, load_arrays, per_axis
from dipy_vqvae.training import TrainingOptions, train
from dipy_vqvae.vqvae_task import VQVAETask

# Encoder outputs from which the first codebook is made.
N_FIRST_VECTORS = 20_000


@dataclass(frozen=True)
class VQVAEConfig:
    """All that is needed to build the network and to use it.

    Attributes are those of :class:`VQVAEModel`, and what the fit adds:
    ``n_channels_in``, ``image_shape`` (spatial shape of the training images),
    ``scaling`` and ``bounds`` (smallest and largest training intensity, or None).
    """

    n_codes: int
    code_dim: int
    downsampling: tuple
    architecture: str
    n_channels: int
    n_blocks: tuple
    n_channels_in: int
    image_shape: tuple
    channel_axis: bool
    scaling: IntensityScaling
    bounds: tuple | None

    @classmethod
    def from_dict(cls, entries):
        """The configuration that a model file holds."""
        scaling = IntensityScaling.from_dict(entries["scaling"])
        tuples = ("downsampling", "n_blocks", "image_shape", "bounds")
        entries = {
            name: tuple(value) if name in tuples and value is not None else value
            for name, value in entries.items()
        }
        return cls(**{**entries, "scaling": scaling})


class VQVAEModel:
    """Vector-quantised variational autoencoder.

    An encoder turns an image into a coarse grid of vectors, each vector is
    replaced by the nearest of K codes, and a decoder makes the image from them
    :footcite:p:`vandenOord2017`.

    Parameters
    ----------
    n_codes : int, optional
        Codebook size K, at least 2.
    code_dim : int, optional
        Dimension D of the codes.
    spatial_dims : {2, 3}, optional
        Slices or volumes.
    downsampling : int or tuple of int, optional
        Image voxels per code, along all axes or along each.
    architecture : {"subpixel", "strided"}, optional
        Networks that work at the resolution of the codes, or the strided and
        transposed convolutions of the original experiment.
    n_channels : int, optional
        Width of encoder and decoder.
    n_blocks : int or tuple of two int, optional
        Residual blocks of encoder and decoder.
    codebook : {"ema", "gradient"}, optional
        Codes that follow a moving average of their vectors, with revival of dead
        codes, or codes learnt by gradient descent as in the original experiment.
    commitment : float, optional
        Weight of the commitment loss.
    rate_weight : float, optional
        Price of a nat of code length per position, in units of the normalised
        distortion. Above 0, a small causal network learns along with the
        autoencoder how predictable the codes are, and the encoder is trained to
        make them more so: fewer bits under a prior for a little more distortion.
    scaling : {"range", "percentile", "none"}, optional
        How intensities are scaled for the network; undone on the way out.
    bounded : bool, optional
        Whether decoded images are clipped to the intensities seen in training.
    random_seed : int, optional
        Seed of everything that is random in a fit.
    use_cuda : bool, optional
        Train on a GPU. Without one there is a warning and the CPU is used.

    Raises
    ------
    ValueError
        From ``fit``, for a setting out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> import dipy_vqvae as dv
    >>> images = np.random.default_rng(0).integers(0, 256, (32, 12, 10), np.uint8)
    >>> model = dv.VQVAEModel(n_codes=8, code_dim=4, n_channels=8)
    >>> fit = model.fit(images, n_epochs=1, batch_size=16)
    >>> fit.encode(images).shape
    (32, 3, 3)
    >>> fit.predict(images).shape
    (32, 12, 10)

    References
    ----------
    .. footbibliography::
    """

    def __init__(
        self,
        n_codes=128,
        code_dim=16,
        *,
        spatial_dims=2,
        downsampling=4,
        architecture="subpixel",
        n_channels=64,
        n_blocks=2,
        codebook="ema",
        commitment=0.25,
        rate_weight=0.0,
        scaling="range",
        bounded=True,
        random_seed=0,
        use_cuda=False,
    ):
        self.n_codes = n_codes
        self.code_dim = code_dim
        self.spatial_dims = spatial_dims
        self.downsampling = downsampling
        self.architecture = architecture
        self.n_channels = n_channels
        self.n_blocks = n_blocks
        self.codebook = codebook
        self.commitment = commitment
        self.rate_weight = rate_weight
        self.scaling = scaling
        self.bounded = bounded
        self.random_seed = random_seed
        self.use_cuda = use_cuda

    def _check(self):
        check_spatial_dims(self.spatial_dims)
        check_number("n_codes", self.n_codes, at_least=2, whole=True)
        check_number("code_dim", self.code_dim, at_least=1, whole=True)
        check_number("n_channels", self.n_channels, at_least=1, whole=True)
        check_number("commitment", self.commitment, at_least=0)
        check_number("rate_weight", self.rate_weight, at_least=0)
        check_number("random_seed", self.random_seed, at_least=0, whole=True)
        check_choice("architecture", self.architecture, ENCODERS)
        check_choice("codebook", self.codebook, QUANTISERS)

    def _config(self, images, scaling):
        bounds = None
        if self.bounded:
            bounds = (float(images.min()), float(images.max()))
        blocks = self.n_blocks
        return VQVAEConfig(
            n_codes=int(self.n_codes),
            code_dim=int(self.code_dim),
            downsampling=per_axis("downsampling", self.downsampling, self.spatial_dims),
            architecture=self.architecture,
            n_channels=int(self.n_channels),
            n_blocks=per_axis("n_blocks", blocks, 2, at_least=0),
            n_channels_in=images.shape[-1],
            image_shape=images.shape[1:-1],
            channel_axis=False,
            scaling=scaling,
            bounds=bounds,
        )

    def fit(
        self,
        images,
        *,
        validation_images=None,
        n_epochs=10,
        batch_size=128,
        learning_rate=2e-3,
        schedule="cosine",
        patience=None,
        max_seconds=None,
        checkpoint=None,
        checkpoint_minutes=10.0,
        verbose=False,
    ):
        """Train on images.

        Parameters
        ----------
        images : array, shape (N, H, W[, C]) or (N, X, Y, Z[, C])
            Training images, any real type. Sizes that `downsampling` does not
            divide are padded for the network, and what comes out is cropped back.
        validation_images : array like `images`, optional
            Images on which the error is recorded after each epoch.
        n_epochs : float, optional
            Passes over the images.
        batch_size : int, optional
            Images per step.
        learning_rate : float, optional
            Peak learning rate of Adam.
        schedule : {"cosine", "constant"}, optional
            Learning rate after the warm-up.
        patience : int, optional
            Stop after this many epochs without a lower validation loss.
        max_seconds : float, optional
            Limit of wall-clock time.
        checkpoint : str or Path, optional
            File to save the state of the training in; if it exists, the training
            continues from it.
        checkpoint_minutes : float, optional
            Time between two checkpoints within an epoch.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        fit : VQVAEFit
            The trained network. The model stays as it was.

        Raises
        ------
        ValueError
            For images or settings that cannot be used; the message says why.
        TypeError
            For images that are not real numbers.
        """
        self._check()
        channel_axis = np.ndim(images) == self.spatial_dims + 2
        images = check_images(
            images, spatial_dims=self.spatial_dims, allow_constant=False
        )
        options = TrainingOptions(
            n_epochs=n_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule=schedule,
            patience=patience,
            max_seconds=max_seconds,
            checkpoint_minutes=checkpoint_minutes,
            random_seed=self.random_seed,
        )
        scaling = fit_scaling(images, method=self.scaling)
        config = self._config(images, scaling)
        config = VQVAEConfig(**{**vars(config), "channel_axis": channel_axis})
        device = choose_device(self.use_cuda)
        to_batches = {
            "scaling": scaling,
            "factors": config.downsampling,
            "device": device,
        }
        batches = ImageBatches(images, **to_batches)
        validation = None
        if validation_images is not None:
            validation_images = self._check_validation(validation_images, images)
            validation = ImageBatches(validation_images, **to_batches)
        elif patience is not None:
            raise ValueError("patience needs validation_images to look at")
        with seeded(self.random_seed):
            module = self._build(config, batches, device)
        task = VQVAETask(
            module,
            batches,
            variance=images.var(dtype=np.float64) / scaling.scale**2,
            rate_weight=self.rate_weight,
            validation=validation,
            description=self._description(config, images),
        )
        history = train(task, options, checkpoint=checkpoint, verbose=verbose)
        net = module["net"].eval()
        return VQVAEFit(net, config, history=history, description=task.description)

    def _check_validation(self, validation_images, images):
        validation_images = check_images(
            validation_images,
            spatial_dims=self.spatial_dims,
            name="validation_images",
        )
        if validation_images.shape[1:] != images.shape[1:]:
            raise ValueError(
                f"validation_images have shape {validation_images.shape[1:]} each, "
                f"images have {images.shape[1:]} (channels last)"
            )
        return validation_images

    def _build(self, config, batches, device):
        net = build_net(config, codebook=self.codebook, commitment=self.commitment)
        layout = (
            torch.channels_last if self.spatial_dims == 2 else torch.channels_last_3d
        )
        module = torch.nn.ModuleDict({"net": net.to(memory_format=layout)})
        if self.rate_weight:
            grid = [n // f for n, f in zip(batches.padded, config.downsampling)]
            module["rate"] = GatedPixelCNN(
                config.n_codes,
                grid,
                n_channels=32,
                n_layers=3,
                n_embedding=config.code_dim,
            ).to(memory_format=layout)
        module.to(device)
        grid_size = prod(n // f for n, f in zip(batches.padded, config.downsampling))
        n_first = min(len(batches), max(1, N_FIRST_VECTORS // grid_size), 2048)
        first = np.random.default_rng(self.random_seed)
        first = np.sort(first.permutation(len(batches))[:n_first])
        with torch.no_grad():
            net.quantiser.initialise(to_rows(net.encoder(batches[first])))
        return module

    def _description(self, config, images):
        settings = dict(vars(self))
        settings["use_cuda"] = bool(self.use_cuda)
        return {
            "model": settings,
            "training_images": {
                "number": len(images),
                "shape": list(images.shape[1:]),
                "dtype": str(images.dtype),
                "fingerprint": fingerprint(images),
            },
        }


def build_net(config, *, codebook="ema", commitment=0.25):
    """The network of a configuration, with random weights."""
    return VQVAENet(
        config.n_channels_in,
        config.n_codes,
        config.code_dim,
        factors=config.downsampling,
        architecture=config.architecture,
        n_channels=config.n_channels,
        n_blocks=config.n_blocks,
        codebook=codebook,
        commitment=commitment,
    )


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
    def image_shape(self):
        """Spatial shape of the training images."""
        return self.config.image_shape

    @property
    def latent_shape(self):
        """Grid of codes of an image of the training images' shape."""
        return tuple(-(-n // f) for n, f in zip(self.image_shape, self._factors))

    @property
    def _factors(self):
        return self.config.downsampling

    @property
    def _device(self):
        return next(self.net.parameters()).device

    def encode(self, images, *, batch_size=256):
        """Codes of images.

        Parameters
        ----------
        images : array, shape (N, *spatial[, C])
            Images in the units of the training images, of any size.
        batch_size : int, optional
            Images at a time; lower it if memory runs out.

        Returns
        -------
        codes : array, shape (N, *grid), int32
            Indices in [0, K).
        """
        images = self._check_images(images)
        batches = ImageBatches(
            images,
            scaling=self.config.scaling,
            factors=self._factors,
            device=self._device,
        )
        grid = [n // f for n, f in zip(batches.padded, self._factors)]
        codes = np.empty((len(images), *grid), np.int32)
        with torch.inference_mode():
            for i, x in enumerate(batches.slices(batch_size)):
                start = i * batch_size
                codes[start : start + batch_size] = self.net.codes(x).cpu().numpy()
        return codes

    def decode(self, codes, *, image_shape=None, batch_size=256):
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
            Images at a time.

        Returns
        -------
        images : array, shape (N, *spatial[, C]), float32
            In the units of the training images.

        Raises
        ------
        ValueError, TypeError
            For codes that are out of range, not integers or of a wrong shape.
        """
        codes = check_codes(codes, n_codes=self.n_codes, spatial_dims=self.spatial_dims)
        full = tuple(n * f for n, f in zip(codes.shape[1:], self._factors))
        if image_shape is None:
            image_shape = full
            if codes.shape[1:] == self.latent_shape:
                image_shape = self.image_shape
        image_shape = tuple(image_shape)
        fits = len(image_shape) == len(full) and all(
            n - f < m <= n for n, m, f in zip(full, image_shape, self._factors)
        )
        if not fits:
            raise ValueError(
                f"image_shape {image_shape} does not go with codes of shape "
                f"{codes.shape[1:]} and downsampling {self._factors}"
            )
        images = np.empty(
            (len(codes), *image_shape, self.config.n_channels_in), np.float32
        )
        with torch.inference_mode():
            for start in range(0, len(codes), batch_size):
                batch = torch.from_numpy(codes[start : start + batch_size])
                x = self.net.decode(batch.to(self._device).long())
                images[start : start + batch_size] = to_images(x, image_shape)
        images = self.config.scaling.undo(images)
        if self.config.bounds is not None:
            images = np.clip(images, *np.float32(self.config.bounds), out=images)
        return images if self.config.channel_axis else images[..., 0]

    def predict(self, images, *, batch_size=256):
        """Reconstructions of images.

        Parameters
        ----------
        images : array, shape (N, *spatial[, C])
            Images in the units of the training images, of any size.
        batch_size : int, optional
            Images at a time.

        Returns
        -------
        reconstructions : array, float32
            Same shape and units as `images`.
        """
        shape = self._check_images(images).shape
        codes = self.encode(images, batch_size=batch_size)
        decoded = self.decode(codes, image_shape=shape[1:-1], batch_size=batch_size)
        return decoded.reshape(np.shape(images))

    def usage(self, images, *, batch_size=256):
        """How the codebook is used on images.

        Returns
        -------
        usage : CodeUsage
            ``n_used``, ``perplexity`` and ``histogram``.
        """
        return code_usage(self.encode(images, batch_size=batch_size), self.n_codes)

    def save(self, path):
        """Write a model file (safetensors), all that is needed to use the fit.

        Parameters
        ----------
        path : str or Path
            The file; it is complete or not there at all.
        """
        arrays = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in self.net.state_dict().items()
            if not name.startswith("quantiser.")
        }
        arrays["codebook"] = self.codebook
        config = {**vars(self.config), "scaling": self.config.scaling.to_dict()}
        save_model(
            path,
            kind="vqvae",
            config=config,
            arrays=arrays,
            description={**self.description, "history": asdict(self.history)},
        )

    @classmethod
    def load(cls, path, *, use_cuda=False):
        """Read a model file.

        Parameters
        ----------
        path : str or Path
            File written by :meth:`save`.
        use_cuda : bool, optional
            Use a GPU if there is one.

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
        try:
            config = VQVAEConfig.from_dict(content.config)
            with seeded(0):
                net = build_net(config)
        except (TypeError, KeyError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} has settings that do not work: {error}"
            ) from error
        arrays = dict(content.arrays)
        if "codebook" in arrays:
            arrays["quantiser.codebook"] = arrays.pop("codebook")
        load_arrays(net, arrays, path=path, ignore=("quantiser.",))
        layout = torch.channels_last_3d
        if len(config.downsampling) == 2:
            layout = torch.channels_last
        net = net.to(choose_device(use_cuda), memory_format=layout).eval()
        description = dict(content.description or {})
        history = History.from_dict(description.pop("history"))
        return cls(net, config, history=history, description=description)

    def _check_images(self, images):
        n_channels = self.config.n_channels_in
        checked = check_images(images, spatial_dims=self.spatial_dims)
        if checked.shape[-1] != n_channels:
            raise ValueError(
                f"images have {checked.shape[-1]} channels, the model was trained "
                f"on {n_channels}"
            )
        return checked

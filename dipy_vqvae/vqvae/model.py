"""VQ-VAE models: images to discrete codes and back."""

import numpy as np
import torch

from dipy_vqvae.data import check_spatial_dims
from dipy_vqvae.device import autocast, device_of_training, seeded
from dipy_vqvae.nn import QUANTISERS, to_rows
from dipy_vqvae.parallel import rank
from dipy_vqvae.settings import check_choice, check_number, per_axis, settings_of
from dipy_vqvae.storage import check_second_stage, second_stage
from dipy_vqvae.training import TrainingOptions, share_time, train
from dipy_vqvae.vqvae.config import VQVAEConfig
from dipy_vqvae.vqvae.data import look_at, look_at_validation
from dipy_vqvae.vqvae.fit import VQVAEFit, encode_batches
from dipy_vqvae.vqvae.task import LOSSES, DecoderTask, VQVAETask

__all__ = ["VQVAEFit", "VQVAEModel"]

# Encoder outputs from which the first codebook is made.
N_FIRST_VECTORS = 20_000
N_FIRST_IMAGES = 2048


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
    n_hidden : int, optional
        Width inside the blocks, whose second convolution then is 1×1: quicker. By
        default that of the blocks, and both are 3×3.
    n_refinements : int, optional
        Rounds, 0 to 100, in which the codes of each image that is encoded are improved
        by what the decoder makes of them :footcite:p:`Yang2020`: by squared error,
        whatever the loss. It has no part in the training.
    codebook : {"ema", "gradient"}, optional
        Codes that follow a moving average of their vectors, with revival of dead
        codes, or codes learnt by gradient descent as in the original experiment.
    loss : {"mse", "mae"}, optional
        What the reconstruction is judged by: the mean squared error over the
        variance of the training images, or the mean absolute error over their
        standard deviation, which keeps edges sharper and cares less about outliers.
    commitment : float, optional
        Weight of the commitment loss.
    decay : float, optional
        Of the moving averages of "ema", in [0, 1): codes follow about the last
        1 / (1 - decay) steps.
    revive_below : float, optional
        Share of an even use under which a code of "ema" counts as dead.
    rate_weight : float, optional
        Price of a nat of code length, in units of the mean square of the latents'
        channels. Above 0, a small causal network learns along with the
        autoencoder how predictable the codes are, and a vector gets the code that
        is cheapest in distance and length together: fewer bits under a prior for a
        little more distortion :footcite:p:`Chou1989`.
    scaling : {"range", "percentile", "volume", "none"}, optional
        How intensities are scaled for the network; undone on the way out. By the
        range or two percentiles (0.5 and 99.5) of all training images, or each
        volume by its own percentiles inside its mask: all slices of a file, of an
        entry of a list or of an array have one scaling together, volumes have one
        each.
    mixed_precision : bool, optional
        Train the convolutions in bfloat16 (the quantiser and what is used
        afterwards stay in float32). Faster on processors that have it.
    bounded : bool, optional
        Whether decoded images are clipped to the range of the training images.
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
        n_hidden=None,
        n_refinements=0,
        codebook="ema",
        loss="mse",
        commitment=0.05,
        decay=0.99,
        revive_below=0.01,
        rate_weight=0.0,
        scaling="range",
        bounded=True,
        mixed_precision=False,
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
        self.n_hidden = n_hidden
        self.n_refinements = n_refinements
        self.codebook = codebook
        self.loss = loss
        self.commitment = commitment
        self.decay = decay
        self.revive_below = revive_below
        self.rate_weight = rate_weight
        self.scaling = scaling
        self.bounded = bounded
        self.mixed_precision = mixed_precision
        self.random_seed = random_seed
        self.use_cuda = use_cuda

    def fit(
        self,
        images,
        *,
        mask=None,
        validation_images=None,
        validation_mask=None,
        n_epochs=10,
        n_decoder_epochs=0,
        batch_size=None,
        learning_rate=1e-2,
        optimizer="muon",
        schedule="cosine",
        patience=None,
        max_seconds=None,
        patch_shape=None,
        checkpoint=None,
        checkpoint_minutes=10.0,
        checkpoint_steps=None,
        verbose=False,
    ):
        """Train on images.

        Parameters
        ----------
        images : array, list of arrays, or ImageCollection
            Training images, any real type: an array of shape (N, H, W[, C]) or
            (N, X, Y, Z[, C]); a list with such an array, or one image without
            channels, for each subject; or files, see `open_images`. Shapes may
            differ between subjects. Sizes that `downsampling` does not divide are
            padded for the network, and what comes out is cropped back.
        mask : array, shape (*spatial,) or (N, *spatial), or list of them, optional
            Nonzero inside; a list goes with a list, files bring their own. What lies
            outside has no influence: it is not looked at, and neither the loss nor
            the codebook counts it. Images with nothing inside are left out.
        validation_images : array, list of arrays, or ImageCollection, optional
            Images on which the error is recorded after each epoch, of any shapes.
            Those of other subjects: slices of one subject are much alike.
        validation_mask : array or list, optional
            By default `mask`, if that is one for all images.
        n_epochs : float, optional
            Passes over the images.
        n_decoder_epochs : float, optional
            Passes after that in which the codes stay as they are and the decoder
            alone learns to make more of them. 0: none.
        batch_size : int, optional
            Images per step. By default 128 at most, and fewer of large images, and of
            few of them, so that there are 50 steps in an epoch.
        learning_rate : float, optional
            Peak learning rate; Adam alone needs a lower one, about 2e-3.
        optimizer : {"muon", "adam"}, optional
            Muon for convolution kernels with Adam for the rest, which needs fewer
            epochs :footcite:p:`Jordan2024`, or Adam alone.
        schedule : {"cosine", "linear", "constant"}, optional
            Learning rate after the warm-up, see
            :class:`dipy_vqvae.training.loop.TrainingOptions`.
        patience : int, optional
            Stop after this many epochs without a lower validation loss.
        max_seconds : float, optional
            Limit of wall-clock time. Where the decoder is trained after the rest,
            both have their share of it, by their numbers of epochs.
        patch_shape : int or tuple of int, optional
            Train on patches of this shape, taken at random, where whole images are
            too large for a step. In an epoch each image has as many as would cover
            it. Afterwards images of any size can be encoded.
        checkpoint : str or Path, optional
            File to save the state of the training in; if it exists, the training
            continues from it. The decoder's own passes have one of that name and
            ``.decoder``.
        checkpoint_minutes : float, optional
            Time between two checkpoints within an epoch.
        checkpoint_steps : int, optional
            Steps between two checkpoints within an epoch, whichever comes first.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        fit : VQVAEFit
            The trained network. The model stays as it was.

        Raises
        ------
        ValueError
            For images, a mask or settings that cannot be used, for a checkpoint
            of another training, or where the loss becomes NaN or infinite; the
            message says why.
        TypeError
            For images that are not real numbers.
        OSError
            For a file that cannot be read or is gone, or a checkpoint that cannot be
            read or written.
        KeyboardInterrupt
            After Ctrl-C or SIGTERM, once the checkpoint is written.
        """
        self._check()
        check_number("n_decoder_epochs", n_decoder_epochs, at_least=0)
        options = TrainingOptions(
            n_epochs=n_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            schedule=schedule,
            patience=patience,
            max_seconds=max_seconds,
            checkpoint_minutes=checkpoint_minutes,
            checkpoint_steps=checkpoint_steps,
            random_seed=self.random_seed,
        )
        fitting = {**options.of_consequence(), "patch_shape": patch_shape}
        options, decoder_options = share_time(options, n_decoder_epochs)
        if validation_images is None:
            if patience is not None:
                raise ValueError("patience needs validation_images to look at")
            if validation_mask is not None:
                raise ValueError("validation_mask needs validation_images")
        patch_shape = self._check_patches(patch_shape, n_decoder_epochs)
        training = look_at(
            images, mask, spatial_dims=self.spatial_dims, method=self.scaling
        )
        config = self._config(training)
        how = {
            "scaling": config.scaling,
            "factors": config.downsampling,
            "device": device_of_training(self.use_cuda),
        }
        seen = training.describe()
        description = {"model": settings_of(self), "training_images": seen}
        description["n_decoder_epochs"] = n_decoder_epochs
        if patch_shape is not None:
            description["patch_shape"] = list(patch_shape)
        validation = None
        if validation_images is not None:
            held_out = look_at_validation(
                validation_images,
                validation_mask,
                training=training,
                training_mask=mask,
                spatial_dims=self.spatial_dims,
                method="volume" if self.scaling == "volume" else "none",
            )
            validation = held_out.batches(**how)
            description["validation_images"] = held_out.describe()
        if checkpoint is not None and n_decoder_epochs:
            check_second_stage(checkpoint)
        batches = training.batches(**how, patch_shape=patch_shape)
        with seeded(self.random_seed):
            net = self._build(config, batches)
        task = VQVAETask(
            net,
            batches,
            variance=training.survey.variance,
            loss_kind=self.loss,
            mixed_precision=bool(self.mixed_precision),
            validation=validation,
            description=description,
        )
        history = train(task, options, checkpoint=checkpoint, verbose=verbose)
        if decoder_options is not None:
            self._finish_decoder(task, decoder_options, checkpoint, verbose)
        description["fitting"] = fitting
        return VQVAEFit(net.eval(), config, history=history, description=description)

    def _check(self):
        """Refuse settings that are wrong whatever the images are."""
        check_spatial_dims(self.spatial_dims)
        check_choice("codebook", self.codebook, QUANTISERS)
        check_choice("loss", self.loss, LOSSES)
        check_number("commitment", self.commitment, at_least=0)
        check_number("decay", self.decay, at_least=0, at_most=0.9999)
        check_number("revive_below", self.revive_below, at_least=0, at_most=1)
        check_number("random_seed", self.random_seed, at_least=0, whole=True)

    def _check_patches(self, patch_shape, n_decoder_epochs):
        if patch_shape is None:
            return None
        patch_shape = per_axis("patch_shape", patch_shape, self.spatial_dims)
        if self.rate_weight:
            raise ValueError(
                "rate_weight and patch_shape do not go together: the length of a code "
                "depends on where in the image it is"
            )
        if n_decoder_epochs:
            raise ValueError("n_decoder_epochs and patch_shape do not go together")
        return patch_shape

    def _config(self, training):
        found = training.survey
        return VQVAEConfig(
            n_codes=self.n_codes,
            code_dim=self.code_dim,
            downsampling=per_axis("downsampling", self.downsampling, self.spatial_dims),
            architecture=self.architecture,
            n_channels=self.n_channels,
            n_blocks=per_axis("n_blocks", self.n_blocks, 2, at_least=0),
            rate_weight=self.rate_weight,
            n_channels_in=training.subjects.n_channels,
            channel_axis=training.subjects.channel_axis,
            image_shape=training.image_shape,
            scaling=found.scaling,
            bounds=(found.low, found.high) if self.bounded else None,
            mixed_shapes=training.has_mixed_shapes,
            n_hidden=self.n_hidden,
            n_refinements=self.n_refinements,
        )

    def _build(self, config, batches):
        net = config.build(codebook=self.codebook, commitment=self.commitment)
        if self.codebook == "ema":
            net.quantiser.decay = self.decay
            net.quantiser.revive_below = self.revive_below
        net.to(batches.device)
        if rank() == 0:  # the others are given it when the training starts
            with torch.no_grad(), autocast(batches.device, False):
                net.quantiser.initialise(self._first_vectors(net, batches))
        return net

    def _finish_decoder(self, task, options, checkpoint, verbose):
        """Train the decoder on, with codes that do not change, not refined by it."""
        net = task.module.eval()
        task = DecoderTask(net, encode_batches(net, task.batches), task)
        if checkpoint is not None:
            checkpoint = second_stage(checkpoint)
        train(task, options, checkpoint=checkpoint, verbose=verbose)

    def _first_vectors(self, net, batches):
        """Encoder outputs ``(n, D)`` of images chosen at random."""
        n_images = min(
            len(batches),
            max(1, N_FIRST_VECTORS // int(np.prod(batches.grid))),
            N_FIRST_IMAGES,
        )
        rng = np.random.default_rng(self.random_seed)
        chosen = np.sort(rng.permutation(len(batches))[:n_images])
        batch = batches[chosen]
        vectors = to_rows(net.latents(batch.x))
        return vectors if batch.inside is None else vectors[batch.inside.reshape(-1)]

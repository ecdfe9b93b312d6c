"""The settings of a VQ-VAE, and its fit to images."""

from dataclasses import asdict, dataclass

import numpy as np
import torch

from dipy_vqvae.data import ImageCollection, describe_reading
from dipy_vqvae.device import autocast, device_of_training, seeded
from dipy_vqvae.nn import CodeCounts, to_rows
from dipy_vqvae.parallel import rank
from dipy_vqvae.settings import (
    VQVAE,
    VQVAE_TRAINING,
    Configured,
    per_axis,
    takes_settings,
)
from dipy_vqvae.storage import check_second_stage, second_stage
from dipy_vqvae.training import HasWeights, TrainingOptions, share_time, today, train
from dipy_vqvae.vqvae.config import VQVAEConfig
from dipy_vqvae.vqvae.data import survey_images, survey_validation_images
from dipy_vqvae.vqvae.fit import VQVAEFit, encode_batches
from dipy_vqvae.vqvae.losses import ReconstructionLoss
from dipy_vqvae.vqvae.task import DecoderTask, VQVAETask

# Encoder outputs from which the first codebook is made.
N_FIRST_VECTORS = 20_000
N_FIRST_IMAGES = 2048


class VQVAEModel(HasWeights, Configured):
    """Vector-quantised variational autoencoder.

    An encoder turns an image into a coarse grid of latent vectors, each vector is
    replaced by the nearest of K codes, and a decoder makes the image from the codes
    :footcite:p:`vandenOord2017`.

    Parameters
    ----------
    {settings}

    Raises
    ------
    ValueError
        From ``fit``, for a setting that is not allowed.

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

    SETTINGS = VQVAE
    FIT = VQVAEFit
    POSITIONAL = ("n_codes", "code_dim")

    @takes_settings(VQVAE_TRAINING)
    def fit(
        self,
        images,
        *,
        mask=None,
        validation_images=None,
        validation_mask=None,
        checkpoint=None,
        verbose=False,
        **training,
    ):
        """Train on images.

        Parameters
        ----------
        images : array, list of arrays, image of nibabel, file, or ImageCollection
            Training images, any real type: an array of shape (N, H, W[, C]) or
            (N, X, Y, Z[, C]); a list with such an array, or one image without
            channels, for each subject; or files or images of nibabel, as
            :func:`dipy_vqvae.open_images` takes or returns them. Shapes may differ
            between subjects. Sizes that `downsampling` does not divide are
            padded for the network, and the outputs are cropped.
        mask : array, shape (*spatial,) or (N, *spatial), or list of them, optional
            Nonzero inside; a list for a list of images; files or images of nibabel
            where `images` are. Masks of files that were opened are given to
            `open_images`. Voxels outside have no influence on loss and codebook.
            Images with nothing inside are left out.
        validation_images : as `images`, optional
            Held-out images for the validation loss after each epoch, of any shapes.
            Use those of other subjects: slices of one subject are much alike.
        validation_mask : array or list, optional
            By default `mask`, if that is one for all images.
        checkpoint : str or Path, optional
            File to save the state of the training in; if it exists, the training
            continues from it. The training of the decoder alone has one of that name
            and ``.decoder``.
        verbose : bool, optional
            Show a progress bar.
        {settings}

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
            For a file that cannot be read, or a checkpoint that cannot be read or
            written.
        KeyboardInterrupt
            After Ctrl-C or SIGTERM, once the checkpoint is written.
        """
        settings = self.checked()
        plan = self._plan(training, settings)
        if validation_images is None:
            if plan.options.patience is not None:
                raise ValueError("patience needs validation_images")
            if validation_mask is not None:
                raise ValueError("validation_mask needs validation_images")
        data = survey_images(
            images,
            mask,
            spatial_dims=settings["spatial_dims"],
            method=settings["scaling"],
        )
        held_out = None
        if validation_images is not None:
            held_out = survey_validation_images(
                validation_images,
                validation_mask,
                training=data,
                training_mask=mask,
                spatial_dims=settings["spatial_dims"],
                method="none" if data.survey.scalings is None else "volume",
            )
        if checkpoint is not None and plan.decoder_options is not None:
            check_second_stage(checkpoint)
        config = self._config(data, settings)
        task = self._task(config, settings, plan, data, held_out)
        history = train(task, plan.options, checkpoint=checkpoint, verbose=verbose)
        if plan.decoder_options is not None:
            options = plan.decoder_options
            second = _train_decoder(task, options, checkpoint, verbose)
            history = history.followed_by(second)
        description = {
            **task.description,
            "fitting": plan.of_consequence,
            "date": today(),
        }
        if isinstance(data.subjects, ImageCollection):
            description["reading"] = asdict(describe_reading(data.subjects))
        net = task.module.eval()
        net.quantiser.usage = None
        return VQVAEFit(net, config, history=history, description=description)

    def _plan(self, training, settings):
        """Check the settings of a training against each other."""
        spatial_dims = settings["spatial_dims"]
        training = VQVAE_TRAINING.check(training, spatial_dims=spatial_dims)
        n_decoder_epochs = training.pop("n_decoder_epochs")
        patch_shape = training.pop("patch_shape")
        if patch_shape is not None:
            if settings["rate_weight"]:
                raise ValueError(
                    "rate_weight and patch_shape exclude each other: the length of a "
                    "code depends on its position in the image"
                )
            if n_decoder_epochs:
                raise ValueError("n_decoder_epochs and patch_shape exclude each other")
        options = TrainingOptions(**training, random_seed=settings["random_seed"])
        joint, decoder = share_time(options, n_decoder_epochs)
        return _Plan(
            options=joint,
            decoder_options=decoder,
            n_decoder_epochs=n_decoder_epochs,
            patch_shape=patch_shape
            and per_axis("patch_shape", patch_shape, spatial_dims),
            of_consequence={**options.of_consequence(), "patch_shape": patch_shape},
        )

    def _config(self, data, settings):
        """Return the configuration of the network for some images."""
        survey = data.survey
        return VQVAEConfig(
            **{name: settings[name] for name in VQVAE.of_network()},
            n_channels_in=data.subjects.n_channels,
            channel_axis=data.subjects.channel_axis,
            image_shape=data.image_shape,
            scaling=survey.scaling,
            bounds=(survey.low, survey.high) if settings["bounded"] else None,
            mixed_shapes=data.has_mixed_shapes,
        )

    def _task(self, config, settings, plan, data, held_out):
        """Return the training task: the network, the images and what describes them."""
        options = {
            "scaling": config.scaling,
            "factors": config.downsampling,
            "device": device_of_training(settings["use_cuda"]),
        }
        description = {
            "model": self.of_consequence(),
            "training_images": data.describe(),
            "n_decoder_epochs": plan.n_decoder_epochs,
        }
        if plan.patch_shape is not None:
            description["patch_shape"] = list(plan.patch_shape)
        validation = None
        if held_out is not None:
            validation = held_out.batches(**options)
            description["validation_images"] = held_out.describe()
        batches = data.batches(**options, patch_shape=plan.patch_shape)
        with seeded(settings["random_seed"]):
            net = _build(config, settings, batches)
        return VQVAETask(
            net,
            batches,
            reconstruction_loss=_reconstruction_loss(settings, data.survey),
            mixed_precision=settings["mixed_precision"],
            revive_until=settings["revive_until"],
            validation=validation,
            description=description,
            advice=data.survey.remark,
        )


# For `VQVAEFit.model`: a fit does not import what makes it.
VQVAEFit.MODEL = VQVAEModel


@dataclass(frozen=True)
class _Plan:
    """The checked settings of a training in two stages."""

    options: TrainingOptions
    decoder_options: TrainingOptions | None
    n_decoder_epochs: float
    patch_shape: tuple | None
    of_consequence: dict


def _reconstruction_loss(settings, survey):
    """Return the loss for images of a survey."""
    # Percentiles are at 0 and 1 as well.
    is_scaled = survey.scaling.method != "none"
    return ReconstructionLoss(
        settings["loss"],
        survey.variance,
        ssim_weight=settings["ssim_weight"],
        data_range=1.0 if is_scaled else survey.high - survey.low,
    )


def _build(config, settings, batches):
    """Build the network, with a codebook of encoder outputs."""
    net = config.build(codebook=settings["codebook"], commitment=settings["commitment"])
    if settings["codebook"] == "ema":
        net.quantiser.decay = settings["decay"]
        net.quantiser.revive_below = settings["revive_below"]
    net.quantiser.usage = CodeCounts(settings["n_codes"])
    net.to(batches.device)
    if rank() == 0:  # the others receive it when the training starts
        with torch.no_grad(), autocast(batches.device, False):
            vectors = _first_vectors(net, batches, settings["random_seed"])
            net.quantiser.initialise(vectors)
    return net


def _first_vectors(net, batches, random_seed):
    """Return encoder outputs (n, D) of images chosen at random."""
    n_images = min(
        len(batches),
        max(1, N_FIRST_VECTORS // int(np.prod(batches.grid))),
        N_FIRST_IMAGES,
    )
    rng = np.random.default_rng(random_seed)
    chosen = np.sort(rng.permutation(len(batches))[:n_images])
    batch = batches[chosen]
    vectors = to_rows(net.latents(batch.x))  # (B, D, *grid) -> (B * grid, D)
    return vectors if batch.inside is None else vectors[batch.inside.reshape(-1)]


def _train_decoder(task, options, checkpoint, verbose):
    """Train the decoder alone, with fixed codes, refined if encoding refines them.

    Return the history of this stage.
    """
    net = task.module.eval()
    task = DecoderTask(net, encode_batches(net, task.batches), task)
    if checkpoint is not None:
        checkpoint = second_stage(checkpoint)
    return train(task, options, checkpoint=checkpoint, verbose=verbose)

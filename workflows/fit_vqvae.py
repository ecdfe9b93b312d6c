"""The workflow that fits a VQ-VAE to images."""

import logging

from dipy_vqvae.workflows.base import (
    VQVAEWorkflow,
    as_list,
    check_choice,
    check_device,
    check_least,
    positive,
    required,
)
from dipy_vqvae.workflows.errors import UsageError
from dipy_vqvae.workflows.reading import (
    checked_slice_axis,
    describe_reading,
    keep_reading,
)
from dipy_vqvae.workflows.training import (
    check_intervals,
    finish,
    forget_checkpoint,
    prepare_checkpoint,
    resumable,
)

logger = logging.getLogger("dipy_vqvae")


class FitVQVAEFlow(VQVAEWorkflow):
    """Fit a VQ-VAE to images, see :class:`dipy_vqvae.VQVAEModel`."""

    @classmethod
    def get_short_name(cls):
        """Name of the workflow where several are combined."""
        return "fit_vqvae"

    def run(
        self,
        input_files,
        n_codes=128,
        code_dim=16,
        spatial_dims=2,
        downsampling=4,
        slice_axis=2,
        volumes_as="images",
        skip_empty=False,
        architecture="subpixel",
        n_channels=64,
        n_blocks=2,
        codebook="ema",
        rate_weight=0.0,
        scaling="range",
        n_epochs=10.0,
        n_decoder_epochs=0.0,
        batch_size=128,
        learning_rate=1e-2,
        validation_files=None,
        patience=None,
        random_seed=0,
        use_cuda=False,
        checkpoint_minutes=10.0,
        checkpoint_steps=None,
        resume=False,
        out_dir="",
        out_vqvae="vqvae.safetensors",
        out_history="vqvae_history.json",
    ):
        """Fit a VQ-VAE: an encoder to a grid of discrete codes, and a decoder.

        While it trains, its state is kept in a checkpoint beside the model (the
        model's name and .checkpoint), which goes when the model is written.

        Parameters
        ----------
        input_files : variable string
            Training images: NIfTI, .npy or idx files, globs or folders of them.
        n_codes : int, optional
            Number of codes in the codebook.
        code_dim : int, optional
            Dimension of the codes.
        spatial_dims : int, optional
            2 for slices, 3 for volumes.
        downsampling : variable int, optional
            Voxels per code along all axes, or one number for each axis.
        slice_axis : int, optional
            Axis (0, 1 or 2) of NIfTI volumes along which slices are taken.
        volumes_as : string, optional
            What the volumes of a 4D NIfTI file are: images or channels.
        skip_empty : bool, optional
            Leave out images in which all pixels have one value.
        architecture : string, optional
            subpixel, or strided for the networks of the original experiment.
        n_channels : int, optional
            Width of encoder and decoder.
        n_blocks : variable int, optional
            Residual blocks of encoder and decoder, or of each.
        codebook : string, optional
            ema for codes that follow a moving average of the vectors they stand
            for, gradient for codes learnt by gradient descent.
        rate_weight : float, optional
            Above 0, the codes are made more predictable, for fewer bits under a
            prior, at this price in distortion for a nat of code length.
        scaling : string, optional
            How intensities are scaled for the network (undone on the way out):
            range, percentile (robust to few very bright voxels) or none.
        n_epochs : float, optional
            Passes over the images.
        n_decoder_epochs : float, optional
            Passes after that in which the decoder alone learns on, for codes that
            stay as they are.
        batch_size : int, optional
            Images per step; lower it if memory runs out.
        learning_rate : float, optional
            Peak learning rate.
        validation_files : variable string, optional
            Images on which the error is measured after each epoch: files of other
            subjects than the training images.
        patience : int, optional
            Stop after this many epochs without a lower validation loss.
        random_seed : int, optional
            Seed of everything random; the same seed gives the same model.
        use_cuda : bool, optional
            Whether to use the GPU.
        checkpoint_minutes : float, optional
            Time between two checkpoints, beside those at the end of each epoch.
        checkpoint_steps : int, optional
            Steps between two checkpoints, whichever comes first.
        resume : bool, optional
            Continue an interrupted training from its checkpoint, if there is one.
        out_dir : string, optional
            Folder of the outputs.
        out_vqvae : string, optional
            The model.
        out_history : string, optional
            Losses by epoch, as JSON; None for not written.
        """
        from dipy_vqvae.images import expand_paths

        required(out_vqvae=out_vqvae)
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("volumes_as", volumes_as, ("images", "channels"))
        check_choice("architecture", architecture, ("subpixel", "strided"))
        check_choice("codebook", codebook, ("ema", "gradient"))
        check_choice("scaling", scaling, ("range", "percentile", "none"))
        check_least(2, n_codes=n_codes)
        check_least(1, code_dim=code_dim, n_channels=n_channels, batch_size=batch_size)
        check_least(0, rate_weight=rate_weight, random_seed=random_seed)
        check_least(0, n_decoder_epochs=n_decoder_epochs)
        positive(n_epochs=n_epochs, learning_rate=learning_rate)
        check_intervals(checkpoint_minutes, checkpoint_steps)
        slice_axis = checked_slice_axis(slice_axis)
        downsampling = _per_axis("downsampling", downsampling, spatial_dims, least=1)
        n_blocks = _per_axis("n_blocks", n_blocks, 2, least=0)
        if patience is not None:
            check_least(1, patience=patience)
            if not as_list(validation_files):
                raise UsageError("--patience needs --validation_files to look at")
        paths = expand_paths(as_list(input_files))
        held_out = as_list(validation_files)
        held_out = expand_paths(held_out) if held_out else []
        plan = self.plan_outputs(
            {"out_vqvae": out_vqvae, "out_history": out_history},
            out_dir=out_dir,
            resumed="out_vqvae" if resume else None,
            inputs=[*paths, *held_out],
        )
        checkpoint = prepare_checkpoint(
            "out_vqvae", plan, resume=resume, force=self._force_overwrite
        )
        use_cuda = check_device(use_cuda)

        from dipy_vqvae.images import load_images
        from dipy_vqvae.vqvae import VQVAEModel

        how = {
            "spatial_dims": spatial_dims,
            "slice_axis": slice_axis,
            "volumes_as": volumes_as,
            "skip_empty": skip_empty,
        }
        training = load_images(paths, **how)
        validation = load_images(held_out, **how) if held_out else None
        model = VQVAEModel(
            n_codes=n_codes,
            code_dim=code_dim,
            spatial_dims=spatial_dims,
            downsampling=downsampling,
            architecture=architecture,
            n_channels=n_channels,
            n_blocks=n_blocks,
            codebook=codebook,
            rate_weight=rate_weight,
            scaling=scaling,
            random_seed=random_seed,
            use_cuda=use_cuda,
        )
        shape = " x ".join(str(n) for n in training.images.shape[1:])
        logger.info("Training on %d images of %s", len(training), shape)
        forget_checkpoint(checkpoint, resume=resume)
        with resumable(checkpoint):
            fit = model.fit(
                training.images,
                validation_images=None if validation is None else validation.images,
                n_epochs=n_epochs,
                n_decoder_epochs=n_decoder_epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                patience=patience,
                checkpoint=checkpoint,
                checkpoint_minutes=checkpoint_minutes,
                checkpoint_steps=checkpoint_steps,
                verbose=self.verbose,
            )
        keep_reading(
            fit,
            describe_reading(
                training.sources, slice_axis=slice_axis, volumes_as=volumes_as
            ),
        )
        finish(
            fit,
            model_path=plan.single["out_vqvae"],
            history_path=plan.single["out_history"],
            checkpoint=checkpoint,
            n_items=len(training),
            what=f"images of {shape}",
        )


def _per_axis(option, value, n, *, least):
    # One number for all, or n of them.
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(values) not in (1, n):
        raise UsageError(f"--{option} takes 1 or {n} numbers, got {len(values)}")
    for number in values:
        check_least(least, **{option: number})
    return values[0] if len(values) == 1 else tuple(values)

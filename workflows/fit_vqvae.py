"""The workflow that fits a VQ-VAE to images."""

from functools import partial
import logging

import numpy as np

from dipy_vqvae.workflows.command import (
    UsageError,
    VQVAEWorkflow,
    check_batch_size,
    check_choice,
    check_device,
    check_least,
    check_slice_axis,
    numbers_of,
    positive,
    required,
)
from dipy_vqvae.workflows.fitting import (
    check_intervals,
    description_of,
    finish,
    forget_checkpoint,
    plan_training,
    resumable,
    trained_already,
    write_report,
)
from dipy_vqvae.workflows.inputs import (
    check_holding_out,
    choose_held_out,
    find_files,
    masks_or_none,
)
from dipy_vqvae.workflows.reading import (
    describe_reading,
    describe_shapes,
    keep_reading,
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
        n_hidden=None,
        n_refinements=0,
        codebook="ema",
        commitment=0.05,
        decay=0.99,
        revive_below=0.01,
        rate_weight=0.0,
        loss="mse",
        scaling="range",
        mask_files=None,
        patch_shape=None,
        n_epochs=10.0,
        n_decoder_epochs=0.0,
        batch_size=None,
        learning_rate=1e-2,
        optimizer="muon",
        max_minutes=None,
        mixed_precision=False,
        validation_files=None,
        validation_mask_files=None,
        validation_fraction=0.0,
        patience=None,
        random_seed=0,
        use_cuda=False,
        checkpoint_minutes=10.0,
        checkpoint_steps=None,
        resume=False,
        out_dir="",
        out_vqvae="vqvae.safetensors",
        out_history="vqvae_history.json",
        out_report="report.html",
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
            Leave images in which all pixels have one value out of the training.
        architecture : string, optional
            subpixel, or strided for the networks of the original experiment.
        n_channels : int, optional
            Width of encoder and decoder.
        n_blocks : variable int, optional
            Residual blocks of encoder and decoder, or of each.
        n_hidden : int, optional
            Width inside the blocks, whose second convolution then is a quicker 1x1;
            without it that of the blocks, and both are 3x3.
        n_refinements : int, optional
            Rounds, 0 to 100, in which the codes of each image that is encoded are
            improved by what the decoder makes of them. Encoding takes longer.
        codebook : string, optional
            ema for codes that follow a moving average of the vectors they stand
            for, gradient for codes learnt by gradient descent.
        commitment : float, optional
            Weight of the loss that draws the encoder's vectors to their codes.
        decay : float, optional
            Of the codes' moving averages, from 0 to below 1 (ema).
        revive_below : float, optional
            Codes used less than this part of an even use, from 0 to 1, are moved to
            where they are needed (ema); 0.1 keeps more codes in use.
        rate_weight : float, optional
            Above 0, the codes are made more predictable, for fewer bits under a
            prior, at this price in distortion for a nat of code length.
        loss : string, optional
            What reconstructions are judged by, mse (squared error) or mae (absolute
            error, for sharper edges).
        scaling : string, optional
            How intensities are scaled for the network (undone on the way out);
            range, percentile (robust to few very bright voxels), volume (each file
            by its own percentiles, for scans of different units) or none.
        mask_files : variable string, optional
            Masks, nonzero inside, of the shape of the images' volumes. One for all
            images, or one for each in the same order. What lies outside has no
            influence.
        patch_shape : variable int, optional
            Train on random patches of this size, one number for all axes or one for
            each; for images that are too large to be trained on whole.
        n_epochs : float, optional
            Passes over the images.
        n_decoder_epochs : float, optional
            Passes after that in which the codes stay and the decoder alone learns.
        batch_size : int, optional
            Images per step; lower it if memory runs out. Without it at most 128, fewer
            of large images, and of few, for 50 steps in an epoch.
        learning_rate : float, optional
            Peak learning rate; adam needs a lower one, about 0.002.
        optimizer : string, optional
            muon (for kernels, with Adam for the rest), or adam alone.
        max_minutes : float, optional
            Stop the training after this time.
        mixed_precision : bool, optional
            Train the convolutions in bfloat16, faster on processors that have it.
        validation_files : variable string, optional
            Images on which the error is measured after each epoch, files of other
            subjects than the training images.
        validation_mask_files : variable string, optional
            Their masks, as mask_files.
        validation_fraction : float, optional
            Instead of validation_files, the part of the training files to hold out,
            at least one; never a part of a file.
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
        out_report : string, optional
            What came out, as one HTML file; curves, originals beside reconstructions
            (held-out ones, if there are any), use of the codes, where in the image
            each code lives, rate; None for not written.
        """
        required(out_vqvae=out_vqvae)
        check_choice("spatial_dims", spatial_dims, (2, 3))
        check_choice("volumes_as", volumes_as, ("images", "channels"))
        check_choice("architecture", architecture, ("subpixel", "strided"))
        check_choice("codebook", codebook, ("ema", "gradient"))
        check_choice("loss", loss, ("mse", "mae"))
        check_choice("optimizer", optimizer, ("muon", "adam"))
        check_choice("scaling", scaling, ("range", "percentile", "volume", "none"))
        check_least(2, n_codes=n_codes)
        check_least(1, code_dim=code_dim, n_channels=n_channels)
        if n_hidden is not None:
            check_least(1, n_hidden=n_hidden)
        check_batch_size(batch_size)
        check_least(0, rate_weight=rate_weight, random_seed=random_seed)
        check_least(0, commitment=commitment, n_decoder_epochs=n_decoder_epochs)
        check_least(0, decay=decay, revive_below=revive_below)
        if decay > 0.9999:
            raise UsageError(f"--decay must be at most 0.9999, got {decay}")
        if revive_below > 1:
            raise UsageError(f"--revive_below must be at most 1, got {revive_below}")
        check_least(0, n_refinements=n_refinements)
        if n_refinements > 100:
            raise UsageError(
                f"--n_refinements must be at most 100, got {n_refinements}"
            )
        positive(n_epochs=n_epochs, learning_rate=learning_rate)
        check_intervals(checkpoint_minutes, checkpoint_steps)
        if max_minutes is not None:
            positive(max_minutes=max_minutes)
        check_slice_axis(slice_axis)
        downsampling = numbers_of("downsampling", downsampling, spatial_dims, least=1)
        n_blocks = numbers_of("n_blocks", n_blocks, 2, least=0)
        if patch_shape is not None:
            patch_shape = numbers_of("patch_shape", patch_shape, spatial_dims, least=1)
            for option, value in (
                ("rate_weight", rate_weight),
                ("n_decoder_epochs", n_decoder_epochs),
            ):
                if value > 0:
                    raise UsageError(f"--patch_shape and --{option} exclude each other")
        check_holding_out(
            validation_files,
            validation_fraction,
            patience=patience,
            of_files={"validation_mask_files": validation_mask_files},
        )
        files = find_files(
            input_files,
            mask_files,
            validation_files,
            validation_mask_files,
            validation_fraction=validation_fraction,
        )
        plan, checkpoint = plan_training(
            self,
            {
                "out_vqvae": out_vqvae,
                "out_history": out_history,
                "out_report": out_report,
            },
            inputs=files.all(),
            out_dir=out_dir,
            resume=resume,
        )
        use_cuda = check_device(use_cuda)

        from dipy_vqvae.data import open_images
        from dipy_vqvae.vqvae import VQVAEFit, VQVAEModel

        how = {
            "spatial_dims": spatial_dims,
            "slice_axis": slice_axis,
            "volumes_as": volumes_as,
            "skip_empty": skip_empty,
        }
        masks = masks_or_none(files.masks)
        training = open_images(files.images, mask_files=masks, **how)
        validation = None
        if files.held_out:
            masks = masks_or_none(files.held_out_masks)
            validation = open_images(files.held_out, mask_files=masks, **how)
        elif validation_fraction:
            chosen = choose_held_out(
                files.images, validation_fraction, random_seed=random_seed
            )
            is_held = np.isin(list(map(str, files.images)), list(map(str, chosen)))
            validation = training.select(np.flatnonzero(is_held))
            training = training.select(np.flatnonzero(~is_held))
        model = VQVAEModel(
            n_codes=n_codes,
            code_dim=code_dim,
            spatial_dims=spatial_dims,
            downsampling=downsampling,
            architecture=architecture,
            n_channels=n_channels,
            n_blocks=n_blocks,
            n_hidden=n_hidden,
            n_refinements=n_refinements,
            codebook=codebook,
            commitment=commitment,
            decay=decay,
            revive_below=revive_below,
            rate_weight=rate_weight,
            loss=loss,
            scaling=scaling,
            mixed_precision=mixed_precision,
            random_seed=random_seed,
            use_cuda=use_cuda,
        )
        shape = describe_shapes(training.shapes)
        logger.info("Training on %d images of %s", len(training), shape)
        fitting = {
            "n_epochs": n_epochs,
            "patch_shape": patch_shape,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "optimizer": optimizer,
            "patience": patience,
            "max_seconds": None if max_minutes is None else 60 * max_minutes,
        }
        fit = trained_already(
            plan.single["out_vqvae"],
            plan.single["out_history"],
            load=partial(VQVAEFit.load, use_cuda=use_cuda),
            expected=lambda: {
                "model": model.of_consequence(),
                "fitting": fitting,
                "n_decoder_epochs": n_decoder_epochs,
                "training_images": description_of(training, model),
                "validation_images": description_of(validation, model, must_vary=False),
            },
            resume=resume,
            force=self._force_overwrite,
        )
        is_new = fit is None
        if is_new:
            forget_checkpoint(checkpoint, resume=resume)
            with resumable(checkpoint):
                fit = model.fit(
                    training,
                    validation_images=validation,
                    n_decoder_epochs=n_decoder_epochs,
                    **fitting,
                    checkpoint=checkpoint,
                    checkpoint_minutes=checkpoint_minutes,
                    checkpoint_steps=checkpoint_steps,
                    verbose=self.verbose,
                )
            keep_reading(
                fit,
                describe_reading(
                    training.files, slice_axis=slice_axis, volumes_as=volumes_as
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
        write_report(
            plan.single["out_report"],
            lambda: _report(fit, training, validation),
            is_new=is_new,
        )


def _report(fit, training, validation):
    from dipy_vqvae.report import vqvae_report

    shown = training if validation is None else validation
    return vqvae_report(fit, shown, held_out=validation is not None)

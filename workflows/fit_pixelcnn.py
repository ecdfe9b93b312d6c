"""The workflow that fits a prior to the codes of images."""

from functools import partial
import logging

import numpy as np

from dipy_vqvae.workflows.command import (
    UsageError,
    VQVAEWorkflow,
    as_list,
    check_batch_size,
    check_choice,
    check_device,
    check_least,
    check_slice_axis,
    existing_file,
    positive,
    required,
)
from dipy_vqvae.workflows.fitting import (
    check_intervals,
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
)
from dipy_vqvae.workflows.reading import CODEBOOK_ENTRY, reading_of

logger = logging.getLogger("dipy_vqvae")

# Where the description of a prior says what it was fitted to.
GIVEN = "given"
_GIVEN_NAMES = tuple(
    f"{prefix}{name}"
    for prefix in ("", "validation_")
    for name in ("codes", "mask", "labels")
)


class FitPixelCNNFlow(VQVAEWorkflow):
    """Fit a prior to codes, see :class:`dipy_vqvae.PixelCNNModel`."""

    @classmethod
    def get_short_name(cls):
        """Name of the workflow where several are combined."""
        return "fit_pixelcnn"

    def run(
        self,
        vqvae_file,
        input_files,
        kind="gated",
        n_channels=None,
        n_layers=None,
        dropout=0.0,
        label_file=None,
        mask_files=None,
        slice_axis=None,
        skip_empty=False,
        n_epochs=10.0,
        batch_size=None,
        learning_rate=1e-2,
        optimizer="muon",
        max_minutes=None,
        validation_files=None,
        validation_label_file=None,
        validation_mask_files=None,
        validation_fraction=0.0,
        patience=None,
        random_seed=0,
        use_cuda=False,
        checkpoint_minutes=10.0,
        checkpoint_steps=None,
        resume=False,
        out_dir="",
        out_pixelcnn="pixelcnn.safetensors",
        out_history="pixelcnn_history.json",
        out_report="pixelcnn_report.html",
    ):
        """Fit a PixelCNN: the probability of each code given those before it.

        The images are encoded file by file; only their codes are kept. While it
        trains, its state is kept in a checkpoint beside the model (the model's name
        and .checkpoint), which goes when the model is written.

        Parameters
        ----------
        vqvae_file : string
            The VQ-VAE, as written by dipy_fit_vqvae.
        input_files : variable string
            Training images, as NIfTI, .npy or idx files, globs or folders of them.
        kind : string, optional
            gated for a gated PixelCNN without blind spot, plain for that of the
            original experiment.
        n_channels : int, optional
            Width of the network; without it 64 (gated) or 128 (plain).
        n_layers : int, optional
            Gated layers (without it 6) or residual blocks of the plain one (2).
        dropout : float, optional
            Fraction of activations left out in training, below 1.
        label_file : string, optional
            A class for each image, to be able to ask for samples of a class: an idx
            or .npy file, or text with one number per line, in the order of the
            images.
        mask_files : variable string, optional
            Masks, nonzero inside, of the shape of the images' volumes. One for all
            images, or one for each in the same order. Only codes that stand for
            something inside count.
        slice_axis : int, optional
            Axis (0, 1 or 2) along which a 2D model takes the slices of volumes;
            without it, that of the model's training images.
        skip_empty : bool, optional
            Leave out images in which all pixels have one value.
        n_epochs : float, optional
            Passes over the codes.
        batch_size : int, optional
            Grids of codes per step; lower it if memory runs out. Without it at most
            128, fewer of large grids, and of few, for 50 steps in an epoch.
        learning_rate : float, optional
            Peak learning rate; adam needs a lower one, about 0.002.
        optimizer : string, optional
            muon (for kernels, with Adam for the rest), or adam alone.
        max_minutes : float, optional
            Stop the training after this time.
        validation_files : variable string, optional
            Images on whose codes the likelihood is measured after each epoch, files
            of other subjects than the training images.
        validation_label_file : string, optional
            Their classes, where the prior is fitted with labels.
        validation_mask_files : variable string, optional
            Their masks, as mask_files.
        validation_fraction : float, optional
            Instead of validation_files, the part of the training files to hold out,
            at least one; never a part of a file. With the files and the random_seed
            of dipy_fit_vqvae, those that it held out.
        patience : int, optional
            Stop after this many epochs without a lower validation loss.
        random_seed : int, optional
            Seed of everything random; the same seed gives the same prior.
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
        out_pixelcnn : string, optional
            The prior.
        out_history : string, optional
            Losses by epoch, as JSON; None for not written.
        out_report : string, optional
            What came out, as one HTML file; samples, code lengths, curves; None for
            not written. The samples are also put into the report of dipy_fit_vqvae,
            where it lies beside the VQ-VAE.
        """
        required(out_pixelcnn=out_pixelcnn)
        check_choice("kind", kind, ("gated", "plain"))
        check_choice("optimizer", optimizer, ("muon", "adam"))
        check_batch_size(batch_size)
        if n_channels is not None:
            check_least(2, n_channels=n_channels)
        if n_layers is not None:
            check_least(1, n_layers=n_layers)
        check_least(0, dropout=dropout, random_seed=random_seed)
        positive(n_epochs=n_epochs, learning_rate=learning_rate)
        check_intervals(checkpoint_minutes, checkpoint_steps)
        if dropout >= 1:
            raise UsageError(f"--dropout must be below 1, got {dropout}")
        if max_minutes is not None:
            positive(max_minutes=max_minutes)
        check_slice_axis(slice_axis)
        check_holding_out(
            validation_files,
            validation_fraction,
            patience=patience,
            of_files={
                "validation_label_file": validation_label_file,
                "validation_mask_files": validation_mask_files,
            },
        )
        if as_list(validation_files) and bool(label_file) != bool(
            validation_label_file
        ):
            raise UsageError(
                "--label_file and --validation_label_file go together where there are "
                "--validation_files"
            )
        vqvae_file = existing_file(vqvae_file, what="model file")
        files = find_files(
            input_files,
            mask_files,
            validation_files,
            validation_mask_files,
            validation_fraction=validation_fraction,
        )
        label_files = [
            existing_file(path, what="label file")
            for path in (label_file, validation_label_file)
            if path
        ]
        plan, checkpoint = plan_training(
            self,
            {
                "out_pixelcnn": out_pixelcnn,
                "out_history": out_history,
                "out_report": out_report,
            },
            inputs=[vqvae_file, *label_files, *files.all()],
            out_dir=out_dir,
            resume=resume,
        )
        use_cuda = check_device(use_cuda)
        from dipy_vqvae.codes import codebook_fingerprint
        from dipy_vqvae.prior import PixelCNNFit, PixelCNNModel
        from dipy_vqvae.vqvae import VQVAEFit
        from dipy_vqvae.workflows.coding import encode_files

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        reading = reading_of(fit, slice_axis=slice_axis)
        encoding = {
            "reading": reading,
            "skip_empty": skip_empty,
            "verbose": self.verbose,
        }
        training = encode_files(
            fit,
            files.images,
            mask_files=files.masks,
            label_file=label_file,
            **encoding,
        )
        validation = None
        if files.held_out:
            validation = encode_files(
                fit,
                files.held_out,
                mask_files=files.held_out_masks,
                label_file=validation_label_file,
                **encoding,
            )
        elif validation_fraction:
            held_out = choose_held_out(
                files.images, validation_fraction, random_seed=random_seed
            )
            training, validation = training.split(held_out)
        if validation is not None and training.grids != validation.grids:
            # Grids of one shape know of no other, but for masks.
            training = training.knowing_outside()
            validation = validation.knowing_outside()
        grid = training.describe_grids()
        logger.info("Training on %d grids of %s codes", len(training), grid)
        model = PixelCNNModel(
            n_codes=fit.n_codes,
            kind=kind,
            n_channels=n_channels,
            n_layers=n_layers,
            dropout=dropout,
            random_seed=random_seed,
            use_cuda=use_cuda,
        )
        fitting = {
            "n_epochs": n_epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "optimizer": optimizer,
            "patience": patience,
            "max_seconds": None if max_minutes is None else 60 * max_minutes,
        }
        options = {"codes": training.codes_as_given(), **training.options()}
        if validation is not None:
            options["validation_codes"] = validation.codes_as_given()
            options.update(validation.options("validation_"))
        given = {name: _fingerprints(options.get(name)) for name in _GIVEN_NAMES}
        prior = trained_already(
            plan.single["out_pixelcnn"],
            plan.single["out_history"],
            load=partial(PixelCNNFit.load, use_cuda=use_cuda),
            expected=lambda: {
                "model": model.of_consequence(),
                "fitting": fitting,
                GIVEN: given,
                CODEBOOK_ENTRY: codebook_fingerprint(fit),
            },
            resume=resume,
            force=self._force_overwrite,
        )
        is_new = prior is None
        if is_new:
            forget_checkpoint(checkpoint, resume=resume)
            with resumable(checkpoint):
                prior = model.fit(
                    **options,
                    spatial_dims=fit.spatial_dims,
                    **fitting,
                    checkpoint=checkpoint,
                    checkpoint_minutes=checkpoint_minutes,
                    checkpoint_steps=checkpoint_steps,
                    verbose=self.verbose,
                )
            prior.description[GIVEN] = given
            prior.description[CODEBOOK_ENTRY] = codebook_fingerprint(fit)
            finish(
                prior,
                model_path=plan.single["out_pixelcnn"],
                history_path=plan.single["out_history"],
                checkpoint=checkpoint,
                n_items=len(training),
                what=f"grids of {grid} codes",
            )

        def report():
            from dipy_vqvae.report import prior_report, put_samples

            is_nifti = reading.kind == "nifti"
            made = prior_report(
                fit, prior, training, held_out=validation, is_nifti=is_nifti
            )
            for path in put_samples(
                vqvae_file.parent, codebook_fingerprint(fit), made.samples
            ):
                logger.info("Put samples into %s", path)
            return made.html

        write_report(plan.single["out_report"], report, is_new=is_new)


def _fingerprints(given):
    from dipy_vqvae.storage import fingerprint

    if given is None:
        return None
    arrays = given if isinstance(given, (list, tuple)) else [given]
    return [fingerprint(np.asarray(array)) for array in arrays]

"""The workflow that fits a prior to the codes of images."""

import logging

import numpy as np
from tqdm import tqdm

from dipy_vqvae.workflows.base import (
    VQVAEWorkflow,
    as_list,
    check_choice,
    check_device,
    check_least,
    existing_file,
    positive,
    required,
)
from dipy_vqvae.workflows.errors import UsageError
from dipy_vqvae.workflows.reading import (
    checked_slice_axis,
    read_labels,
    reading_of,
)
from dipy_vqvae.workflows.training import (
    check_intervals,
    finish,
    forget_checkpoint,
    prepare_checkpoint,
    resumable,
)

logger = logging.getLogger("dipy_vqvae")


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
        slice_axis=None,
        skip_empty=False,
        n_epochs=10.0,
        batch_size=128,
        learning_rate=1e-2,
        validation_files=None,
        validation_label_file=None,
        patience=None,
        random_seed=0,
        use_cuda=False,
        checkpoint_minutes=10.0,
        checkpoint_steps=None,
        resume=False,
        out_dir="",
        out_pixelcnn="pixelcnn.safetensors",
        out_history="pixelcnn_history.json",
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
            Training images: NIfTI, .npy or idx files, globs or folders of them. All
            must be of one shape.
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
        slice_axis : int, optional
            Axis (0, 1 or 2) along which a 2D model takes the slices of volumes;
            without it, that of the model's training images.
        skip_empty : bool, optional
            Leave out images in which all pixels have one value.
        n_epochs : float, optional
            Passes over the codes.
        batch_size : int, optional
            Grids of codes per step; lower it if memory runs out.
        learning_rate : float, optional
            Peak learning rate.
        validation_files : variable string, optional
            Images on whose codes the likelihood is measured after each epoch: files
            of other subjects than the training images.
        validation_label_file : string, optional
            Their classes, where the prior is fitted with labels.
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
        """
        from dipy_vqvae.images import expand_paths

        required(out_pixelcnn=out_pixelcnn)
        check_choice("kind", kind, ("gated", "plain"))
        check_least(1, batch_size=batch_size)
        if n_channels is not None:
            check_least(2, n_channels=n_channels)
        if n_layers is not None:
            check_least(1, n_layers=n_layers)
        check_least(0, dropout=dropout, random_seed=random_seed)
        positive(n_epochs=n_epochs, learning_rate=learning_rate)
        check_intervals(checkpoint_minutes, checkpoint_steps)
        if dropout >= 1:
            raise UsageError(f"--dropout must be below 1, got {dropout}")
        checked_slice_axis(slice_axis)
        held_out = as_list(validation_files)
        _check_validation(held_out, patience, label_file, validation_label_file)
        vqvae_file = existing_file(vqvae_file, what="model file")
        paths = expand_paths(as_list(input_files))
        held_out = expand_paths(held_out) if held_out else []
        label_files = [
            existing_file(path, what="label file")
            for path in (label_file, validation_label_file)
            if path
        ]
        plan = self.plan_outputs(
            {"out_pixelcnn": out_pixelcnn, "out_history": out_history},
            out_dir=out_dir,
            resumed="out_pixelcnn" if resume else None,
            inputs=[vqvae_file, *paths, *held_out, *label_files],
        )
        checkpoint = prepare_checkpoint(
            "out_pixelcnn", plan, resume=resume, force=self._force_overwrite
        )
        use_cuda = check_device(use_cuda)
        from dipy_vqvae.pixelcnn import PixelCNNModel
        from dipy_vqvae.vqvae import VQVAEFit

        fit = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        encoding = {
            "reading": reading_of(fit, slice_axis=slice_axis),
            "skip_empty": skip_empty,
            "verbose": self.verbose,
        }
        codes, labels = encode_files(fit, paths, label_file=label_file, **encoding)
        validation = {}
        if held_out:
            held_out_codes, held_out_labels = encode_files(
                fit, held_out, label_file=validation_label_file, **encoding
            )
            validation["validation_codes"] = held_out_codes
            if labels is not None:
                validation["validation_labels"] = held_out_labels
        grid = " x ".join(str(n) for n in codes.shape[1:])
        logger.info("Training on %d grids of %s codes", len(codes), grid)
        forget_checkpoint(checkpoint, resume=resume)
        model = PixelCNNModel(
            n_codes=fit.n_codes,
            kind=kind,
            n_channels=n_channels,
            n_layers=n_layers,
            dropout=dropout,
            random_seed=random_seed,
            use_cuda=use_cuda,
        )
        with resumable(checkpoint):
            prior = model.fit(
                codes,
                labels=labels,
                **validation,
                n_epochs=n_epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                patience=patience,
                checkpoint=checkpoint,
                checkpoint_minutes=checkpoint_minutes,
                checkpoint_steps=checkpoint_steps,
                verbose=self.verbose,
            )
        finish(
            prior,
            model_path=plan.single["out_pixelcnn"],
            history_path=plan.single["out_history"],
            checkpoint=checkpoint,
            n_items=len(codes),
            what=f"grids of {grid} codes",
        )


def encode_files(
    fit, paths, *, reading, label_file=None, skip_empty=False, verbose=False
):
    """Encode the images of files, one file in memory at a time.

    Parameters
    ----------
    fit : VQVAEFit
        The model.
    paths : list of Path
        The files.
    reading : Reading
        How to take them apart.
    label_file : str or Path, optional
        A class for each image, counting those that are skipped.
    skip_empty : bool, optional
        Leave out constant images.
    verbose : bool, optional
        Show progress.

    Returns
    -------
    codes : array (N, *grid), int32
        The codes of all images.
    labels : array (N,) of int, or None
        Their classes.

    Raises
    ------
    OSError, ValueError
        If a file cannot be used, shapes differ, or labels do not fit.
    """
    from dipy_vqvae.images import load_images

    all_labels = None if label_file is None else read_labels(label_file)
    codes, labels, n_seen = [], [], 0
    for path in tqdm(paths, desc="encoding", unit="file", disable=not verbose):
        images = load_images(
            [path],
            spatial_dims=fit.spatial_dims,
            slice_axis=reading.slice_axis,
            volumes_as=reading.volumes_as,
        ).images
        keep = np.ones(len(images), bool)
        if skip_empty:
            keep = _varying(images, fit.spatial_dims)
        if all_labels is not None:
            # A list that is too short is reported below, with both numbers.
            here = all_labels[n_seen : n_seen + len(images)]
            labels.append(here[keep[: len(here)]])
        n_seen += len(images)
        if keep.any():
            codes.append(fit.encode(images[keep]))
            if codes[-1].shape[1:] != codes[0].shape[1:]:
                raise ValueError(
                    f"{path}: its images have codes on a grid of "
                    f"{codes[-1].shape[1:]}, those before on {codes[0].shape[1:]}; a "
                    "prior needs images of one shape"
                )
    if not codes:
        raise ValueError(f"all {n_seen} images are empty (constant)")
    if all_labels is not None and len(all_labels) != n_seen:
        raise ValueError(
            f"{label_file} has {len(all_labels)} labels, there are {n_seen} images"
        )
    codes = np.concatenate(codes)
    return codes, None if all_labels is None else np.concatenate(labels)


def _varying(images, spatial_dims):
    # As `load_images` tells it: over space, in any channel.
    space = tuple(range(1, 1 + spatial_dims))
    varies = images.min(axis=space) != images.max(axis=space)
    return varies.reshape(len(images), -1).any(axis=1)


def _check_validation(held_out, patience, label_file, validation_label_file):
    if patience is not None:
        check_least(1, patience=patience)
        if not held_out:
            raise UsageError("--patience needs --validation_files to look at")
    if validation_label_file and not held_out:
        raise UsageError("--validation_label_file needs --validation_files")
    if held_out and bool(label_file) != bool(validation_label_file):
        raise UsageError(
            "--label_file and --validation_label_file go together where there are "
            "--validation_files"
        )

"""What the two fitting workflows share: checkpoints, and telling what came out."""

from contextlib import contextmanager
import logging
import os

from dipy_vqvae.workflows.outputs import check_distinct

logger = logging.getLogger("dipy_vqvae")


def prepare_checkpoint(model_option, plan, *, resume, force):
    """Decide whether a training continues or starts.

    Parameters
    ----------
    model_option : str
        Option of the model file that the training makes; the checkpoint lies
        beside it.
    plan : OutputPlan
        Where the outputs go.
    resume : bool
        Whether to continue an interrupted training.
    force : bool
        Whether its checkpoint may be thrown away.

    Returns
    -------
    checkpoint : Path
        Where the training keeps its state.

    Raises
    ------
    UsageError
        If an output has the checkpoint's name.
    OSError
        If there is a checkpoint, and neither was asked for.
    """
    model_path = plan.single[model_option]
    checkpoint = model_path.with_name(model_path.name + ".checkpoint")
    outputs = [item for item in plan.single.items() if item[1] is not None]
    check_distinct([*outputs, ("resume", checkpoint)])
    if not os.path.lexists(checkpoint):
        if resume:
            logger.info("Nothing to resume (%s): starting", checkpoint)
    elif resume:
        logger.info("Resuming from %s", checkpoint)
    elif not force:
        raise FileExistsError(
            f"{checkpoint} is of an interrupted training: add --resume to continue "
            "it, or --force to start anew"
        )
    return checkpoint


def forget_checkpoint(checkpoint, *, resume):
    """Remove the checkpoint of a training that is not to be continued.

    Called right before the new training, when its data have proved usable.

    Parameters
    ----------
    checkpoint : Path
        The file; it need not exist.
    resume : bool
        Whether to keep it.
    """
    if not resume:
        checkpoint.unlink(missing_ok=True)


@contextmanager
def resumable():
    """Say how to go on, where a training inside the block is interrupted."""
    try:
        yield
    except KeyboardInterrupt as error:
        # A TrainingInterrupted has a message; anything else has saved nothing.
        if str(error):
            logger.info("To go on, give the same command with --resume")
        raise


def finish(fit, *, model_path, history_path, checkpoint, n_items, what):
    """Save a fit and its history, drop the checkpoint, and say how it went.

    Parameters
    ----------
    fit : VQVAEFit or PixelCNNFit
        What was trained.
    model_path : Path
        File of the model.
    history_path : Path or None
        File of the losses.
    checkpoint : Path
        The training's checkpoint.
    n_items : int
        Number of training items.
    what : str
        What they are.
    """
    from dipy_vqvae.workflows.results import save_record

    fit.save(model_path)
    if history_path:
        save_record(history_path, fit.history.to_dict())
    # Only now: until the model is safe, the checkpoint is all there is.
    checkpoint.unlink(missing_ok=True)
    history = fit.history
    names = [n for n in ("loss", "validation_loss") if n in history.keys()]  # noqa: SIM118
    losses = ", ".join(f"{n.replace('_', ' ')} {history[n][-1]:.4g}" for n in names)
    logger.info(
        "Trained on %d %s, %g epochs: %s", n_items, what, history.epochs[-1], losses
    )
    for path in filter(None, (model_path, history_path)):
        logger.info("Wrote %s", path)

"""What the two fitting workflows share: checkpoints, and telling what came out."""

from contextlib import contextmanager
import logging
import os

from dipy_vqvae.storage import atomic_write, remove_leftovers, second_stage
from dipy_vqvae.workflows.command import (
    HTML,
    Terminated,
    check_least,
    checkpoint_of,
    is_trained,
    ranks,
)

logger = logging.getLogger("dipy_vqvae")


def plan_training(flow, outputs, *, inputs, out_dir, resume):
    """Settle where a training writes, and whether it continues or starts.

    Parameters
    ----------
    flow : VQVAEWorkflow
        The command.
    outputs : dict of str or None
        File names of the model, beside which the checkpoint lies, of the history
        and of the report, by option, in this order.
    inputs : list of str or Path
        Files that the command reads.
    out_dir : str
        Folder of the outputs.
    resume : bool
        Whether to continue an interrupted training.

    Returns
    -------
    plan : OutputPlan
        Where the outputs go.
    checkpoint : Path
        Where the training keeps its state.

    Raises
    ------
    UsageError
        If names collide, with those of the checkpoints as well, or hit an input.
    OSError
        If outputs exist and may not be overwritten, or cannot be written; if there
        is a checkpoint and nothing was said about it.
    """
    model, history, report = outputs
    plan = flow.plan_outputs(
        outputs,
        out_dir=out_dir,
        inputs=inputs,
        extensions={report: HTML},
        trained=model,
        resumed=(model, history) if resume else (),
    )
    model_path = plan.single[model]
    checkpoint = checkpoint_of(model_path)
    if not ranks.first_decides(lambda: os.path.lexists(checkpoint)):
        if resume and not is_trained(model_path):
            logger.info("Nothing to resume (%s): starting", checkpoint)
    elif resume:
        logger.info("Resuming from %s", checkpoint)
    elif not flow._force_overwrite:
        raise FileExistsError(
            f"{checkpoint} is of an interrupted training: add --resume to continue "
            "it, or --force to start anew"
        )
    return plan, checkpoint


def trained_already(model_path, history_path, *, load, expected, resume, force):
    """Return the result of a training that is to be resumed, and is over.

    So that a job that is started again and again, with ``--resume``, ends well once
    it has nothing left to do.

    Parameters
    ----------
    model_path : Path
        The model that the training makes.
    history_path : Path or None
        File of its losses; written where it is missing.
    load : callable
        Reads it.
    expected : callable
        Gives what the model has to say of itself: entries of its description.
    resume : bool
        Whether the training is to be resumed.
    force : bool
        Whether there is to be a new one in any case.

    Returns
    -------
    fit : VQVAEFit, PixelCNNFit or None
        None where there is something left to train.

    Raises
    ------
    OSError
        If the model is of another training.
    """
    if force or not resume or not ranks.first_decides(lambda: is_trained(model_path)):
        return None
    from dipy_vqvae.training import differences
    from dipy_vqvae.workflows.results import save_record

    fit, wanted = load(model_path), expected()
    found = differences(_entries_of(fit.description, wanted), wanted)
    if found:
        raise FileExistsError(
            f"{model_path} is the result of another training: {'; '.join(found)}. There "
            "is no checkpoint to resume from; add --force for a new training"
        )
    logger.info("%s is there: nothing is left to train", model_path)

    def complete():
        if history_path and not history_path.exists():
            save_record(history_path, fit.history.to_dict())

    ranks.first_decides(complete)
    return fit


def _entries_of(description, wanted):
    """The entries of a description that others are to be compared with."""
    entries = {name: description.get(name) for name in wanted}
    return {
        name: _entries_of(entries[name], value)
        if isinstance(value, dict) and isinstance(entries[name], dict)
        else entries[name]
        for name, value in wanted.items()
    }


def description_of(images, model, *, must_vary=True):
    """Return what a model says of the images that it was fitted to.

    Parameters
    ----------
    images : ImageCollection or None
        The images; None for none.
    model : VQVAEModel
        The settings.
    must_vary : bool, optional
        Whether subjects with one value only are refused.

    Returns
    -------
    description : dict or None
    """
    if images is None:
        return None
    from dipy_vqvae.vqvae import look_at

    how = {"spatial_dims": model.spatial_dims, "method": model.scaling}
    return look_at(images, None, must_vary=must_vary, **how).describe()


def check_intervals(checkpoint_minutes, checkpoint_steps):
    """Refuse intervals of checkpoints that make no sense.

    Parameters
    ----------
    checkpoint_minutes : float
        Time between two of them.
    checkpoint_steps : int or None
        Steps between two of them.

    Raises
    ------
    UsageError
        If one of them is too small.
    """
    check_least(0, checkpoint_minutes=checkpoint_minutes)
    if checkpoint_steps is not None:
        check_least(1, checkpoint_steps=checkpoint_steps)


def forget_checkpoint(checkpoint, *, resume):
    """Remove the checkpoints of a training that is not to be continued.

    Called right before the new training, when its data have proved usable.

    Parameters
    ----------
    checkpoint : Path
        The file; it need not exist.
    resume : bool
        Whether to keep it.
    """

    def forget():
        if not (resume and os.path.lexists(checkpoint)):
            _remove_checkpoints(checkpoint)

    ranks.first_decides(forget)


def _remove_checkpoints(checkpoint):
    # The first one last: alone, the second would belong to nothing.
    for path in (second_stage(checkpoint), checkpoint):
        remove_leftovers(path)
        path.unlink(missing_ok=True)


@contextmanager
def resumable(checkpoint):
    """Say how to go on, where something from outside ends a training.

    Parameters
    ----------
    checkpoint : Path
        Where the training keeps its state.
    """
    try:
        yield
    except (KeyboardInterrupt, Terminated, OSError):
        if checkpoint.is_file():
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

    def save():
        # Of a run that was killed while it wrote them.
        for path in filter(None, (model_path, history_path)):
            remove_leftovers(path)
        fit.save(model_path)
        if history_path:
            save_record(history_path, fit.history.to_dict())
        # Only now: until the model is safe, the checkpoint is all there is.
        _remove_checkpoints(checkpoint)

    with resumable(checkpoint):
        ranks.first_decides(save)
    history = fit.history
    names = [n for n in ("loss", "validation_loss") if n in history.keys()]  # noqa: SIM118
    losses = ", ".join(f"{n.replace('_', ' ')} {history[n][-1]:.4g}" for n in names)
    logger.info(
        "Trained on %d %s, %g epochs: %s", n_items, what, history.epochs[-1], losses
    )
    for path in filter(None, (model_path, history_path)):
        logger.info("Wrote %s", path)


def write_report(path, make, *, is_new=True):
    """Write a report, whole or not at all, and say so; in the first process.

    Parameters
    ----------
    path : Path or None
        The file; None for none.
    make : callable
        Gives its text.
    is_new : bool, optional
        Whether it is that of a new model: otherwise what is there stays.
    """
    if path is None or not ranks.is_first() or (path.exists() and not is_new):
        return
    remove_leftovers(path)
    text = make()
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    logger.info("Wrote %s", path)

"""What the two fitting workflows share: outputs, checkpoints, results, report."""

from contextlib import contextmanager
import logging
import os

from dipy_vqvae.storage import atomic_write, remove_leftovers, second_stage
from dipy_vqvae.workflows.command import (
    HTML,
    Terminated,
    check_least,
    explain,
    first_decides,
    is_first,
)
from dipy_vqvae.workflows.command.outputs import (
    checkpoint_of,
    is_trained,
)

logger = logging.getLogger("dipy_vqvae")


def plan_training(flow, outputs, *, inputs, out_dir, resume):
    """Resolve the outputs of a training, and whether it starts or continues.

    Parameters
    ----------
    flow : VQVAEWorkflow
        The command.
    outputs : dict of str or None
        File names of the model, the history and the report, by option, in this order.
    inputs : list of str or Path
        Files that the command reads.
    out_dir : str
        Folder of the outputs.
    resume : bool
        Whether to continue an interrupted training.

    Returns
    -------
    plan : OutputPlan
        Paths of the outputs.
    checkpoint : Path
        Checkpoint of the training, in the folder of the model.
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
    checkpoint = checkpoint_of(plan.single[model])
    if not first_decides(lambda: os.path.lexists(checkpoint)):
        if resume and not is_trained(plan.single[model]):
            logger.info("Nothing to resume (%s): starting", checkpoint)
    elif resume:
        logger.info("Resuming from %s", checkpoint)
    elif not flow._force_overwrite:
        raise FileExistsError(
            f"{checkpoint} is of an interrupted training: add --resume to continue "
            "it, or --force to start again"
        )
    return plan, checkpoint


def check_intervals(checkpoint_minutes, checkpoint_steps):
    """Refuse invalid intervals between checkpoints."""
    check_least(0, checkpoint_minutes=checkpoint_minutes)
    check_least(1, checkpoint_steps=checkpoint_steps)


def trained_already(model_path, history_path, *, load, expected, resume, force):
    """Return the fit of a training that is resumed but has ended, or None.

    With ``--resume`` a job that is started again and again succeeds once nothing is
    left to do. A missing history is written.

    Parameters
    ----------
    model_path : Path
        The model.
    history_path : Path or None
        Its history.
    load : callable
        ``load(model_path)`` returns the fit.
    expected : callable
        ``expected()`` returns the entries that the description of the fit must have.
    resume, force : bool
        The options of the command.
    """
    if force or not resume or not first_decides(lambda: is_trained(model_path)):
        return None
    from dipy_vqvae.training import differences
    from dipy_vqvae.workflows.results import save_record

    fit, expected = load(model_path), expected()
    different = differences(_common_entries(fit.description, expected), expected)
    if different:
        raise FileExistsError(
            f"{model_path} is the result of another training: {'; '.join(different)}. "
            "There is no checkpoint to resume from; add --force for a new training"
        )
    logger.info("%s is there: nothing is left to train", model_path)

    def write_missing_history():
        if history_path and not history_path.exists():
            save_record(history_path, fit.history.to_dict())

    first_decides(write_missing_history)
    return fit


def _common_entries(description, expected):
    """Return the entries of a description that are also expected."""
    entries = {}
    for name, value in expected.items():
        entries[name] = description.get(name)
        if isinstance(value, dict) and isinstance(entries[name], dict):
            entries[name] = _common_entries(entries[name], value)
    return entries


def description_of(images, model, *, must_vary=True):
    """Return how a model's description identifies the images of a training."""
    if images is None:
        return None
    from dipy_vqvae.vqvae import look_at

    options = {"spatial_dims": model.spatial_dims, "method": model.scaling}
    return look_at(images, None, must_vary=must_vary, **options).describe()


def forget_checkpoint(checkpoint, *, resume):
    """Remove old checkpoints right before a new training, unless it continues."""

    def forget():
        if not (resume and os.path.lexists(checkpoint)):
            _remove_checkpoints(checkpoint)

    first_decides(forget)


def _remove_checkpoints(checkpoint):
    # The first stage last: alone, the second would belong to nothing.
    for path in (second_stage(checkpoint), checkpoint):
        remove_leftovers(path)
        path.unlink(missing_ok=True)


@contextmanager
def resumable(checkpoint):
    """Say how to continue, if a signal or the system ends a training."""
    try:
        yield
    except (KeyboardInterrupt, Terminated, OSError):
        if checkpoint.is_file():
            logger.info("To continue, give the same command with --resume")
        raise


def finish(fit, *, model_path, history_path, checkpoint, n_items, what):
    """Save a fit and its history, remove the checkpoints, and log the losses.

    `n_items` and `what` are the number of training items and what they are.
    """
    from dipy_vqvae.workflows.results import save_record

    paths = [path for path in (model_path, history_path) if path]

    def save():
        # Left by a run that was killed while it wrote them.
        for path in paths:
            remove_leftovers(path)
        fit.save(model_path)
        if history_path:
            save_record(history_path, fit.history.to_dict())
        # Only now: until the model is saved, the checkpoint is all there is.
        _remove_checkpoints(checkpoint)

    with resumable(checkpoint):
        first_decides(save)
    history = fit.history
    names = [n for n in ("loss", "validation_loss") if n in history.keys()]  # noqa: SIM118
    losses = ", ".join(f"{n.replace('_', ' ')} {history[n][-1]:.4g}" for n in names)
    logger.info(
        "Trained on %d %s, %g epochs: %s", n_items, what, history.epochs[-1], losses
    )
    for path in paths:
        logger.info("Wrote %s", path)


def write_report(path, make, *, is_new=True):
    """Write a report in the first process; ``make()`` returns its text.

    The model is saved already, so a report that cannot be made is a warning. With
    `is_new` False an existing report stays.
    """
    if path is None or not is_first() or (path.exists() and not is_new):
        return
    try:
        remove_leftovers(path)
        text = make()
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except Exception as error:
        logger.warning(
            "The model is saved, but its report %s cannot be made: %s",
            path,
            explain(error),
        )
        logger.debug("traceback:", exc_info=error)
    else:
        logger.info("Wrote %s", path)

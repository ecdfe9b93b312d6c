"""Steps of the fitting workflows: outputs, checkpoints, results, report."""

from contextlib import contextmanager
from dataclasses import dataclass
import logging
import os
from pathlib import Path

from dipy_vqvae.display import count
from dipy_vqvae.storage import (
    atomic_write,
    checkpoint_of,
    is_trained,
    remove_leftovers,
    second_stage,
)
from dipy_vqvae.workflows.command import (
    CARD,
    Terminated,
    explain,
    first_decides,
    is_first,
)

logger = logging.getLogger("dipy_vqvae")


@dataclass(frozen=True)
class TrainingOutputs:
    """Paths that a training writes; None for those left out."""

    model: Path
    history: Path | None
    report: Path | None

    @property
    def checkpoint(self):
        """Return the checkpoint of the training, in the folder of the model."""
        return checkpoint_of(self.model)


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """The training of a fitting command."""

    model: object  # VQVAEModel or PixelCNNModel
    data: dict  # images or codes, as arguments of model.fit
    training: dict  # settings of the training, as arguments of model.fit
    load: object  # load(path) reads a model file of this kind
    expected: object  # expected() gives entries of a finished training's description
    n_items: int  # number of training items
    items: str  # what they are, for messages
    unit: str  # of the loss
    describe: object = None  # describe(fit) completes the description of a new fit


def plan_training(flow, options, *, inputs):
    """Resolve the outputs of a training, and whether it starts or continues.

    The options of the outputs are, in this order, model, history and report.
    """
    names = {n: v for n, v in vars(options).items() if n.startswith("out_")}
    out_dir = names.pop("out_dir")
    model, history, _ = names
    plan = flow.plan_outputs(
        names,
        out_dir=out_dir,
        inputs=inputs,
        trained=model,
        resumed=(model, history) if options.resume else (),
    )
    outputs = TrainingOutputs(*(plan.single[name] for name in names))
    if not first_decides(lambda: os.path.lexists(outputs.checkpoint)):
        if options.resume and not is_trained(outputs.model):
            logger.info("Nothing to resume (%s): starting", outputs.checkpoint)
    elif options.resume:
        logger.info("Resuming from %s", outputs.checkpoint)
    elif not flow._force_overwrite:
        raise FileExistsError(
            f"{outputs.checkpoint} is of an interrupted training: add --resume to "
            "continue it, or --force to start again"
        )
    return outputs


def fit_or_load(flow, job, outputs, *, options):
    """Train and write a model, or read it if nothing is left to train.

    Returns
    -------
    fit : VQVAEFit or PixelCNNFit
    is_new : bool
        Whether it was trained here.
    """
    force = flow._force_overwrite
    fit = trained_already(job, outputs, resume=options.resume, force=force)
    if fit is not None:
        return fit, False
    forget_checkpoint(outputs.checkpoint, resume=options.resume)
    with resumable(outputs.checkpoint):
        fit = job.model.fit(
            **job.data,
            **job.training,
            checkpoint=outputs.checkpoint,
            verbose=flow.verbose,
        )
    if job.describe:
        job.describe(fit)
    stated = {name: getattr(options, name) for name in CARD}
    fit.card.update({name: text for name, text in stated.items() if text})
    finish(fit, job, outputs)
    return fit, True


def trained_already(job, outputs, *, resume, force):
    """Return the result of a training that is to be resumed and is over, or None.

    A job that is started again and again with ``--resume`` then ends well.
    """
    is_over = first_decides(lambda: is_trained(outputs.model))
    if force or not resume or not is_over:
        return None
    from dipy_vqvae.training import differences
    from dipy_vqvae.workflows.results import save_record

    fit, expected = job.load(outputs.model), job.expected()
    different = differences(
        {name: fit.description.get(name) for name in expected}, expected
    )
    if different:
        raise FileExistsError(
            f"{outputs.model} is the result of another training: "
            f"{'; '.join(different)}. There is no checkpoint to resume from; add "
            "--force for a new training"
        )
    logger.info("%s is there: nothing is left to train", outputs.model)

    def complete():
        if outputs.history and not outputs.history.exists():
            save_record(outputs.history, fit.history.to_dict())

    first_decides(complete)
    return fit


def description_of(images, model, *, held_out=False):
    """Return how a model's description identifies the images of a training."""
    if images is None:
        return None
    from dipy_vqvae.vqvae import survey_images

    # Held-out images are scaled as the training images are, and may be constant unless
    # each volume has its own scaling.
    needs_scaling = not held_out or model.scaling == "volume"
    data = survey_images(
        images,
        None,
        spatial_dims=model.spatial_dims,
        method=model.scaling if needs_scaling else "none",
        must_vary=not held_out,
    )
    return data.describe()


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


def finish(fit, job, outputs):
    """Save a fit and its history, remove the checkpoints, and log the losses."""
    from dipy_vqvae.workflows.results import save_record

    paths = [path for path in (outputs.model, outputs.history) if path]

    def save():
        # Left by a run that was killed while it wrote them.
        for path in paths:
            remove_leftovers(path)
        fit.save(outputs.model)
        if outputs.history:
            save_record(outputs.history, fit.history.to_dict())
        # Only now: until the model is saved, the checkpoint is all there is.
        _remove_checkpoints(outputs.checkpoint)

    with resumable(outputs.checkpoint):
        first_decides(save)
    history = fit.history
    names = [n for n in ("loss", "validation_loss") if n in history.keys()]  # noqa: SIM118
    losses = ", ".join(f"{n.replace('_', ' ')} {history[n][-1]:.4g}" for n in names)
    logger.info(
        "Trained on %d %s, %s, %s: %s (%s)",
        job.n_items,
        job.items,
        count(history.epochs[-1], "epoch"),
        count(history.n_steps, "step"),
        losses,
        job.unit,
    )
    for path in paths:
        logger.info("Wrote %s", path)


def write_report(path, make, *, is_new=True):
    """Write a report in the first process; ``make()`` returns it, or its text.

    The model is saved already, so a report that cannot be made is a warning. With
    `is_new` False an existing report stays.
    """
    if path is None or not is_first() or (path.exists() and not is_new):
        return
    try:
        remove_leftovers(path)
        logger.info("Making the report")
        report = make()
        if isinstance(report, str):
            with atomic_write(path) as temporary:
                temporary.write_text(report, encoding="utf-8")
        else:
            report.save(path)
    except Exception as error:
        logger.warning(
            "the model is saved, but its report %s cannot be made: %s",
            path,
            explain(error),
        )
        logger.debug("traceback:", exc_info=error)
    else:
        logger.info("Wrote %s", path)
        if not isinstance(report, str):
            logger.info("%s", report.verdict)

"""The experiment from the digits to the report: what ``dipy_validate_vqvae`` runs."""

from dataclasses import asdict, dataclass
from datetime import datetime
import json
import logging
import os
from pathlib import Path
import shutil

from dipy_vqvae._version import __version__
from dipy_vqvae.device import choose_device
from dipy_vqvae.experiment.data import find_data
from dipy_vqvae.experiment.evaluation import Evaluation
from dipy_vqvae.experiment.figures import draw_all
from dipy_vqvae.experiment.machine import Stopwatch, describe_machine, peak_memory
from dipy_vqvae.experiment.measures import plain_numbers
from dipy_vqvae.experiment.published import PUBLISHED
from dipy_vqvae.experiment.report import make_report
from dipy_vqvae.experiment.settings import OUTPUT_FILES, UNFINISHED, ExperimentSettings
from dipy_vqvae.experiment.tables import results_markdown
from dipy_vqvae.experiment.training_stages import (
    PRIOR_KINDS,
    TrainedModels,
    n_parameters,
    train_gaussian_vae,
    train_prior,
    train_vqvae,
)
from dipy_vqvae.report import save_png
from dipy_vqvae.storage import atomic_write, fingerprint

logger = logging.getLogger("dipy_vqvae")

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class ValidationResults:
    """What a run of the experiment gave.

    Attributes
    ----------
    numbers : dict
        All results, as in ``results.json``.
    files : dict of Path
        Files written, by name.
    models : TrainedModels
    """

    numbers: dict
    files: dict
    models: TrainedModels


def run_validation(
    *,
    out_dir,
    mnist_dir=None,
    quick=False,
    digits=False,
    random_seed=0,
    verbose=False,
    use_cuda=False,
    settings=None,
):
    """Run the MNIST experiment and write its results.

    Parameters
    ----------
    out_dir : str or Path
        Folder of the results; made if need be. A run that was stopped continues
        from its folder ``unfinished``, and files of an earlier run are replaced
        when all is done.
    mnist_dir : str or Path, optional
        Folder with the MNIST files. Without it they are looked for under
        ``DIPY_HOME/mnist`` and fetched if need be; where they cannot be had, the
        digits of scikit-learn take their place and all results say so.
    quick : bool, optional
        A first look: fewer images, shorter trainings.
    digits : bool, optional
        Use the digits of scikit-learn.
    random_seed : int, optional
        Seed of everything random.
    verbose : bool, optional
        Show progress bars.
    use_cuda : bool, optional
        Use a GPU if there is one.
    settings : ExperimentSettings, optional
        Other sizes than those that `quick` and the data choose.

    Returns
    -------
    results : ValidationResults

    Raises
    ------
    OSError
        If `mnist_dir` does not hold MNIST, or `out_dir` cannot be written to.
    ValueError
        If `out_dir` holds an unfinished run of other settings.
    """
    data = find_data(mnist_dir=mnist_dir, digits=digits, verbose=verbose)
    if settings is None:
        settings = _choose_settings(data, quick)
    data = data.limited(settings.n_train_images, settings.n_test_images)
    logger.info(
        "%s: %d training and %d test images, %s settings",
        data.title,
        len(data.train_images),
        len(data.test_images),
        settings.name,
    )
    out_dir = Path(out_dir)
    work = _open_work_folder(out_dir, data, settings, random_seed)
    clock = Stopwatch()
    common = {"random_seed": random_seed, "use_cuda": use_cuda, "verbose": verbose}
    models, codes = _train(data, settings, work, clock, common)
    numbers, pictures = _evaluate(
        data, models, codes, settings, clock, random_seed=random_seed, verbose=verbose
    )
    numbers.update(
        format_version=FORMAT_VERSION,
        date=f"{datetime.now():%Y-%m-%d %H:%M}",
        data={
            "name": data.name,
            "title": data.title,
            "n_train": len(data.train_images),
            "n_test": len(data.test_images),
        },
        settings=settings.to_dict(),
        random_seed=random_seed,
        machine=describe_machine(choose_device(use_cuda and _has_cuda(models))),
        training=_trainings(models, settings),
        published=[asdict(figures) for figures in PUBLISHED],
    )
    numbers = plain_numbers(numbers)
    files = _write(numbers, pictures, models, work, out_dir, clock)
    return ValidationResults(numbers=numbers, files=files, models=models)


def _choose_settings(data, quick):
    if data.name == "digits":
        return ExperimentSettings.digits()
    return ExperimentSettings.quick() if quick else ExperimentSettings.default()


def _has_cuda(models):
    return next(models.vqvae.net.parameters()).is_cuda


def _open_work_folder(out_dir, data, settings, random_seed):
    """The folder of what is not finished; refuse to mix two runs in it."""
    work = out_dir / UNFINISHED
    work.mkdir(parents=True, exist_ok=True)
    run = {
        "dipy_vqvae": __version__,
        "settings": settings.to_dict(),
        "random_seed": random_seed,
        "images": fingerprint(data.train_images),
    }
    text = json.dumps(run, indent=1)
    path = work / "run.json"
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{work} holds an unfinished run with other settings, seed or images: "
                "finish it as it was begun, remove that folder, or choose another "
                "folder for the results"
            )
        logger.info("%s: continuing the run that was not finished", work)
    else:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return work


def _train(data, settings, work, clock, common):
    with clock.stage("Training the VQ-VAE"):
        vqvae = train_vqvae(data, settings, checkpoint=work / "vqvae.ckpt", **common)
        vqvae.save(work / "vqvae.safetensors")
    clock.count_earlier_runs(vqvae.history.seconds[-1])
    with clock.stage("Encoding the images"):
        train_codes = vqvae.encode(data.train_images)
        test_codes = vqvae.encode(data.test_images)
    priors = {}
    for kind in PRIOR_KINDS:
        with clock.stage(f"Training the {kind} PixelCNN"):
            priors[kind] = train_prior(
                kind,
                train_codes,
                test_codes,
                settings,
                n_codes=vqvae.n_codes,
                checkpoint=work / f"pixelcnn_{kind}.ckpt",
                **common,
            )
            priors[kind].save(work / f"pixelcnn_{kind}.safetensors")
        clock.count_earlier_runs(priors[kind].history.seconds[-1])
    with clock.stage("Training the Gaussian VAE"):
        vae, history = train_gaussian_vae(
            data,
            settings,
            vqvae.config,
            checkpoint=work / "gaussian_vae.ckpt",
            **common,
        )
    clock.count_earlier_runs(history.seconds[-1])
    models = TrainedModels(
        vqvae=vqvae, priors=priors, gaussian_vae=vae, gaussian_history=history
    )
    return models, (train_codes, test_codes)


def _evaluate(data, models, codes, settings, clock, *, random_seed, verbose):
    evaluation = Evaluation(
        data, models, *codes, settings, random_seed=random_seed, verbose=verbose
    )
    numbers = {}
    for name, part in (
        ("Measuring reconstructions", evaluation.reconstruction),
        ("Measuring code lengths", evaluation.priors),
        ("Trading rate for distortion", evaluation.rate_distortion),
        ("Making and measuring the arms", evaluation.arms),
        ("Sampling layer alone", evaluation.layer),
        ("Starting canvases", evaluation.canvas),
        ("Temperatures", evaluation.temperatures),
        ("Measuring the Gaussian VAE", evaluation.gaussian_vae),
    ):
        with clock.stage(name):
            numbers.update(part())
    return numbers, evaluation.pictures


def _trainings(models, settings):
    """Size, time and curves of each network."""
    trainings = {
        "vqvae": (models.vqvae.net, models.vqvae.history, settings.vqvae_fit),
        "gaussian_vae": (
            models.gaussian_vae,
            models.gaussian_history,
            settings.gaussian_fit,
        ),
    }
    for kind, prior in models.priors.items():
        fit = getattr(settings, f"{kind}_fit")
        trainings[f"{kind}_prior"] = (prior.net, prior.history, fit)
    described = {
        name: {
            "n_parameters": n_parameters(net),
            "n_epochs": history.epochs[-1],
            "seconds": history.seconds[-1],
            "history": history.to_dict(),
        }
        for name, (net, history, _) in trainings.items()
    }
    # The network's units are not those of the images.
    to_unit = (models.vqvae.config.scaling.scale / 255) ** 2
    history = described["vqvae"]["history"]
    for curves in (history["train"], history["validation"]):
        curves["mse_unit"] = [to_unit * mse for mse in curves["mse"]]
    return described


def _write(numbers, pictures, models, work, out_dir, clock):
    """Write the results beside the models, then move all of it into place."""
    with clock.stage("Drawing the figures"):
        figures = draw_all(numbers, pictures)
    numbers["stages"] = clock.stages
    numbers["seconds"] = clock.seconds
    numbers["peak_memory_gib"] = peak_memory()
    for name, png in figures.items():
        save_png(work / name, png)
    texts = {
        "results.md": results_markdown(numbers),
        "report.html": make_report(numbers, figures),
        "results.json": json.dumps(numbers, indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        with atomic_write(work / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    # results.json last: where it is, everything is.
    for name in reversed(OUTPUT_FILES):
        os.replace(work / name, out_dir / name)
    shutil.rmtree(work)
    logger.info("%s", texts["results.md"])
    logger.info("%s shows the results", out_dir / "report.html")
    return {name: out_dir / name for name in OUTPUT_FILES}

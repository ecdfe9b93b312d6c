"""The experiment from the images to the report, as ``dipy_validate_vqvae`` runs it."""

from dataclasses import dataclass
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
from dipy_vqvae.experiment.figures import FIGURES
from dipy_vqvae.experiment.machine import Stopwatch, describe_machine, peak_memory
from dipy_vqvae.experiment.measures import plain_numbers
from dipy_vqvae.experiment.report import make_report
from dipy_vqvae.experiment.settings import OUTPUT_FILES, UNFINISHED, ExperimentSettings
from dipy_vqvae.experiment.tables import PUBLISHED, results_markdown
from dipy_vqvae.experiment.training_stages import (
    TrainedModels,
    n_parameters,
    train_all,
)
from dipy_vqvae.report import save_png
from dipy_vqvae.storage import atomic_write, fingerprint

logger = logging.getLogger("dipy_vqvae")

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class ValidationResults:
    """Results of a run of the experiment.

    Attributes
    ----------
    numbers : dict
        All results, as in ``results.json``.
    files : dict of Path
        Files written, by name.
    models : TrainedModels
        The models and the codes of all images.
    """

    numbers: dict
    files: dict
    models: TrainedModels


def run_validation(
    *,
    out_dir,
    mnist_dir=None,
    quick=False,
    thorough=False,
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
        Folder of the results, created if missing. A run that was stopped continues
        from its subfolder ``unfinished``; files of an earlier run are replaced at
        the end.
    mnist_dir : str or Path, optional
        Folder with the MNIST files. By default they are looked for in
        ``DIPY_HOME/mnist`` and downloaded if missing; the digits of scikit-learn are
        the fallback, and all results name them.
    quick : bool, optional
        Use fewer images and shorter trainings.
    thorough : bool, optional
        Use larger models and longer trainings, about an hour on two CPU cores.
    digits : bool, optional
        Use the digits of scikit-learn.
    random_seed : int, optional
        Seed of all random numbers, at least 0.
    verbose : bool, optional
        Show progress bars.
    use_cuda : bool, optional
        Use a GPU if there is one.
    settings : ExperimentSettings, optional
        Settings in place of those chosen by `quick`, `thorough` and the data.

    Returns
    -------
    results : ValidationResults

    Raises
    ------
    OSError
        If `mnist_dir` does not hold MNIST, or `out_dir` cannot be written to.
    ValueError
        If `out_dir` holds an unfinished run of other settings, or both `quick` and
        `thorough` are asked for.
    """
    data = find_data(mnist_dir=mnist_dir, digits=digits, verbose=verbose)
    if settings is None:
        settings = _choose_settings(data, quick=quick, thorough=thorough)
    data = data.limited(settings.n_train_images, settings.n_test_images)
    logger.info(
        "%s: %d training and %d test images, %s settings",
        data.title,
        len(data.train_images),
        len(data.test_images),
        settings.name,
    )
    out_dir, clock = Path(out_dir), Stopwatch()
    work = _open_work_folder(out_dir, data, settings, random_seed)
    common = {"random_seed": random_seed, "verbose": verbose}
    models = train_all(data, settings, work, clock, use_cuda=use_cuda, **common)
    numbers, pictures = _evaluate(data, models, settings, clock, **common)
    device = choose_device(use_cuda and next(models.vqvae.net.parameters()).is_cuda)
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
        machine=describe_machine(device),
        training=_trainings(models),
        published=PUBLISHED,
    )
    numbers = plain_numbers(numbers)
    files = _write(numbers, pictures, work, out_dir, clock)
    return ValidationResults(numbers=numbers, files=files, models=models)


def _choose_settings(data, *, quick, thorough):
    if quick and thorough:
        raise ValueError("quick and thorough exclude each other")
    if data.name == "digits":
        return ExperimentSettings.digits()
    if quick:
        return ExperimentSettings.quick()
    return ExperimentSettings.thorough() if thorough else ExperimentSettings.default()


def _open_work_folder(out_dir, data, settings, random_seed):
    """Open the folder of the unfinished run; refuse one of other settings."""
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
    if not path.exists():
        _write_text(path, text)
    elif path.read_text(encoding="utf-8") == text:
        logger.info("%s: continuing the unfinished run", work)
    else:
        raise ValueError(
            f"{work} holds an unfinished run with other settings, seed, images or "
            "version: repeat the command of that run, delete the folder, or choose "
            "another folder for the results"
        )
    return work


def _write_text(path, text):
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _evaluate(data, models, settings, clock, *, random_seed, verbose):
    evaluation = Evaluation(
        data, models, settings, random_seed=random_seed, verbose=verbose
    )
    numbers = {}
    for name, part in (
        ("Measuring reconstructions", evaluation.reconstruction),
        ("Measuring code lengths", evaluation.priors),
        ("Measuring rate and distortion", evaluation.rate_distortion),
        ("Generating and measuring the arms", evaluation.arms),
        ("Sampling layer alone", evaluation.layer),
        ("Initial canvases", evaluation.canvas),
        ("Temperatures", evaluation.temperatures),
        ("Measuring the Gaussian VAE", evaluation.gaussian_vae),
    ):
        with clock.stage(name):
            numbers.update(part())
    return numbers, evaluation.pictures


def _trainings(models):
    """Describe size, time and curves of each training."""
    trainings = {
        "vqvae": (models.vqvae.net, models.vqvae.history),
        "gaussian_vae": (models.gaussian_vae, models.gaussian_history),
        **{f"{kind}_prior": (p.net, p.history) for kind, p in models.priors.items()},
    }
    described = {
        name: {
            "n_parameters": n_parameters(net),
            "n_epochs": history.epochs[-1],
            "seconds": history.seconds[-1],
            "history": history.to_dict(),
        }
        for name, (net, history) in trainings.items()
    }
    # From the scaled images of the network to pixels in [0, 1].
    to_unit = (models.vqvae.config.scaling.scale / 255) ** 2
    history = described["vqvae"]["history"]
    for curves in (history["train"], history["validation"]):
        curves["mse_unit"] = [to_unit * mse for mse in curves["mse"]]
    return described


def _write(numbers, pictures, work, out_dir, clock):
    """Write the results beside the models, then move all of them into place."""
    with clock.stage("Drawing the figures"):
        figures = {name: draw(numbers, pictures) for name, draw in FIGURES.items()}
    numbers["stages"] = clock.stages
    numbers["seconds"] = clock.seconds
    numbers["peak_memory_gib"] = peak_memory()
    for name, png in figures.items():
        save_png(work / name, png)
    markdown = results_markdown(numbers)
    _write_text(work / "results.md", markdown)
    _write_text(work / "report.html", make_report(numbers, figures))
    json_text = json.dumps(numbers, indent=1, allow_nan=False)
    _write_text(work / "results.json", json_text + "\n")
    # results.json comes last: if it exists, the results are complete.
    for name in reversed(OUTPUT_FILES):
        os.replace(work / name, out_dir / name)
    shutil.rmtree(work)
    logger.info("%s", markdown)
    logger.info("%s shows the results", out_dir / "report.html")
    return {name: out_dir / name for name in OUTPUT_FILES}

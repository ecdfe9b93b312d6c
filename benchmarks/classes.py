"""Digits by class: is what is drawn the digit that was asked for?

    python benchmarks/classes.py --models validation --mnist FOLDER

The VQ-VAE is that of a `dipy_validate_vqvae` run. A prior learns the codes of the
training digits with their labels, in the same number of epochs as the run's gated prior.
Then the classifier of the experiment names 10,000 samples, a tenth of them of each class;
and reconstructed test digits, for comparison.
"""

from pathlib import Path
import time

from common import add_data_arguments, begin, load_data, make_parser, print_table
import numpy as np
import torch

import dipy_vqvae as dv
from dipy_vqvae.device import has_fast_bfloat16
from dipy_vqvae.experiment import (
    ExperimentSettings,
    features,
    load_classifier,
    probabilities,
)
from dipy_vqvae.metrics import frechet_distance
from dipy_vqvae.vqvae import small_shifts

N_CLASSES = 10
N_SAMPLES = 10_000


def main():
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument("--models", required=True, help="folder of the run")
    args = parser.parse_args()
    data = load_data(args)
    fit = dv.VQVAEFit.load(Path(args.models) / "vqvae.safetensors")
    begin(args, f"{len(data.train_images):,} training digits.")
    settings = ExperimentSettings.default()
    start = time.perf_counter()
    prior = train(fit, data, settings, quick=args.quick)
    taken = time.perf_counter() - start
    asked = np.arange(200 if args.quick else N_SAMPLES) % N_CLASSES
    images = fit.decode(prior.sample(len(asked), labels=asked)) / 255
    reconstructed = fit.predict(data.test_images) / 255
    classifier = load_classifier()
    of_test = features(classifier, data.test_images / np.float32(255))
    distances = [
        frechet_distance(of_test, features(classifier, part.astype(np.float32)))
        for part in (images, reconstructed)
    ]
    found, test = (
        probabilities(classifier, part.astype(np.float32)).argmax(1)
        for part in (images, reconstructed)
    )
    print_table(
        ("digit", "found among samples, %", "among reconstructed test digits, %"),
        [
            row(
                digit, found == asked, asked, test == data.test_labels, data.test_labels
            )
            for digit in range(N_CLASSES)
        ],
    )
    print_table(
        ("", "samples", "reconstructed test digits"),
        [
            (
                "class found, %",
                *(
                    percent(np.mean(x))
                    for x in (found == asked, test == data.test_labels)
                ),
            ),
            ("Fréchet distance to test digits", *(f"{d:.1f}" for d in distances)),
            ("training with the codes of shifted digits, s", f"{taken:.0f}", ""),
        ],
    )


def train(fit, data, settings, *, quick):
    """Fit a class-conditional prior."""
    images, labels = data.train_images, data.train_labels
    variants = [
        fit.encode(images, shift=shift)
        for shift in small_shifts(settings.n_shifts, fit.config.downsampling)
    ]
    mixed = has_fast_bfloat16(torch.device("cpu"))
    model = dv.PixelCNNModel(fit.n_codes, mixed_precision=mixed, **settings.gated_prior)
    training = settings.gated_fit if not quick else {"n_epochs": 1}
    return model.fit(fit.encode(images), labels=labels, variants=variants, **training)


def row(digit, found, asked, found_in_test, labels):
    """Percentages of one digit."""
    return (
        digit,
        percent(found[asked == digit].mean()),
        percent(found_in_test[labels == digit].mean()),
    )


def percent(share):
    return f"{100 * share:.2f}"


if __name__ == "__main__":
    main()

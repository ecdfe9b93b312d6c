"""Are the digits that a class-conditional prior draws those of the requested class?

    python benchmarks/classes.py --models validation --mnist FOLDER
    python benchmarks/classes.py --models thorough --mnist FOLDER --thorough

The VQ-VAE is that of a `dipy_validate_vqvae` run. A prior learns the codes of the
training digits with their labels, with the settings of the experiment's gated prior.
The classifier of the experiment predicts the class of 10,000 samples, a tenth of them
of each class, and of reconstructed test digits for comparison.
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
from dipy_vqvae.vqvae import shifted_codes

N_CLASSES = 10
N_SAMPLES = 10_000
TEMPERATURES = (1.0, 0.9)


def main():
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument("--models", required=True, help="folder of the run")
    parser.add_argument(
        "--thorough", action="store_true", help="the prior of --thorough"
    )
    args = parser.parse_args()
    data = load_data(args)
    fit = dv.VQVAEFit.load(Path(args.models) / "vqvae.safetensors")
    begin(args, f"{len(data.train_images):,} training digits.")
    start = time.perf_counter()
    kind = "thorough" if args.thorough else "default"
    prior = train(fit, data, getattr(ExperimentSettings, kind)(), quick=args.quick)
    taken = time.perf_counter() - start
    requested = np.arange(200 if args.quick else N_SAMPLES) % N_CLASSES
    ruler = Ruler(data.test_images)
    columns = [ruler.column(fit.predict(data.test_images), data.test_labels)]
    for temperature in TEMPERATURES:
        codes = prior.sample(len(requested), labels=requested, temperature=temperature)
        columns.append(ruler.column(fit.decode(codes), requested))
    names = [
        "requested class predicted, %",
        *(f"… digit {digit}" for digit in range(N_CLASSES)),
        "Fréchet distance to the test digits",
    ]
    titles = (
        "reconstructed test digits",
        *(f"samples, τ = {t:g}" for t in TEMPERATURES),
    )
    print_table(("", *titles), zip(names, *columns))
    print(f"Encoding and training: {taken:.0f} s.")


def train(fit, data, settings, *, quick):
    """Fit a class-conditional prior with settings of the experiment."""
    mixed = has_fast_bfloat16(torch.device("cpu"))
    model = dv.PixelCNNModel(fit.n_codes, mixed_precision=mixed, **settings.gated_prior)
    return model.fit(
        fit.encode(data.train_images),
        labels=data.train_labels,
        variants=shifted_codes(fit, data.train_images, settings.n_shifts),
        **({"n_epochs": 1} if quick else settings.gated_fit),
    )


class Ruler:
    """Measure digits with the experiment's classifier."""

    def __init__(self, test_images):
        self.classifier = load_classifier()
        self.reference = features(self.classifier, test_images / np.float32(255))

    def column(self, images, labels):
        """Return the accuracies, of all and by digit, and the Fréchet distance."""
        images = images / np.float32(255)
        is_right = probabilities(self.classifier, images).argmax(1) == labels
        shares = [is_right, *(is_right[labels == digit] for digit in range(N_CLASSES))]
        distance = frechet_distance(self.reference, features(self.classifier, images))
        return [*(f"{100 * share.mean():.2f}" for share in shares), f"{distance:.1f}"]


if __name__ == "__main__":
    main()

"""Which prior codes held-out digits in the fewest bits after equal steps?

    python benchmarks/priors.py --mnist FOLDER
    python benchmarks/priors.py --mnist FOLDER --only "attention, weight decay"

5,000 training digits are held out, also from the VQ-VAE; the test digits are not looked
at. Each prior has one thread and the same number of steps, the time is processor time.
With several processes at a time the results are the same.
"""

from pathlib import Path
import time

from common import add_data_arguments, begin, load_data, make_parser, print_table
import numpy as np
import torch

import dipy_vqvae as dv
from dipy_vqvae.device import has_fast_bfloat16
from dipy_vqvae.experiment import ExperimentSettings, features, load_classifier
from dipy_vqvae.metrics import frechet_distance
from dipy_vqvae.vqvae import shifted_codes

N_HELD_OUT = 5_000
N_EPOCHS = 4.3
CONVOLUTIONS = {"n_layers": 6, "n_attention": 0}
PRIORS = {
    "convolutions alone": (CONVOLUTIONS, {"weight_decay": 0.0}, 0),
    "… dropout 0.1, averaged weights": (
        {**CONVOLUTIONS, "dropout": 0.1},
        {"weight_decay": 0.0, "average_decay": 0.995},
        0,
    ),
    "… weight decay": (CONVOLUTIONS, {}, 0),
    "… shifted copies": (CONVOLUTIONS, {"weight_decay": 0.0}, 4),
    "attention": ({}, {"weight_decay": 0.0}, 0),
    "attention, weight decay": ({}, {}, 0),
    "attention, weight decay, shifted copies": ({}, {}, 4),
    "… 8 components": ({"n_components": 8}, {}, 4),
}


def main():
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument("--only", action="append", choices=PRIORS, help="some priors")
    parser.add_argument("--vqvae", help="file of the VQ-VAE, made if it is missing")
    args = parser.parse_args()
    args.threads = args.threads or 1
    data = load_data(args)
    held_out, training = split(data, 100 if args.quick else N_HELD_OUT)
    begin(args, f"{len(training):,} digits to train on, {len(held_out):,} held out.")
    fit = load_or_train(args.vqvae, training, quick=args.quick)
    ruler = Ruler(fit, held_out)
    rows = []
    for name in args.only or PRIORS:
        model, options, n_shifts = PRIORS[name]
        rows.append((name, *run(fit, training, ruler, model, options, n_shifts, args)))
        print(rows[-1], flush=True)
    print_table(
        (
            "prior",
            "parameters",
            "bits, training",
            "bits, held out",
            "Fréchet distance",
            "processor time, s",
        ),
        rows,
    )


def split(data, n_held_out):
    """Hold out training digits, by a fixed seed."""
    order = np.random.default_rng(1234).permutation(len(data.train_images))
    return data.train_images[order[:n_held_out]], data.train_images[order[n_held_out:]]


def load_or_train(path, training, *, quick):
    """Get the experiment's VQ-VAE without the held-out digits."""
    if path and Path(path).exists():
        return dv.VQVAEFit.load(path)
    settings = ExperimentSettings.default()
    mixed = has_fast_bfloat16(torch.device("cpu"))
    options = {"n_epochs": 1} if quick else settings.vqvae_fit
    fit = dv.VQVAEModel(**settings.vqvae, mixed_precision=mixed).fit(
        training, **options
    )
    if path:
        fit.save(path)
    return fit


class Ruler:
    """Bits of held-out digits, and the distance of samples to them."""

    def __init__(self, fit, held_out):
        self.fit = fit
        self.codes = fit.encode(held_out)
        self.classifier = load_classifier()
        self.features = features(self.classifier, held_out / np.float32(255))

    def distance(self, prior):
        """Fréchet distance of as many samples as there are held-out digits."""
        images = self.fit.decode(prior.sample(len(self.codes))) / np.float32(255)
        return frechet_distance(self.features, features(self.classifier, images))


def run(fit, training, ruler, model, options, n_shifts, args):
    """Train a prior; return the numbers of its row."""
    codes = fit.encode(training)
    variants = shifted_codes(fit, training, n_shifts)
    mixed = has_fast_bfloat16(torch.device("cpu"))
    start = time.process_time()
    prior = dv.PixelCNNModel(fit.n_codes, mixed_precision=mixed, **model).fit(
        codes,
        variants=variants,
        n_epochs=1 if args.quick else N_EPOCHS,
        batch_size=64,
        schedule="linear",
        **options,
    )
    taken = time.process_time() - start
    bits = (
        -prior.log_prob(part).mean() / np.log(2)
        for part in (codes[: len(ruler.codes)], ruler.codes)
    )
    return (
        f"{sum(p.numel() for p in prior.net.parameters()):,}",
        *(f"{b:.2f}" for b in bits),
        f"{ruler.distance(prior):.1f}",
        f"{taken:.0f}",
    )


if __name__ == "__main__":
    main()

"""How long training takes to reach the quality of the original experiment.

Two races on MNIST, the contenders in turns of some seconds (see turns.py):

(a) from start to a test MSE: the default networks of the experiment, without a price
    on code length, against the original experiment's own configuration (which has no
    such price either), as a configuration of this package;
(b) from start to a test code length at that MSE, VQ-VAE and prior together: the
    networks of the experiment with a price and the gated prior, against the original
    VQ-VAE of (a) and the plain prior. Both priors learn the codes with a price, which
    are the easier ones.

    python benchmarks/time_to_quality.py --mnist FOLDER --plot time_to_quality.png
    python benchmarks/time_to_quality.py --set priced_fit.n_epochs=8
    python benchmarks/time_to_quality.py --cuda

"From start" is from the images in memory to the first measurement that is as good.
Measurements are made at the end of each epoch, on all test images, with the clocks
standing. The original is stopped once it has taken so many times longer (--give-up)
than ours without getting there; then its time is a lower bound.
"""

import json
from math import log, prod
from statistics import median
import time

from common import (
    add_data_arguments,
    begin,
    load_data,
    make_parser,
    peak_flops,
    print_table,
)
import numpy as np
from turns import Contender, race

from dipy_vqvae import PixelCNNModel, VQVAEModel
from dipy_vqvae.device import has_fast_bfloat16
from dipy_vqvae.experiment import ExperimentSettings

# The original experiment (Keras' example of a VQ-VAE) as settings of this package:
# its networks, codebook, rates and numbers of epochs. It knows no range of its outputs,
# and its error was published without clipping them to one.
ORIGINAL = {
    "vqvae": {
        "n_codes": 128,
        "code_dim": 16,
        "architecture": "strided",
        "n_channels": 64,
        "n_blocks": 0,
        "codebook": "gradient",
        "commitment": 0.25,
        "bounded": False,
    },
    "vqvae_fit": {
        "n_epochs": 30,
        "batch_size": 128,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "schedule": "constant",
    },
    "prior": {"kind": "plain"},
    "prior_fit": {
        "n_epochs": 30,
        "batch_size": 128,
        "optimizer": "adam",
        "learning_rate": 3e-4,
        "schedule": "constant",
    },
}
# Ours: networks of the default experiment, trained for the two targets. The default
# experiment itself is trained for longer, to a lower error at a lower rate.
OURS = {
    "unpriced": {"rate_weight": 0.0},
    "unpriced_fit": {"n_epochs": 2, "schedule": "linear"},
    "priced": {"rate_weight": 0.03},
    "priced_fit": {"n_epochs": 4, "schedule": "linear"},
    "gated_prior": {},
    "gated_fit": {"n_epochs": 1, "batch_size": 64, "schedule": "linear"},
}
MSE_FACTOR, BITS_FACTOR = 10, 5  # how many times faster ours should be


def main():
    args = parse_arguments()
    device = begin(
        args,
        f"{'Digits of scikit-learn' if args.digits else 'MNIST'}, in turns of "
        f"{args.turn:g} s; images per second are medians over the turns.",
    )
    data = load_data(args)
    settings = our_settings(args)
    shared = {
        "random_seed": args.seed,
        "use_cuda": args.cuda,
        "mixed_precision": has_fast_bfloat16(device),
    }
    peak = peak_flops(device) if args.cuda else None
    vqvaes = race_vqvaes(args, data, settings, shared)
    unpriced, original = vqvaes[0], vqvaes[-1]
    print_race(
        vqvaes,
        f"test MSE ≤ {args.target_mse:g}",
        "images/s",
        digits=5,
        peak=peak,
    )
    print_factor(unpriced, original, MSE_FACTOR)
    print_settings(
        **{
            group: {name: settings[name] for name in (group, f"{group}_fit")}
            for group in our_groups(args)
        },
        original={name: ORIGINAL[name] for name in ("vqvae", "vqvae_fit")},
    )
    races = {f"test MSE, target {args.target_mse:g}": vqvaes}
    if args.only != "mse":
        priced = vqvaes[1]
        priors = race_priors(args, data, settings, shared, priced, original)
        print_race(
            priors,
            f"test bits per image ≤ {args.target_bits:g}",
            "grids of codes/s",
            digits=2,
            peak=peak,
        )
        print_totals(args, (priced, original), priors)
        print_settings(
            gated={name: settings[name] for name in ("gated_prior", "gated_fit")},
            plain={name: ORIGINAL[name] for name in ("prior", "prior_fit")},
        )
        races[f"test bits per image, target {args.target_bits:g}"] = priors
    if args.plot:
        plot(args.plot, races)


def parse_arguments():
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.NAME=VALUE",
        help=f"change a setting of ours; groups: {', '.join(OURS)}",
    )
    parser.add_argument("--target-mse", default=0.0042, type=float)
    parser.add_argument("--target-bits", default=73.0, type=float)
    parser.add_argument("--turn", default=5.0, type=float, help="seconds of a turn")
    parser.add_argument(
        "--give-up",
        nargs=2,
        default=(12.0, 5.5),
        type=float,
        metavar=("MSE", "BITS"),
        help="times our time after which the original is stopped, in each race",
    )
    parser.add_argument("--only", choices=("mse",), help="the first race alone")
    parser.add_argument("--plot", help="file for a picture of the curves")
    return parser.parse_args()


def our_settings(args):
    """What ours is trained with, changed by ``--set``."""
    networks = ExperimentSettings.default().vqvae
    settings = {group: dict(changed) for group, changed in OURS.items()}
    for group in ("unpriced", "priced"):
        settings[group] = {**networks, **settings[group]}
    for change in args.set:
        name, _, value = change.partition("=")
        group, _, name = name.partition(".")
        if group not in settings or not name or not value:
            raise SystemExit(f"--set {change}: GROUP.NAME=VALUE is needed")
        try:
            settings[group][name] = json.loads(value)
        except ValueError:
            settings[group][name] = value
    if args.quick:
        for group in ("unpriced_fit", "priced_fit", "gated_fit"):
            settings[group]["n_epochs"] = 1
    return settings


def our_groups(args):
    """The VQ-VAEs of ours that the races need."""
    return ("unpriced",) if args.only == "mse" else ("unpriced", "priced")


def race_vqvaes(args, data, settings, shared):
    """Ours without and with a price, and the original, after the race to an MSE."""
    images, test = data.train_images, data.test_images

    def work(model, fit):
        return lambda: VQVAEModel(**model, **shared).fit(
            images, validation_images=test, **fit
        )

    # The network's units are those of the images, brought to [0, 1].
    common = {"metric": lambda values: values["mse"], "target": args.target_mse}
    names = {"unpriced": "ours, no price on length", "priced": "ours, priced"}
    ours = [
        Contender(
            names[group], work(settings[group], settings[f"{group}_fit"]), **common
        )
        for group in our_groups(args)
    ]
    original = Contender(
        "original",
        work(ORIGINAL["vqvae"], ORIGINAL["vqvae_fit"]),
        stop_when=gives_up(ours[0], args.give_up[0]),
        **common,
    )
    contenders = [*ours, original]
    race(contenders, turn_seconds=args.turn)
    for contender in contenders:
        if contender.result is not None:
            error = contender.result.predict(test) / np.float32(255) - unit(test)
            contender.record(np.square(error).mean(dtype=np.float64))
    return contenders


def race_priors(args, data, settings, shared, ours, original):
    """Contenders, ours first, after the race to a code length."""
    fit = ours.result
    start = time.perf_counter()
    codes = fit.encode(data.train_images)
    encoding = time.perf_counter() - start
    held_out = fit.encode(data.test_images)
    bits = prod(fit.latent_shape) / log(2)  # of a nat per code

    def work(model, training):
        return lambda: PixelCNNModel(fit.n_codes, **model, **shared).fit(
            codes, validation_codes=held_out, **training
        )

    common = {
        "metric": lambda values: bits * values["loss"],
        "target": args.target_bits,
        "start_at": encoding,
    }
    gated = Contender(
        "ours, gated prior",
        work(settings["gated_prior"], settings["gated_fit"]),
        **common,
    )
    # The original gives up by the time of both trainings, as it is compared by it.
    plain = Contender(
        "original, plain prior",
        work(ORIGINAL["prior"], ORIGINAL["prior_fit"]),
        stop_when=gives_up(
            gated,
            args.give_up[1],
            before=(vqvae_seconds(ours), vqvae_seconds(original)),
        ),
        **common,
    )
    race([gated, plain], turn_seconds=args.turn)
    return [gated, plain]


def gives_up(ours, factor, *, before=(0.0, 0.0)):
    """When to stop the original: there, or hopelessly behind.

    `before` are the seconds that ours and the original have taken earlier.
    """

    def is_over(original):
        if original.reached is not None:
            return True
        if not ours.is_over:
            return False
        seconds = ours.reached.seconds if ours.reached else ours.seconds
        return before[1] + original.seconds > factor * (before[0] + seconds)

    return is_over


def vqvae_seconds(contender):
    """Seconds until a prior can start: ours is trained to its end."""
    if contender.result is None and contender.reached:
        return contender.reached.seconds
    return contender.seconds


def reached_after(contender):
    """Seconds to the target, or a bound, as text."""
    if contender.reached is not None:
        return f"{contender.reached.seconds:.1f}"
    if contender.was_stopped:
        return f"> {contender.seconds:.1f} (stopped)"
    return f"not in {contender.seconds:.1f}"


def times(ours, theirs, *, is_bound):
    return f"{'> ' if is_bound else ''}{theirs / ours:.1f}"


def print_race(contenders, target, unit_of_speed, *, digits, peak):
    columns = [
        "configuration",
        "parameters",
        unit_of_speed,
        f"s to {target}",
        "whole training, s",
        "epochs",
        "best",
        "last",
    ]
    if peak is not None:
        columns.append("% of the measured bfloat16 peak (3 × forward pass)")
    rows = []
    for contender in contenders:
        values = [point.value for point in contender.points]
        speed = median(contender.speeds) if contender.speeds else None
        row = [
            contender.name,
            f"{contender.n_parameters:,}",
            None if speed is None else f"{speed:,.0f}",
            reached_after(contender),
            "stopped" if contender.was_stopped else f"{contender.seconds:.1f}",
            f"{contender.items / max(1, contender.n_items):.1f}",
            f"{min(values):.{digits}f}" if values else None,
            f"{values[-1]:.{digits}f}" if values else None,
        ]
        if peak is not None and speed is not None:
            row.append(f"{100 * speed * contender.flops_per_item / peak:.2f}")
        rows.append(row)
    print_table(columns, rows)


def print_factor(ours, original, factor):
    if ours.reached is None:
        print("Ours did not reach the target: there is no factor.\n")
        return
    there = original.reached
    theirs = original.seconds if there is None else there.seconds
    bound = there is None
    print_table(
        ["times faster", "factor", "to reach"],
        [
            (
                "both to their first measurement at the target",
                times(ours.reached.seconds, theirs, is_bound=bound),
                f"≥ {factor}",
            ),
            (
                "ours to the end of its training",
                times(ours.seconds, theirs, is_bound=bound),
                None,
            ),
        ],
    )


def print_totals(args, vqvaes, priors):
    """From start to the code length: VQ-VAE and prior together."""
    before = [vqvae_seconds(contender) for contender in vqvaes]
    gated, plain = priors
    if gated.reached is None:
        print("Our prior did not reach the target: there is no factor.\n")
        return
    bound = plain.reached is None
    ours = gated.reached.seconds
    theirs = plain.seconds if bound else plain.reached.seconds
    print_table(
        [f"seconds to ≤ {args.target_bits:g} bits", "ours", "original", "factor"],
        [
            (
                "prior alone",
                f"{ours:.1f}",
                f"{'> ' if bound else ''}{theirs:.1f}",
                times(ours, theirs, is_bound=bound),
            ),
            (
                f"VQ-VAE and prior (to reach: ≥ {BITS_FACTOR})",
                f"{before[0] + ours:.1f}",
                f"{'> ' if bound else ''}{before[1] + theirs:.1f}",
                times(
                    before[0] + ours,
                    before[1] + theirs,
                    is_bound=bound or vqvaes[1].reached is None,
                ),
            ),
        ],
    )


def print_settings(**configurations):
    """What was trained: arguments of the model and of its ``fit``, as JSON."""
    for name, settings in configurations.items():
        print(f"- {name}: `{json.dumps(settings)}`")
    print(flush=True)


def plot(path, races):
    """Curves of the measurements over the clocks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(races), 3.6), layout="constrained")
    for axes, (title, contenders) in zip(
        figure.subplots(1, len(races), squeeze=False)[0], races.items()
    ):
        for contender, colour in zip(
            contenders, ("C0", "C1", "0.5") if len(contenders) > 2 else ("C1", "0.5")
        ):
            points = contender.points
            axes.plot(
                [point.seconds for point in points],
                [point.value for point in points],
                "o-",
                color=colour,
                markersize=3,
                label=contender.name,
            )
        axes.axhline(contenders[0].target, color="0.8", zorder=0)
        axes.set(xscale="log", yscale="log", xlabel="seconds of training", title=title)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def unit(images):
    return images.astype(np.float32) / np.float32(255)


if __name__ == "__main__":
    main()

"""How long it takes to draw codes: incrementally, and by full passes.

The first table and the growth are of gated priors of the default size (64 channels, 6
layers, 128 codes) with random weights; what is drawn does not matter to the time.

The second table is of trained models, from their files to images: those of a run of
dipy_validate_vqvae (--models, its folder), or else models of the same size that are
trained for a moment on the digits of scikit-learn.

    python benchmarks/sampling.py --models validation --plot sampling.png
    python benchmarks/sampling.py --quick
    python benchmarks/sampling.py --cuda

A full pass per code takes minutes for the larger cases: there the time of one
pass, measured beside each repeat, is multiplied by the number of codes.
"""

from math import prod
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
import time

from common import begin, make_parser, print_table, save_growth, seconds
import numpy as np
import torch

from dipy_vqvae import PixelCNNFit, PixelCNNModel, VQVAEFit, VQVAEModel
from dipy_vqvae.experiment import ExperimentSettings, load_digits
from dipy_vqvae.nn import GatedPixelCNN, PlainPixelCNN
from dipy_vqvae.prior import to_layout
from dipy_vqvae.sampling import FullPasses, sample_codes

N_CODES = 128
NETWORKS = {"gated": GatedPixelCNN, "plain": PlainPixelCNN}
# Network, grid, batch, and how many times faster than full passes it should be.
CASES = [
    ("gated", (7, 7), 256, 20),
    ("gated", (28, 28), 64, 50),
    ("gated", (28, 28), 1, 10),
    ("gated", (8, 8, 8), 8, 50),
    ("plain", (7, 7), 256, None),
]
GROWTH = [(7, 7), (14, 14), (28, 28), (56, 56)]
LARGEST_FULL_GRID = 28 * 28
# Full passes one after the other up to this much work, else one, multiplied.
MOST_FULL_CODES = 7 * 7 * 7 * 7 * 256
MODEL_FILES = ("vqvae.safetensors", "pixelcnn_gated.safetensors")


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument("--models", help=f"folder with {' and '.join(MODEL_FILES)}")
    parser.add_argument("--plot", help="file for a picture of the growth")
    args = parser.parse_args()
    n_repeats = 1 if args.quick else args.repeats
    device = begin(args, f"Medians of {n_repeats} repeats in turns.")
    print_speed(CASES[-1:] if args.quick else CASES, n_repeats, device)
    print_end_to_end(args, n_repeats)
    growth = measure_growth(GROWTH[:2] if args.quick else GROWTH, n_repeats, device)
    print_growth(growth)
    if args.plot:
        plot_growth(args.plot, growth)


def network(kind, grid_shape, device):
    torch.manual_seed(0)
    return to_layout(NETWORKS[kind](N_CODES, grid_shape).eval().to(device))


@torch.inference_mode()
def one_pass(net, codes):
    return net(codes, None)


class Case:
    """Times of one network, grid and batch, in seconds."""

    def __init__(self, kind, grid_shape, batch, device):
        self.net = network(kind, grid_shape, device)
        self.device = device
        self.grid_shape = grid_shape
        self.batch = batch
        self.n_codes = prod(grid_shape)
        self.codes = torch.randint(N_CODES, (batch, *grid_shape), device=device)
        self.in_full = self.n_codes**2 * batch <= MOST_FULL_CODES
        self.times = {"incremental": [], "one pass": [], "full": []}

    def sample(self, **settings):
        return sample_codes(
            self.net,
            self.batch,
            grid_shape=self.grid_shape,
            batch_size=self.batch,
            **settings,
        )

    def warm_up(self):
        self.sample()
        one_pass(self.net, self.codes)

    def repeat(self, *, full=True):
        self.times["incremental"].append(seconds(self.sample))
        one = seconds(lambda: one_pass(self.net, self.codes), self.device)
        self.times["one pass"].append(one)
        if not full:
            return
        if self.in_full:
            one_by_one = seconds(lambda: self.sample(stepper=FullPasses))
        else:
            one_by_one = one * self.n_codes
        self.times["full"].append(one_by_one)

    def median(self, name):
        return median(self.times[name])


def print_speed(settings, n_repeats, device):
    cases = [Case(kind, grid, batch, device) for kind, grid, batch, _ in settings]
    for case in cases:
        case.warm_up()
    # Alternating, so that a slow moment of the machine meets all of them.
    for _ in range(n_repeats):
        for case in cases:
            case.repeat()
    columns = [
        "prior",
        "codes",
        "batch",
        "incremental, s",
        "full passes, s",
        "times faster",
        "to reach",
        "one pass, s",
        "incremental / one pass",
    ]
    rows = []
    for (kind, grid_shape, batch, target), case in zip(settings, cases):
        fast, full = case.median("incremental"), case.median("full")
        one = case.median("one pass")
        rows.append(
            (
                kind,
                "×".join(map(str, grid_shape)),
                batch,
                f"{fast:.3f}",
                f"{full:.2f}{'' if case.in_full else ' (one pass × codes)'}",
                f"{full / fast:.0f}",
                None if target is None else f"≥ {target}",
                f"{one:.4f}",
                f"{fast / one:.2f}",
            )
        )
    print_table(columns, rows)


def print_end_to_end(args, n_repeats):
    """New images by trained models, from their files on."""
    n = 10_000 if args.cuda else 1_000
    if args.quick:
        n = 32
    with TemporaryDirectory() as folder:
        if args.models:
            files, origin = [Path(args.models, name) for name in MODEL_FILES], "MNIST"
        else:
            files, origin = train_briefly(Path(folder), args.quick), "scikit-learn's"
        parts = ("files read", "codes drawn", "codes decoded")
        times = {part: [] for part in parts}
        for seed in range(n_repeats):
            start = time.perf_counter()
            vqvae = VQVAEFit.load(files[0], use_cuda=args.cuda)
            prior = PixelCNNFit.load(files[1], use_cuda=args.cuda)
            read = time.perf_counter()
            codes = prior.sample(n, random_seed=seed)
            drawn = time.perf_counter()
            images = vqvae.decode(codes)
            decoded = time.perf_counter()
            for part, taken in zip(
                parts, (read - start, drawn - read, decoded - drawn)
            ):
                times[part].append(taken)
    total = median(map(sum, zip(*times.values())))
    shape = "×".join(map(str, images.shape[1:]))
    trained = f"models trained on {origin} digits"
    print_table(
        [f"{n:,} images of {shape}, {trained}", "s", "to reach"],
        [
            *((part, f"{median(times[part]):.3f}", None) for part in parts),
            ("all of it", f"{total:.3f}", None if n != 1_000 else "≤ 1.5"),
        ],
    )


def train_briefly(folder, quick):
    """Files of models of the experiment's size, trained on digits for a moment."""
    digits = load_digits().train_images[: 64 if quick else None]
    settings = ExperimentSettings.default()
    vqvae = VQVAEModel(**settings.vqvae).fit(digits, n_epochs=1 if quick else 10)
    prior = PixelCNNModel(vqvae.n_codes, **settings.gated_prior)
    prior = prior.fit(vqvae.encode(digits), n_epochs=1 if quick else 5)
    files = [folder / name for name in MODEL_FILES]
    vqvae.save(files[0])
    prior.save(files[1])
    return files


def measure_growth(grid_shapes, n_repeats, device):
    """Rows (grid, incremental seconds, full-pass seconds or None) for one image."""
    cases = [Case("gated", grid_shape, 1, device) for grid_shape in grid_shapes]
    for case in cases:
        case.warm_up()
    for _ in range(n_repeats):
        for case in cases:
            case.repeat(full=case.n_codes <= LARGEST_FULL_GRID)
    return [
        (
            case.grid_shape,
            case.median("incremental"),
            case.median("full") if case.times["full"] else None,
        )
        for case in cases
    ]


def curves(growth):
    """Numbers of codes and seconds, of the incremental and of the full passes."""
    fast = [(prod(grid), taken) for grid, taken, _ in growth]
    full = [(prod(grid), taken) for grid, _, taken in growth if taken is not None]
    return fast, full


def slope(curve):
    """Of the line through the points on log-log axes."""
    return np.polyfit(*np.log(np.transpose(curve)), 1)[0]


def print_growth(growth):
    rows = [
        (
            "×".join(map(str, grid)),
            f"{1000 * fast:.1f}",
            None if full is None else f"{1000 * full:.0f}",
        )
        for grid, fast, full in growth
    ]
    fast, full = curves(growth)
    slopes = f"{slope(fast):.2f} (to reach: ≤ 1.1)", f"{slope(full):.2f}"
    print_table(
        ["codes", "incremental, ms per image", "full passes, ms per image"],
        [*rows, ("slope on log-log axes", *slopes)],
    )


def plot_growth(path, growth):
    from matplotlib.figure import Figure

    fast, full = curves(growth)
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for curve, colour, name in (
        (full, "0.5", "a full pass per code"),
        (fast, "C0", "incremental"),
    ):
        label = f"{name} (slope {slope(curve):.2f})"
        axes.loglog(*zip(*curve), "o-", color=colour, label=label)
    axes.set(xlabel="codes per image", ylabel="seconds per image")
    names = ["×".join(map(str, grid)) for grid, _, _ in growth]
    save_growth(figure, axes, [n for n, _ in fast], names, path)


if __name__ == "__main__":
    main()

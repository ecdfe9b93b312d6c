"""How long it takes to draw codes: incrementally, and by full passes.

Prints Markdown tables for a gated prior of the default size (64 channels, 6
layers, 128 codes) with random weights; what is drawn does not matter to the time,
except for the draws that are settled in double precision, which are counted.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --quick
    python benchmarks/sampling.py --plot sampling.png

A full pass per code takes minutes for the larger cases: there the time of one
pass, measured beside each repeat, is multiplied by the number of codes.
"""

import argparse
from math import prod
import os
from pathlib import Path
import platform
from statistics import median
from tempfile import TemporaryDirectory
import time

import numpy as np
import torch

import dipy_vqvae
from dipy_vqvae.nn.gated_pixelcnn import GatedPixelCNN
from dipy_vqvae.nn.plain_pixelcnn import PlainPixelCNN
from dipy_vqvae.pixelcnn_config import to_layout
from dipy_vqvae.sampling import FullPasses, Sampler, sample_codes

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", default=os.cpu_count(), type=int)
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument("--quick", action="store_true", help="one repeat")
    parser.add_argument("--plot", help="file for a picture of the growth")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    n_repeats = 1 if args.quick else args.repeats
    print(f"dipy_vqvae {dipy_vqvae.__version__}, torch {torch.__version__}, ", end="")
    print(f"numpy {np.__version__}, Python {platform.python_version()}; ", end="")
    print(f"{args.threads} threads on {processor()}; median of {n_repeats} repeats.\n")
    print_speed(n_repeats)
    print()
    print_end_to_end(n_repeats)
    print()
    growth = measure_growth(n_repeats)
    print_growth(growth)
    if args.plot:
        plot_growth(args.plot, growth)


def processor():
    """Name of the processor, where the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            names = {
                line.split(":")[1].strip() for line in file if "model name" in line
            }
        return " / ".join(sorted(names))
    except OSError:
        return platform.processor() or platform.machine()


def network(kind, grid_shape):
    torch.manual_seed(0)
    return to_layout(NETWORKS[kind](N_CODES, grid_shape).eval())


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@torch.inference_mode()
def one_pass(net, codes):
    return net(codes, None)


class Case:
    """Times of one network, grid and batch, in seconds."""

    def __init__(self, kind, grid_shape, batch):
        self.net = network(kind, grid_shape)
        self.grid_shape = grid_shape
        self.batch = batch
        self.n_codes = prod(grid_shape)
        self.codes = torch.randint(N_CODES, (batch, *grid_shape))
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
        one = seconds(lambda: one_pass(self.net, self.codes))
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

    def settled(self):
        """Draws per 10,000 that are settled in double precision."""
        sampler = Sampler(self.net, grid_shape=self.grid_shape)
        n = max(1, 10_000 // self.n_codes)
        sampler.draw(0, n)
        return 10_000 * sampler.n_settled / (n * self.n_codes)


def print_speed(n_repeats):
    print(
        "| prior | codes | batch | incremental, s | full passes, s | times faster | "
        "to reach | one pass, s | incremental / one pass | settled per 10,000 |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    cases = [Case(*settings) for *settings, _ in CASES]
    for case in cases:
        case.warm_up()
    # Alternating, so that a slow moment of the machine meets all of them.
    for _ in range(n_repeats):
        for case in cases:
            case.repeat()
    for (kind, grid_shape, batch, target), case in zip(CASES, cases):
        fast, full = case.median("incremental"), case.median("full")
        one = case.median("one pass")
        print(
            f"| {kind} | {'×'.join(map(str, grid_shape))} | {batch} | {fast:.3f} | "
            f"{full:.2f}{'' if case.in_full else ' (one pass × codes)'} | "
            f"{full / fast:.0f} | {'' if target is None else f'≥ {target}'} | "
            f"{one:.4f} | {fast / one:.2f} | {case.settled():.1f} |"
        )


def print_end_to_end(n_repeats, n=1000):
    """Images of the size of MNIST by default models, from their files on."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(512, 28, 28), dtype=np.uint8)
    vqvae = dipy_vqvae.VQVAEModel().fit(images, n_epochs=1)
    prior = dipy_vqvae.PixelCNNModel(vqvae.n_codes)
    prior = prior.fit(vqvae.encode(images), n_epochs=1)
    with TemporaryDirectory() as folder:
        files = Path(folder, "vqvae.safetensors"), Path(folder, "prior.safetensors")
        vqvae.save(files[0])
        prior.save(files[1])
        vqvae = dipy_vqvae.VQVAEFit.load(files[0])
        prior = dipy_vqvae.PixelCNNFit.load(files[1])
    times = {"codes": [], "images": []}
    for i in range(n_repeats):
        start = time.perf_counter()
        codes = prior.sample(n, random_seed=i)
        drawn = time.perf_counter()
        vqvae.decode(codes)
        times["images"].append(time.perf_counter() - drawn)
        times["codes"].append(drawn - start)
    total = median(map(sum, zip(*times.values())))
    print(f"| {n:,} images of 28×28 | s | to reach |")
    print("|---|---|---|")
    print(f"| codes drawn | {median(times['codes']):.2f} | |")
    print(f"| codes decoded | {median(times['images']):.2f} | |")
    print(f"| both | {total:.2f} | ≤ 1.5 |")


def measure_growth(n_repeats):
    """Rows (codes, incremental seconds, full-pass seconds or None) for one image."""
    cases = [Case("gated", grid_shape, 1) for grid_shape in GROWTH]
    for case in cases:
        case.warm_up()
    for _ in range(n_repeats):
        for case in cases:
            case.repeat(full=case.n_codes <= LARGEST_FULL_GRID)
    return [
        (
            case.n_codes,
            case.median("incremental"),
            case.median("full") if case.times["full"] else None,
        )
        for case in cases
    ]


def slope(n_codes, times):
    """Of the line through the points on log-log axes."""
    return np.polyfit(np.log(n_codes), np.log(times), 1)[0]


def print_growth(growth):
    print("| codes | incremental, ms per image | full passes, ms per image |")
    print("|---|---|---|")
    for (height, width), (_, fast, full) in zip(GROWTH, growth):
        full = "" if full is None else f"{1000 * full:.0f}"
        print(f"| {height}×{width} | {1000 * fast:.1f} | {full} |")
    n_codes, fast, full = zip(*growth)
    known = [(n, t) for n, t in zip(n_codes, full) if t is not None]
    print(
        f"| slope on log-log axes | {slope(n_codes, fast):.2f} (to reach: ≤ 1.1) | "
        f"{slope(*zip(*known)):.2f} |"
    )


def plot_growth(path, growth):
    from matplotlib.figure import Figure

    n_codes, fast, full = zip(*growth)
    known = [(n, t) for n, t in zip(n_codes, full) if t is not None]
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for (counts, times), colour, name in (
        (zip(*known), "0.5", "a full pass per code"),
        ((n_codes, fast), "C0", "incremental"),
    ):
        label = f"{name} (slope {slope(counts, times):.2f})"
        axes.loglog(counts, times, "o-", color=colour, label=label)
    axes.set(xlabel="codes per image", ylabel="seconds per image")
    axes.set_xticks(n_codes, [f"{h}×{w}" for h, w in GROWTH], minor=False)
    axes.minorticks_off()
    axes.grid(color="0.9")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()

"""How the cost of a VQ-VAE grows with the size of the images.

Seconds of an epoch of training, of encoding and of decoding, for images that are the
digits of scikit-learn side by side, from 28 x 28 pixels on, with the default network;
and the most memory that each takes beyond what it is given and returns. All but the
memory of a training step, which holds a batch of whole images, should be in proportion
to the number of pixels (slope 1 on log-log axes) or bounded.

    python benchmarks/scaling.py --plot scaling.png
    python benchmarks/scaling.py --threads 1

Times are medians of repeats in turns. The memory is that of a process of its own.
"""

from statistics import median
import subprocess
import sys

from common import begin, make_parser, print_table, resident, save_growth, seconds
import numpy as np

from dipy_vqvae import VQVAEModel
from dipy_vqvae.experiment import load_digits

TILES = (1, 2, 4, 8, 16)
N_IMAGES, BATCH_SIZE = 16, 8
MIB = 2**20


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument("--plot", help="file for a picture of the growth")
    # What the script asks of the processes that it starts.
    parser.add_argument("--memory-of", nargs=2, metavar=("PART", "TILES"))
    args = parser.parse_args()
    if args.memory_of:
        part, n_tiles = args.memory_of
        print(memory_of(part, Case(int(n_tiles), args.cuda)))
        return
    n_repeats = 2 if args.quick else args.repeats
    begin(
        args,
        f"{N_IMAGES} images, batches of {BATCH_SIZE}; medians of {n_repeats} repeats "
        "in turns.",
    )
    cases = [Case(n, args.cuda) for n in (TILES[:2] if args.quick else TILES)]
    for repeat in range(n_repeats + 1):
        for case in cases:
            case.measure(keep=repeat > 0)  # the first time warms up
    print_times(cases, args)
    if args.plot:
        plot(args.plot, cases)


class Case:
    """Images of one size, and what was measured on them."""

    def __init__(self, n_tiles, use_cuda):
        digits = load_digits().train_images
        rng = np.random.default_rng(0)
        rows = rng.integers(len(digits), size=(N_IMAGES, n_tiles, n_tiles))
        tiles = digits[rows].transpose(0, 1, 3, 2, 4)  # (N, rows, 28, columns, 28)
        side = 28 * n_tiles
        self.n_tiles = n_tiles
        self.images = np.ascontiguousarray(tiles.reshape(N_IMAGES, side, side))
        self.model = VQVAEModel(use_cuda=use_cuda)
        self.times = {"training": [], "encoding": [], "decoding": []}

    def fit(self):
        return self.model.fit(self.images, n_epochs=2, batch_size=BATCH_SIZE)

    def measure(self, *, keep):
        fit = self.fit()
        # The first epoch is left out: what comes before it is in it.
        first, second = fit.history.seconds
        codes = fit.encode(self.images)
        taken = {
            "training": second - first,
            "encoding": seconds(lambda: fit.encode(self.images)),
            "decoding": seconds(lambda: fit.decode(codes)),
        }
        if keep:
            for part, value in taken.items():
                self.times[part].append(value)

    @property
    def n_pixels(self):
        return self.images.size

    def median(self, part):
        return median(self.times[part])


def memory_of(part, case):
    """MiB beyond the images and what comes out, in a fresh process."""
    Case(1, False).fit()  # libraries take their buffers
    if part == "training":
        before, _ = resident("VmRSS"), case.fit()
        return (resident("VmHWM") - before) / MIB
    # The peak must not be that of a training: so the network is trained on small
    # images, and used on large ones.
    fit = Case(1, False).fit()
    codes = np.zeros((N_IMAGES, *(n // 4 for n in case.images.shape[1:])), np.int32)
    call = {
        "encoding": lambda: fit.encode(case.images),
        "decoding": lambda: fit.decode(codes),
    }[part]
    before, result = resident("VmRSS"), call()
    return (resident("VmHWM") - before - result.nbytes) / MIB


def memory_in_a_process(part, case):
    command = [sys.executable, __file__, "--memory-of", part, str(case.n_tiles)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return f"{float(done.stdout):.0f}"
    except ValueError:
        print(done.stderr.strip(), file=sys.stderr)
        return None


def slope(cases, part):
    """Of the line through the larger half of the points on log-log axes."""
    larger = cases[len(cases) // 2 :] if len(cases) > 3 else cases
    n_pixels = [case.n_pixels for case in larger]
    times = [case.median(part) for case in larger]
    return np.polyfit(np.log(n_pixels), np.log(times), 1)[0]


def print_times(cases, args):
    parts = list(cases[0].times)
    columns = ["images", *(f"{part}, ns per pixel" for part in parts)]
    columns += [] if args.cuda else [f"{part}, MiB" for part in parts]
    rows = []
    for case in cases:
        side = case.images.shape[1]
        times = (f"{1e9 * case.median(part) / case.n_pixels:.0f}" for part in parts)
        memory = () if args.cuda else (memory_in_a_process(p, case) for p in parts)
        rows.append((f"{N_IMAGES} of {side}×{side}", *times, *memory))
    slopes = (f"{slope(cases, part):.2f}" for part in parts)
    empty = () if args.cuda else (None,) * len(parts)
    rows.append(("slope of seconds, larger half, log-log", *slopes, *empty))
    print_table(columns, rows)


def plot(path, cases):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    n_pixels = [case.n_pixels / N_IMAGES for case in cases]
    for part in cases[0].times:
        label = f"{part} (slope {slope(cases, part):.2f})"
        times = [case.median(part) / N_IMAGES for case in cases]
        axes.loglog(n_pixels, times, "o-", label=label)
    axes.set(xlabel="pixels per image", ylabel="seconds per image")
    names = ["×".join(map(str, case.images.shape[1:])) for case in cases]
    save_growth(figure, axes, n_pixels, names, path)


if __name__ == "__main__":
    main()

"""What the benchmarks share: arguments, versions, tables, medians, images."""

import argparse
from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import platform
import sys
import time

import torch

from dipy_vqvae.experiment import find_data


def make_parser(description):
    """Arguments that all benchmarks have.

    Parameters
    ----------
    description : str
        The module's documentation; its first line is shown by ``--help``.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--threads", type=int, help="threads of torch; by default OMP_NUM_THREADS"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: a look, no measurement"
    )
    parser.add_argument("--cuda", action="store_true", help="run on the GPU")
    return parser


def add_data_arguments(parser):
    """Arguments of the benchmarks that train on images."""
    parser.add_argument("--mnist", help="folder of the MNIST files")
    parser.add_argument(
        "--digits", action="store_true", help="the digits of scikit-learn, not MNIST"
    )
    parser.add_argument("--seed", default=0, type=int)


def load_data(args):
    """Images to train on and to test on; fewer with ``--quick``."""
    data = find_data(mnist_dir=args.mnist, digits=args.digits)
    return data.limited(512, 128) if args.quick else data


def begin(args, note, *, packages=()):
    """Set the threads, and print what was measured on what.

    Parameters
    ----------
    args : argparse.Namespace
        Of :func:`make_parser`.
    note : str
        What the numbers are, such as "median of 5 repeats".
    packages : sequence of str
        Packages to name besides torch and NumPy.

    Returns
    -------
    device : torch.device
    """
    if args.cuda and not torch.cuda.is_available():
        # Not an error: the same line of a script goes to machines of both kinds.
        print("No GPU here: nothing was measured.")
        sys.exit(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    names = ("dipy_vqvae", "torch", "numpy", *packages)
    versions = [f"{name} {package_version(name)}" for name in names]
    versions.append(f"Python {platform.python_version()}")
    device = torch.device("cuda" if args.cuda else "cpu")
    where = f"{torch.get_num_threads()} of {os.cpu_count()} cores, {processor()}"
    if args.cuda:
        where = f"{torch.cuda.get_device_name()}; {where}"
    quick = " A quick look: no measurement." if args.quick else ""
    print(f"{', '.join(versions)}; {where}. {note}{quick}\n", flush=True)
    return device


def package_version(name):
    """Version of a package, "not installed" without it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def processor():
    """Name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = {line.split(":")[1].strip() for line in lines if "model name" in line}
    return " / ".join(sorted(names)) or platform.processor() or platform.machine()


def print_table(columns, rows):
    """A Markdown table; None is an empty cell."""
    print(f"| {' | '.join(columns)} |")
    print(f"|{'---|' * len(columns)}")
    for row in rows:
        cells = ("" if cell is None else str(cell) for cell in row)
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def seconds(function, device=None):
    """Seconds that a call takes, what it started on a GPU included."""
    synchronise(device)
    start = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device):
    """Wait for a GPU; nothing to do on a CPU."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_flops(device, *, size=8192, repeats=20):
    """Most operations per second of bfloat16 matrix products, as measured."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    times = [seconds(lambda: a @ a, device) for _ in range(repeats)]
    return 2 * size**3 / min(times)


def resident(entry):
    """An entry of Linux' table of a process, in bytes; the most is VmHWM."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
    except OSError:
        return float("nan")
    return 1024 * int(lines[entry].split()[0])


def save_growth(figure, axes, sizes, names, path):
    """Save curves over sizes on log-log axes, with the sizes by name."""
    axes.set_xticks(sizes, names, minor=False)
    axes.minorticks_off()
    axes.grid(color="0.9")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    figure.savefig(path, dpi=150)

"""How much two processes of one thread do beside one process of two threads.

Training of a VQ-VAE with the default network on MNIST: images a second in the steps of
an epoch, started as a user would start them. All cases share the same cores.

    python benchmarks/processes.py --mnist FOLDER
    python benchmarks/processes.py --digits --steps 20

Each case is timed in turns; what is shown are medians. Starting, reading and the first
codebook are not counted.
"""

import json
import os
from pkgutil import resolve_name
from statistics import median
import subprocess
import sys
import time
from unittest.mock import patch

from common import add_data_arguments, begin, load_data, make_parser, print_table
import torch

from dipy_vqvae import VQVAEModel, parallel

CASES = (("1 process, 1 thread", 1, 1), ("1 process, 2 threads", 1, 2))
CASES += (("2 processes, 1 thread each", 2, 1),)


def main():
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument("--steps", default=60, type=int, help="that are timed")
    parser.add_argument("--batch-size", default=128, type=int, help="of all processes")
    parser.add_argument("--repeats", default=5, type=int)
    # What the script asks of the processes that it starts.
    parser.add_argument("--worker", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.steps, args.repeats = 3, 1
    if args.worker:
        with parallel.processes():
            work(args)
        return
    begin(
        args,
        f"Medians of {args.repeats} repeats of {args.steps} steps of "
        f"{args.batch_size} images.",
    )
    found = {name: [] for name, *_ in CASES}
    for _ in range(args.repeats):
        for name, n_processes, n_threads in CASES:
            found[name].append(run(args, n_processes, n_threads))
    rates = {name: median(values) for name, values in found.items()}
    alone = rates[CASES[0][0]]
    print_table(
        ("", "images/s", "times the first"),
        [(name, f"{rate:,.0f}", f"{rate / alone:.2f}") for name, rate in rates.items()],
    )


def run(args, n_processes, n_threads):
    """Start a case with torchrun; its images a second."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(n_processes), __file__, *sys.argv[1:]]
    command += ["--worker", "--threads", str(n_threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(n_threads)}
    done = subprocess.run(
        command, env=environment, check=True, text=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout.splitlines()[-1])["images_per_second"]


def work(args):
    """Train for some steps, and print how fast it was."""
    torch.set_num_threads(args.threads)
    images = load_data(args).train_images
    n_warm_up = max(1, args.steps // 5)
    n_steps = n_warm_up + args.steps
    n_images = min(len(images), n_steps * args.batch_size)
    times = note_steps()
    model = VQVAEModel(random_seed=args.seed)
    n_epochs = n_steps * args.batch_size / n_images
    model.fit(images[:n_images], n_epochs=n_epochs, batch_size=args.batch_size)
    if parallel.rank() == 0:
        rate = args.batch_size * (len(times) - n_warm_up - 1)
        rate /= times[-1] - times[n_warm_up]
        print(json.dumps({"images_per_second": rate}), flush=True)


def note_steps():
    """A list that gets the time at the end of each step from now on."""
    times = []
    step = "dipy_vqvae.training.loop._Run._take_step"
    take_step = resolve_name(step)

    def take_and_note(run):
        take_step(run)
        times.append(time.monotonic())

    patch(step, take_and_note).start()
    return times


if __name__ == "__main__":
    main()

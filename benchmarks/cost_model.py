"""What a training on very many volumes costs, on paper, and what bounds it.

Operations and memory follow from the shapes of the networks; the rates of reading and
of training are measured here, on one core; disks, networks and GPUs are assumptions
that can be set. It prints the tables of doc/parallel.md.

    python benchmarks/cost_model.py
    python benchmarks/cost_model.py --downsampling 4 --gpu-tflops 200

The volumes that are read are made up: a smooth head in noise, int16.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

from common import begin, make_parser, print_table
import nibabel as nib
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dipy_vqvae.data import read_image
from dipy_vqvae.nn import GatedPixelCNN, VQVAENet
from dipy_vqvae.training import TrainingOptions, make_optimizer

CODE_DIM, N_CHANNELS, N_CODES, N_BLOCKS = 16, 64, 512, (2, 2)
PATCH = 64
DAY = 86400


@dataclass(frozen=True)
class Costs:
    """What follows from the shapes.

    Attributes
    ----------
    n_parameters : int
        Trained numbers.
    n_state : int
        Numbers in a checkpoint of a training.
    forward, training : float
        Operations for a voxel, without and with the backward pass.
    kept : float
        Bytes kept for the backward pass, for a voxel.
    """

    n_parameters: int
    n_state: int
    forward: float
    training: float
    kept: float


def build(downsampling):
    """The network of the default settings, for volumes."""
    return VQVAENet(
        1,
        N_CODES,
        CODE_DIM,
        factors=(downsampling,) * 3,
        architecture="subpixel",
        n_channels=N_CHANNELS,
        n_blocks=N_BLOCKS,
        codebook="ema",
        commitment=0.05,
        rate_weight=0.0,
        grid_shape=(PATCH // downsampling,) * 3,
    )


def costs_of(net, x):
    """Count the operations of a training step, and what it keeps for its end."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as forward, torch.no_grad():
        net(x)
    with (
        FlopCounterMode(display=False) as training,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        out = net(x)
        (out.reconstruction.square().mean() + out.quantised.loss).backward()
    parameters = list(net.parameters())
    optimizer = make_optimizer(net, parameters, options())
    optimizer.step()
    state = [*net.state_dict().values()]
    state += [t for s in optimizer.state.values() for t in s.values()]
    return Costs(
        n_parameters=sum(p.numel() for p in parameters),
        n_state=sum(tensor.numel() for tensor in state),
        forward=forward.get_total_flops() / x[:, 0].numel(),
        training=training.get_total_flops() / x[:, 0].numel(),
        kept=sum(kept.values()) / x[:, 0].numel(),
    )


def options():
    """Settings of a training, as `VQVAEModel.fit` makes them."""
    return TrainingOptions(
        n_epochs=1, batch_size=1, learning_rate=2e-3, optimizer="muon"
    )


def volume(shape):
    """A smooth head in noise, with air around it."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    head = 600 * np.clip(1.2 - radius, 0, 1) * (1 + 0.2 * np.sin(9 * axes[0]))
    noise = rng.normal(0, 15, shape) * (radius < 1)
    return np.clip(head + noise, 0, None).astype(np.int16)


def reading(shape, repeats):
    """Bytes on disk, and seconds to read a volume, by ending."""
    image = nib.Nifti1Image(volume(shape), np.eye(4))
    found = {}
    with TemporaryDirectory() as folder:
        for ending in (".nii", ".nii.gz"):
            path = Path(folder) / f"volume{ending}"
            image.to_filename(path)
            read_image(path)
            duration = processor_time(lambda p=path: read_image(p), repeats)
            found[ending] = path.stat().st_size, duration
    return found


def training_rate(net, x, costs, repeats):
    """Operations a second of a step on one core, the optimiser's included."""
    optimizer = make_optimizer(net, list(net.parameters()), options())

    def step():
        optimizer.zero_grad(set_to_none=True)
        out = net(x, update=True)
        (out.reconstruction.square().mean() + out.quantised.loss).backward()
        optimizer.step()

    step()
    return costs.training * x[:, 0].numel() / processor_time(step, repeats)


def processor_time(function, repeats):
    """Median time that a call works; what else the core does is not counted."""
    times = []
    for _ in range(repeats):
        start = process_time()
        function()
        times.append(process_time() - start)
    return float(np.median(times))


def prior_operations(grid):
    """Operations of a training step of the default prior, for a code."""
    small = tuple(min(n, 8) for n in grid)
    prior = GatedPixelCNN(N_CODES, small, n_channels=64, n_layers=6)
    codes = torch.zeros((1, *small), dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        prior(codes).mean().backward()
    return counter.get_total_flops() / prod(small)


def amount(value, unit, *, digits=3):
    """A number with a prefix: ``amount(2.5e9, "B")`` is 2.5 GB."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.{digits}g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"


def time(value):
    """Seconds as they are said."""
    for unit, size in (("days", DAY), ("h", 3600), ("min", 60), ("s", 1)):
        if value >= 2 * size:
            return f"{value / size:.3g} {unit}"
    return f"{1e3 * value:.3g} ms"


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--volumes", default=10**6, type=int)
    parser.add_argument("--shape", default=(160, 192, 160), nargs=3, type=int)
    parser.add_argument("--downsampling", default=8, type=int)
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument("--patches", default=32, type=int, help="batch of one process")
    parser.add_argument("--processes", default=8, type=int)
    parser.add_argument("--gpu-tflops", default=20.0, type=float, help="sustained")
    parser.add_argument("--network-gbit", default=10.0, type=float)
    parser.add_argument("--disk-mb", default=1000.0, type=float, help="of all, shared")
    args = parser.parse_args()
    args.threads = args.threads or 1
    begin(args, f"Processor time, median of {args.repeats} repeats.")
    if args.quick:
        args.shape, args.repeats = (32, 32, 32), 1
    net = build(args.downsampling)
    x = torch.rand((1, 1, *[32 if args.quick else PATCH] * 3))
    x = x.contiguous(memory_format=torch.channels_last_3d)
    costs = costs_of(net, x)
    files = reading(args.shape, args.repeats)
    rate = training_rate(net, x, costs, args.repeats)
    print_network(args, net, costs)
    print_measured(args, files, costs, rate)
    print_epoch(args, files, costs, rate)


def print_network(args, net, costs):
    """What a process holds and sends."""
    n_voxels, n_patch = prod(args.shape), PATCH**3
    grid = [-(-n // args.downsampling) for n in args.shape]
    codebook = N_CODES * (CODE_DIM + 1) * 4
    gradients = 4 * costs.n_parameters
    sent = 2 * (args.processes - 1) / args.processes * (gradients + codebook)
    weights = 4 * (costs.n_state + costs.n_parameters)
    rows = [
        ("parameters, float32", amount(gradients, "B")),
        ("weights, gradients and state of the optimiser", amount(weights, "B")),
        ("checkpoint", amount(4 * costs.n_state, "B")),
        (
            f"kept for the backward pass, a {PATCH}³ patch",
            amount(costs.kept * n_patch, "B"),
        ),
        (
            f"… a batch of {args.patches} of them",
            amount(costs.kept * n_patch * args.patches, "B"),
        ),
        ("… a whole volume", amount(costs.kept * n_voxels, "B")),
        (
            f"sent in a step by each of {args.processes} processes",
            amount(sent, "B"),
        ),
        (
            "… of it statistics of the codebook",
            f"{codebook / (gradients + codebook):.1%}",
        ),
        ("operations of training, for a voxel", amount(costs.training, "FLOP")),
        ("… of encoding and decoding", amount(costs.forward, "FLOP")),
        ("codes of a volume", f"{prod(grid):,} ({' × '.join(map(str, grid))})"),
        (
            f"codes of {args.volumes:,} volumes, 2 bytes each",
            amount(2 * prod(grid) * args.volumes, "B"),
        ),
        (
            "operations of training a prior, for a code",
            amount(prior_operations(grid), "FLOP"),
        ),
    ]
    print_table(("downsampling " + str(args.downsampling), "amount"), rows)


def print_measured(args, files, costs, rate):
    """What was measured on one core."""
    raw = prod(args.shape) * 2
    rows = [
        (
            f"reading {ending}, {amount(size, 'B')} on disk",
            time(duration),
            amount(raw / duration, "B/s"),
        )
        for ending, (size, duration) in files.items()
    ]
    duration = costs.training * prod(args.shape) / rate
    rows.append(("training step, for a volume", time(duration), amount(rate, "FLOP/s")))
    print_table(("one core", "time for a volume", "rate"), rows)


def print_epoch(args, files, costs, rate):
    """How long an epoch takes if one thing alone bounds it."""
    n, n_voxels = args.volumes, prod(args.shape)
    n_steps = n * n_voxels / (PATCH**3 * args.patches * args.processes)
    traffic = 2 * (args.processes - 1) / args.processes * 4 * costs.n_parameters
    operations = costs.training * n_voxels * n
    assumed = f"{args.gpu_tflops:g} TFLOP/s sustained by each"
    endings = (".nii.gz", ".nii")
    unpacking = {ending: n * files[ending][1] for ending in endings}
    n_patches = prod(-(-size // PATCH) for size in args.shape)
    rows = [
        (
            "reading from the disk",
            f"{args.disk_mb:g} MB/s for all",
            *(time(n * files[e][0] / (args.disk_mb * 1e6)) for e in endings),
        ),
        (
            "unpacking, whole volumes",
            "measured, one core each",
            *(time(unpacking[e] / args.processes) for e in endings),
        ),
        (
            f"unpacking, {n_patches} patches of a volume",
            "measured, one core each",
            # What is unpacked is kept for a while, by each process; what is mapped
            # is read again for each patch, by the process that has it.
            time(unpacking[".nii.gz"]),
            time(n_patches * unpacking[".nii"] / args.processes),
        ),
        (
            "operations, CPU",
            "measured, one core each",
            *[time(operations / rate / args.processes)] * 2,
        ),
        (
            "operations, GPU",
            assumed,
            *[time(operations / (args.gpu_tflops * 1e12) / args.processes)] * 2,
        ),
        (
            "gradients over the network",
            f"{args.network_gbit:g} Gbit/s, {n_steps:,.0f} steps",
            *[time(n_steps * traffic / (args.network_gbit / 8 * 1e9))] * 2,
        ),
    ]
    columns = (
        f"an epoch of {n:,} volumes, {args.processes} processes",
        "at",
        ".nii.gz",
        ".nii",
    )
    print_table(columns, rows)


if __name__ == "__main__":
    main()

"""Head CT slices: reconstructions beside MONAI's VQ-VAE's after equal time, a prior.

    python benchmarks/headct.py --data headct_slices.nii.gz
    python benchmarks/headct.py --data headct_slices.nii.gz --only ours --only monai-32
    python benchmarks/headct.py --data headct_slices.nii.gz --prior
    python benchmarks/headct.py --data headct_slices.nii.gz --prior --codes ours-short
    python benchmarks/headct.py --data headct_slices.nii.gz --prior --convolutions

Slices of 64x64 pixels become 16x16 codes of K=256, by dipy_vqvae and by MONAI's
`VQVAE` in three sizes, each in a process of its own and for the same wall-clock
time. Results are kept in a folder, so that parts can be run one after the other;
the table shows all that are there. With ``--prior`` a gated PixelCNN learns the
codes of the model of the part "ours" (or ``--codes ours-short``, which has a price on
the length of codes), and 1,000 samples are looked at; with
``--convolutions``, the prior of an earlier version, for comparison: gated layers alone,
no shifted copies, no weight decay.

The file does not say which slices are of the same head: training and test slices
may be of one, for all networks alike.
"""

from dataclasses import asdict, dataclass
import json
from pathlib import Path
import subprocess
import sys
import time

from common import begin, make_parser, print_table
import nibabel as nib
import numpy as np
from scipy import ndimage
from tell_apart import N_EPOCHS, auroc
import torch

import dipy_vqvae as dv
from dipy_vqvae.device import has_fast_bfloat16
from dipy_vqvae.metrics import (
    code_usage,
    mean_absolute_error,
    n_distinct,
    nearest_neighbour_distance,
    psnr,
    ssim,
)
from dipy_vqvae.report import save_mosaic
from dipy_vqvae.vqvae import shifted_codes

N_CODES = 256
N_TRAINING, N_TEST = 7000, 1000
FACTOR = 4
MONAI_CHANNELS = {
    "monai-32": (32, 64),
    "monai-64": (64, 128),
    "monai-128": (128, 256),
}
# After short trainings with settings around these, judged by 500 of the training slices
# that they left out.
MODEL = {
    "code_dim": 6,
    "n_channels": 80,
    "n_blocks": (2, 3),
    "loss": "mae",
    "commitment": 0.25,
    "decay": 0.9,
    "revive_below": 0.1,
    "n_refinements": 2,
    "ssim_weight": 0.3,
}
# The second one pays for the length of its codes.
MODELS = {"ours": MODEL, "ours-short": {**MODEL, "rate_weight": 0.0005}}
PARTS = (*MODELS, *MONAI_CHANNELS)
TRAINING = {"batch_size": 32, "learning_rate": 1e-2, "weight_decay": 0.3}
# The last part of the time is for the decoder alone.
DECODER_SHARE = 0.1
# Of the time, for the first codebook and for the refined codes that the decoder learns
# from, which the limit of a training does not count.
UNCOUNTED = 0.06
N_SAMPLES = 1000


@dataclass(frozen=True)
class PriorSettings:
    """Arguments of a prior and of its training; kinds of shifted copies."""

    model: dict
    training: dict
    n_shifts: int = 0


PRIOR = PriorSettings({}, {"batch_size": 16}, n_shifts=4)
EARLIER_PRIOR = PriorSettings(
    {"n_layers": 6, "n_attention": 0, "dropout": 0.1},
    {"batch_size": 32, "average_decay": 0.999, "weight_decay": 0.0},
)


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--data", required=True, help="NIfTI file of the slices")
    parser.add_argument("--minutes", default=10.0, type=float, help="of each training")
    parser.add_argument("--pilot_seconds", default=45.0, type=float)
    parser.add_argument("--only", action="append", choices=PARTS, help="some parts")
    parser.add_argument("--prior", action="store_true", help="prior and samples")
    parser.add_argument(
        "--convolutions", action="store_true", help="the earlier prior, with --prior"
    )
    parser.add_argument("--codes", default="ours", choices=MODELS, help="with --prior")
    parser.add_argument("--out_dir", default="headct_benchmark", help="for results")
    parser.add_argument("--mosaic", help="PNG of samples, with --prior")
    parser.add_argument("--in_this_process", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.minutes, args.pilot_seconds = 0.2, 3.0
    args.threads = args.threads or 2
    folder = Path(args.out_dir)
    folder.mkdir(exist_ok=True)
    if args.in_this_process:
        torch.set_num_threads(args.threads)
        run_part(args.only[0], args, folder)
        return
    begin(args, f"{args.minutes:g} minutes each.", packages=("monai",))
    if args.prior:
        run_prior(args, folder)
        return
    for name in args.only or PARTS:
        # A process each: none finds a warm cache or a full memory.
        command = [sys.executable, *sys.argv, "--only", name, "--in_this_process"]
        subprocess.run(without_only(command, name), check=True)
    print_results(folder)


def without_only(command, name):
    """The command with `name` as its only part."""
    kept, skip = [], False
    for word in command:
        if word == "--only" or skip or word.startswith("--only="):
            skip = word == "--only"
            continue
        kept.append(word)
    return [*kept, "--only", name]


# Data


@dataclass(frozen=True)
class Slices:
    """uint8 slices ``(N, 64, 64)``, and where in the test slices a head is.

    `inside` is ``(N, 16, 16)``: the codes whose pixels are not all outside.
    """

    training: np.ndarray
    test: np.ndarray
    inside: np.ndarray


def load_slices(path, *, quick=False):
    """Split the slices by a fixed seed."""
    slices = np.moveaxis(np.asarray(nib.load(path).dataobj), 2, 0)
    if len(slices) < N_TRAINING + N_TEST:
        sys.exit(f"{path}: {len(slices)} slices, {N_TRAINING + N_TEST} are needed")
    order = np.random.default_rng(0).permutation(len(slices))
    training = slices[order[:N_TRAINING]]
    test = slices[order[N_TRAINING : N_TRAINING + N_TEST]]
    if quick:
        training, test = training[:500], test[:100]
    return Slices(training, test, positions_inside(test))


def positions_inside(slices):
    """Codes with a pixel of a head: the largest bright object, holes filled.

    Bright is above 40 of 255 (air has about 25). The opening takes away the table
    that the head lies on.
    """
    inside = np.zeros(slices.shape, bool)
    for mask, image in zip(inside, slices):
        labels, n = ndimage.label(ndimage.binary_opening(image > 40))
        if n:
            largest = 1 + np.argmax(np.bincount(labels.ravel())[1:])
            mask[:] = ndimage.binary_fill_holes(labels == largest)
    n, height, width = slices.shape
    blocks = inside.reshape(n, height // FACTOR, FACTOR, width // FACTOR, FACTOR)
    return blocks.any(axis=(2, 4))


# Reconstructions


@dataclass
class Result:
    """One network after its time, measured on the test slices."""

    name: str
    settings: str
    minutes: float
    threads: int
    seconds: float
    n_parameters: int
    n_epochs: float
    mae: float
    ssim: float
    psnr: float
    n_used: int
    perplexity: float
    n_used_inside: int
    perplexity_inside: float


def run_part(name, args, folder):
    """Train one network, measure it and keep the result."""
    slices = load_slices(args.data, quick=args.quick)
    train = train_ours if name in MODELS else train_monai
    settings, taken, net, n_epochs, codes, decoded = train(name, slices, args, folder)
    reference = slices.test / np.float32(255)
    usage = code_usage(codes, N_CODES)
    inside = code_usage(codes, N_CODES, mask=slices.inside)
    result = Result(
        name=name,
        settings=settings,
        minutes=args.minutes,
        threads=torch.get_num_threads(),
        seconds=taken,
        n_parameters=sum(p.numel() for p in net.parameters()),
        n_epochs=n_epochs,
        mae=float(mean_absolute_error(reference, decoded).mean()),
        ssim=float(ssim(reference, decoded, data_range=1.0).mean()),
        psnr=float(psnr(reference, decoded, data_range=1.0).mean()),
        n_used=usage.n_used,
        perplexity=usage.perplexity,
        n_used_inside=inside.n_used,
        perplexity_inside=inside.perplexity,
    )
    (folder / f"{name}.json").write_text(json.dumps(asdict(result), indent=1))


def train_ours(name, slices, args, folder):
    """Train dipy_vqvae's model; it is kept for the prior."""
    mixed = has_fast_bfloat16(torch.device("cpu"))
    model = dv.VQVAEModel(n_codes=N_CODES, mixed_precision=mixed, **MODELS[name])
    # As many epochs as there is time for.
    n_epochs = 1000
    start = time.perf_counter()
    fit = model.fit(
        slices.training,
        n_epochs=n_epochs * (1 - DECODER_SHARE),
        n_decoder_epochs=n_epochs * DECODER_SHARE,
        max_seconds=60 * args.minutes * (1 - UNCOUNTED),
        **TRAINING,
    )
    taken = time.perf_counter() - start
    fit.save(folder / f"{name}.safetensors")
    codes = fit.encode(slices.test)
    settings = f"{MODEL['n_channels']} channels, {'bfloat16' if mixed else 'float32'}"
    if "rate_weight" in MODELS[name]:
        settings += f", rate_weight {MODELS[name]['rate_weight']:g}"
    decoded = fit.decode(codes) / 255
    return settings, taken, fit.net, fit.history.epochs[-1], codes, decoded


def train_monai(name, slices, args, folder):
    """Train MONAI's network, with the best of some learning rates."""
    import monai_vqvae as monai

    channels = MONAI_CHANNELS[name]
    x = monai.to_tensor(slices.training)
    mixed = monai.is_bfloat16_quicker(N_CODES, channels, x)
    pilots = monai.Pilots(N_CODES, channels, x, args.pilot_seconds, mixed)
    rate, decay = pilots.choose()
    net = monai.build(N_CODES, channels, decay)
    training = monai.MonaiTraining(net, x, rate, mixed)
    start = time.perf_counter()
    training.run(60 * args.minutes)
    taken = time.perf_counter() - start
    codes = monai.encode(net, monai.to_tensor(slices.test))
    decoded = monai.decode(net, codes)[:, 0].numpy()
    precision = "bfloat16" if mixed else "float32"
    settings = f"{channels[0]}, {channels[1]} channels, {precision}, rate {rate:g}, "
    settings += f"decay {decay:g}"
    return settings, taken, net, training.n_epochs, codes.numpy(), decoded


def print_results(folder):
    """The table of all parts that have been run."""
    files = [folder / f"{name}.json" for name in PARTS]
    results = [Result(**json.loads(f.read_text())) for f in files if f.exists()]
    rows = []
    for r in results:
        row = [
            "dipy_vqvae" if r.name in MODELS else "MONAI",
            r.settings,
            f"{r.n_parameters / 1e6:.2f}",
            f"{r.seconds:.0f}",
            f"{r.n_epochs:.1f}",
            f"{r.mae:.5f}",
            f"{r.ssim:.4f}",
            f"{r.psnr:.2f}",
            f"{r.n_used} ({r.n_used_inside})",
            f"{r.perplexity:.0f} ({r.perplexity_inside:.0f})",
        ]
        rows.append(row)
    print_table(
        [
            "network",
            "settings",
            "parameters, M",
            "wall time, s",
            "epochs",
            "MAE",
            "SSIM",
            "PSNR, dB",
            "codes used (in the head)",
            "perplexity (in the head)",
        ],
        rows,
    )
    if len({(r.minutes, r.threads) for r in results}) > 1:
        print("Not comparable: not all had the same time and threads.\n")


# Prior


def not_empty(slices):
    """The slices that have more than one value."""
    return slices[np.ptp(slices.reshape(len(slices), -1), axis=1) > 0]


def run_prior(args, folder):
    """Train a prior on the codes, and compare its samples with the slices.

    Slices of one value are left out, as `skip_empty` does for files: all of them have
    the same codes.
    """
    slices = load_slices(args.data, quick=args.quick)
    n_all = len(slices.training)
    slices = Slices(*map(not_empty, (slices.training, slices.test)), inside=None)
    vqvae = dv.VQVAEFit.load(folder / f"{args.codes}.safetensors")
    training, test = vqvae.encode(slices.training), vqvae.encode(slices.test)
    settings = EARLIER_PRIOR if args.convolutions else PRIOR
    # The time for more codes is a part of the time for the prior.
    start = time.perf_counter()
    variants = shifted_codes(vqvae, slices.training, settings.n_shifts)
    mixed = has_fast_bfloat16(torch.device("cpu"))
    model = dv.PixelCNNModel(N_CODES, mixed_precision=mixed, **settings.model)
    prior = model.fit(
        training,
        variants=variants,
        n_epochs=1000,
        max_seconds=60 * args.minutes - (time.perf_counter() - start),
        **settings.training,
    )
    taken = time.perf_counter() - start
    n = 20 if args.quick else N_SAMPLES
    start = time.perf_counter()
    codes = prior.sample(n)
    sampled = time.perf_counter() - start
    samples = vqvae.decode(codes)
    known = {row.tobytes() for row in training}
    nearest = nearest_neighbour_distance(samples, slices.training).distance
    held_out = vqvae.decode(test)
    nearest_test = nearest_neighbour_distance(held_out, slices.training).distance

    def spread(distances):
        rms = distances / (255 * np.sqrt(slices.test[0].size))
        return f"{np.median(rms):.4f}; {rms.min():.4f}"

    areas = auroc(samples, held_out, n_epochs=2 if args.quick else N_EPOCHS)
    bits, training_bits = (
        -prior.log_prob(codes) / np.log(2) for codes in (test, training[: len(test)])
    )
    rows = [
        (
            "training slices (and empty ones, left out)",
            f"{len(training):,} ({n_all - len(training)})",
        ),
        ("training, with the codes of shifted slices, s", f"{taken:.0f}"),
        ("epochs", f"{prior.history.epochs[-1]:.1f}"),
        ("bits per test slice", f"{bits.mean():.0f} of {training[0].size * 8}"),
        ("bits per training slice (the first ones)", f"{training_bits.mean():.0f}"),
        (
            "samples or reconstructed test slices: AUROC of a classifier, 5 folds (each)",
            f"{np.mean(areas):.3f} ({', '.join(f'{area:.3f}' for area in areas)})",
        ),
        (f"{n:,} samples drawn, s", f"{sampled:.1f}"),
        ("distinct samples", f"{100 * n_distinct(codes) / n:.1f} %"),
        (
            "samples with the codes of a training slice",
            sum(row.tobytes() in known for row in codes),
        ),
        (
            "distinct training slices' codes",
            f"{100 * n_distinct(training) / len(training):.1f} %",
        ),
        (
            "test slices with the codes of a training slice",
            sum(row.tobytes() in known for row in test),
        ),
        (
            "sample to nearest training slice, RMS (median; least)",
            spread(nearest),
        ),
        (
            "reconstructed test slice to nearest training slice",
            spread(nearest_test),
        ),
    ]
    print_table([f"prior of {args.codes}", ""], rows)
    if args.mosaic:
        # The first ones drawn, none left out.
        save_mosaic(args.mosaic, samples[:40], n_columns=10, limits=(0, 255))


if __name__ == "__main__":
    main()

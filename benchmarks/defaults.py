"""Which settings of a VQ-VAE suit scans? Held-out subjects of three data sets.

    python benchmarks/defaults.py --data FOLDER
    python benchmarks/defaults.py --data FOLDER --only "code_dim=16" --seconds 120

FOLDER holds ``hippocampus/images`` (MRI volumes around the hippocampus, each in units of
its own), ``headct/headct_slices.nii.gz`` and ``lgg/flair`` (slices of patients with a
glioma). Each row is a training with the defaults but for what is named, for the same
time; the test subjects of other benchmarks are not looked at. Measures are means over the
files: the squared error over the variance, PSNR and SSIM relative to the range.
"""

from dataclasses import dataclass
import json
from pathlib import Path

from common import begin, make_parser, print_table
import numpy as np

import dipy_vqvae as dv
from dipy_vqvae.metrics import psnr, range_inside, sharpness, ssim

# Of the settings that are tried, those of the training; the others are the model's.
OF_TRAINING = ("weight_decay",)
TRIED = (
    "",
    "scaling=range",
    "scaling=volume",
    "code_dim=16",
    "commitment=0.05",
    "decay=0.99",
    "revive_below=0.01",
    "code_dim=16 commitment=0.05 decay=0.99 revive_below=0.01",
    "n_codes=512",
    "loss=mae",
    "loss=mae ssim_weight=0.3",
    "rate_weight=0.001",
    "n_refinements=2",
    "weight_decay=0.3",
)


@dataclass(frozen=True)
class DataSet:
    """Files to train on and files held out, or slices of one file."""

    name: str
    spatial_dims: int
    training: object
    held_out: object


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--seconds", default=60.0, type=float, help="of each training")
    parser.add_argument("--only", action="append", help="some settings")
    parser.add_argument("--sets", action="append", choices=DATA, help="some data sets")
    args = parser.parse_args()
    args.threads = args.threads or 1
    if args.quick:
        args.seconds = 2.0
    begin(args, f"{args.seconds:g} s of training each.")
    rows = []
    folder = Path(args.data)
    sets = [load(folder) for name, load in DATA.items() if name in (args.sets or DATA)]
    for changes in TRIED if args.only is None else args.only:
        row = [changes or "defaults"]
        for data in sets:
            row += measure(data, parse(changes), args.seconds)
        rows.append(row)
        print(row, flush=True)
    columns = (
        "error",
        "PSNR, dB",
        "SSIM",
        "sharpness",
        "codes used",
        "perplexity",
        "steps",
    )
    header = [f"{data.name}: {column}" for data in sets for column in columns]
    print_table(["settings", *header], rows)


def hippocampus(folder):
    """MRI volumes of 144 subjects, and of 16 others."""
    volumes = shuffled(sorted((folder / "hippocampus" / "images").glob("*.nii*")))[:160]
    return DataSet("hippocampus", 3, *map(opened(3), (volumes[16:], volumes[:16])))


def head_ct(folder):
    """Slices that headct.py trains on."""
    stack = dv.open_images([folder / "headct" / "headct_slices.nii.gz"]).read(0)
    slices = stack[np.random.default_rng(0).permutation(len(stack))[:7000]]
    slices = slices[np.ptp(slices.reshape(len(slices), -1), axis=1) > 0]
    return DataSet("head CT", 2, slices[:-500], slices[-500:])


def flair(folder):
    """Slices of 45 patients, and of 10 others."""
    patients = shuffled(sorted((folder / "lgg" / "flair").glob("*.nii*"))[:55])
    return DataSet("FLAIR", 2, *map(opened(2), (patients[10:], patients[:10])))


DATA = {"hippocampus": hippocampus, "head CT": head_ct, "FLAIR": flair}


def opened(spatial_dims):
    """Return what opens files without their empty slices."""
    return lambda paths: dv.open_images(
        paths, spatial_dims=spatial_dims, skip_empty=spatial_dims == 2
    )


def shuffled(paths):
    """The paths in an order by a fixed seed."""
    return [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]


def parse(changes):
    """Settings of a row such as ``"code_dim=6 loss=mae"``."""
    pairs = [pair.split("=") for pair in changes.split()]
    values = {}
    for name, text in pairs:
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    return values


def measure(data, settings, seconds):
    """Train, and measure the reconstructions of the images that were held out."""
    training = {k: v for k, v in settings.items() if k in OF_TRAINING}
    model = {k: v for k, v in settings.items() if k not in OF_TRAINING}
    model["spatial_dims"] = data.spatial_dims
    fit = dv.VQVAEModel(**model).fit(
        data.training, n_epochs=1000, max_seconds=seconds, **training
    )
    images = data.held_out
    stacks = [images] if isinstance(images, np.ndarray) else list(each(images))
    errors = np.mean([errors_of(fit, stack, data.spatial_dims) for stack in stacks], 0)
    usage = fit.usage(images)
    return [
        f"{errors[0]:.4f}",
        f"{errors[1]:.2f}",
        f"{errors[2]:.4f}",
        f"{errors[3]:.2f}",
        f"{usage.n_used}",
        f"{usage.perplexity:.0f}",
        f"{fit.history.n_steps:,}",
    ]


def each(collection):
    """The images of each file."""
    for index in range(len(collection.files)):
        images = collection.read(index)
        if collection.skip_empty:
            images = images[np.ptp(images.reshape(len(images), -1), axis=1) > 0]
        yield images


def errors_of(fit, images, spatial_dims):
    """Squared error over the variance, PSNR, SSIM and sharpness of a file's images."""
    restored = fit.predict(images)
    data_range = range_inside(images)
    relative = np.square(restored - images, dtype=np.float64).mean() / images.var()
    options = {"data_range": data_range}
    return (
        relative,
        psnr(images, restored, **options).mean(),
        ssim(images, restored, spatial_dims=spatial_dims, **options).mean(),
        sharpness(images, restored, spatial_dims=spatial_dims),
    )


if __name__ == "__main__":
    main()

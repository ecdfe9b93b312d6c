"""Samples for a slice position: is the slice that was asked for the one that is drawn?

    python benchmarks/conditions.py --data FOLDER_OF_IMAGES

Trains a 2D model and a prior with the covariate ``slice_position`` on the slices of 160
subjects (hippocampus MRI, every one of another shape), through the commands as a user
would. A regressor of positions (a small convolutional network) is trained on slices of
the same subjects, and looked at on slices of 39 other subjects, on their reconstructions,
and on samples for random positions. The correlation of asked and found positions is
printed for each, and for samples of a prior without the condition.
"""

from contextlib import suppress
import os
from pathlib import Path
from tempfile import TemporaryDirectory
import time

from common import begin, make_parser, print_table
from hippocampus import split_files
import nibabel as nib
import numpy as np
import torch
from torch import nn

import dipy_vqvae as dv
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.sample import SampleVQVAEFlow

SLICE_AXIS = 1
MODEL = {
    "n_codes": 256,
    "code_dim": 8,
    "scaling": "volume",
    "n_channels": 48,
    "slice_axis": SLICE_AXIS,
    "skip_empty": True,
}
N_SAMPLES = 1000
# Slices are padded or cut to it for the regressor.
SHAPE = (40, 40)


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of NIfTI volumes")
    parser.add_argument("--minutes", default=3.0, type=float, help="of each training")
    args = parser.parse_args()
    if args.quick:
        args.minutes = 0.1
    begin(args, f"{args.minutes:g} minutes for each training.", packages=("nibabel",))
    training, test = split_files(args.data)
    if args.quick:
        training, test = training[:12], test[:6]
    start = time.perf_counter()
    regressor = fit_regressor(*slices_of(training), n_epochs=1 if args.quick else 12)
    rows = []
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        train(folder, training, args)
        fit = dv.VQVAEFit.load(folder / "vqvae.safetensors")
        images, positions = slices_of(test)
        rows.append(row("slices of other subjects", regressor, images, positions))
        restored = fit.predict(dv.open_images(test, slice_axis=SLICE_AXIS))
        restored = to_shape([image for stack in restored for image in stack])
        rows.append(row("their reconstructions", regressor, restored, positions))
        for name, title in (("with", "samples for a position"), ("without", "samples")):
            drawn, asked = sample(folder, name, args)
            rows.append(row(title, regressor, drawn, asked))
    print_table(("", "correlation", "mean absolute error", "images"), rows)
    print(f"{time.perf_counter() - start:.0f} s in all")


def slices_of(paths):
    """Return slices (N, *SHAPE) and their positions (N,) in [0, 1]."""
    images, positions = [], []
    for path in paths:
        collection = dv.open_images([path], slice_axis=SLICE_AXIS)
        stack = collection.read(0)
        images += list(stack)
        positions += np.linspace(0, 1, len(stack)).tolist()
    return to_shape(images), np.array(positions)


def to_shape(images):
    """Pad or cut slices to one shape, each scaled by its own mean."""
    result = np.zeros((len(images), *SHAPE), np.float32)
    for out, image in zip(result, images):
        part = image[: SHAPE[0], : SHAPE[1]].astype(np.float32)
        out[: part.shape[0], : part.shape[1]] = part / max(part.mean(), 1e-6)
    return result


def fit_regressor(images, positions, *, n_epochs):
    """Train a small network to find the position of a slice."""
    torch.manual_seed(0)
    layers, channels = [], 1
    for width in (16, 32, 64):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
        channels = width
    net = nn.Sequential(
        *layers, nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.Linear(64, 1)
    )
    x, y = torch.from_numpy(images)[:, None], torch.from_numpy(positions).float()
    net(x[:2])
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(n_epochs):
        for part in torch.randperm(len(x)).split(64):
            loss = (net(x[part])[:, 0] - y[part]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


def row(name, regressor, images, positions):
    """Return a line of the table: how well positions are found."""
    with torch.no_grad():
        x = torch.from_numpy(images)[:, None]
        found = torch.cat([regressor(part)[:, 0] for part in x.split(500)]).numpy()
    correlation = np.corrcoef(found, positions)[0, 1]
    error = np.abs(found - positions).mean()
    return name, f"{correlation:.3f}", f"{error:.3f}", f"{len(images):,}"


def train(folder, paths, args):
    """Fit the VQ-VAE and two priors, with and without the position."""
    paths = list(map(str, paths))
    common = {
        "n_epochs": 200.0,
        "max_minutes": args.minutes,
        "out_dir": str(folder),
        "use_cuda": args.cuda,
    }
    FitVQVAEFlow().run(paths, **MODEL, **common, out_report=None, out_history=None)
    for name, condition in (("with", ["slice_position"]), ("without", None)):
        FitPixelCNNFlow().run(
            str(folder / "vqvae.safetensors"),
            paths,
            condition=condition,
            dropout=0.1,
            **common,
            out_pixelcnn=f"{name}.safetensors",
            out_history=None,
            out_report=None,
        )


def sample(folder, name, args):
    """Draw samples with the command; return them and the positions asked for."""
    n = 50 if args.quick else N_SAMPLES
    asked = np.random.default_rng(1).random(n)
    condition = None
    if name == "with":
        condition = [f"slice_position={','.join(map(str, asked))}"]
    with suppress(FileNotFoundError):
        os.remove(folder / "samples.nii")
    SampleVQVAEFlow().run(
        str(folder / "vqvae.safetensors"),
        str(folder / f"{name}.safetensors"),
        condition=condition,
        n_samples=n,
        out_dir=str(folder),
        out_samples="samples.nii",
        out_mosaic=None,
    )
    drawn = np.asarray(nib.load(folder / "samples.nii").dataobj)
    return to_shape(list(np.moveaxis(drawn, 2, 0))), asked


if __name__ == "__main__":
    main()

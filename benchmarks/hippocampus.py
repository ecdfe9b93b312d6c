"""Hippocampus MRI volumes: one code to 2x2x2 voxels beside cubic upsampling.

    python benchmarks/hippocampus.py --data FOLDER_OF_IMAGES

Trains a 3D model on the files of 160 subjects as they are (every one of another
shape, uint8 and float32, ranges from hundreds to hundreds of thousands), writes a
reconstruction of each of 39 other subjects as NIfTI and checks that it has its
image's shape, affine and units.

What it is compared with keeps as many numbers as there are codes, one to 2x2x2
voxels, and makes the image from them by cubic splines: the means of the voxels, or
the numbers with which cubic upsampling does best in the sense of least squares.
These are real numbers, in which far more can be kept than in the 10 bits of a code.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
import json
from pathlib import Path
import sys
from tempfile import TemporaryDirectory
import time

from common import begin, make_parser, print_table
import nibabel as nib
import numpy as np
from scipy import ndimage

import dipy_vqvae as dv
from dipy_vqvae.metrics import code_usage, psnr, ssim

N_TRAINING = 160
FACTOR = 2
MODEL = {
    "n_codes": 1024,
    "code_dim": 8,
    "spatial_dims": 3,
    "downsampling": FACTOR,
    "n_channels": 48,
    "n_blocks": (1, 3),
    "scaling": "volume",
    "revive_below": 0.1,
}
TRAINING = {"batch_size": 1, "learning_rate": 1e-2}
# As in headct.py.
DECODER_SHARE = 0.1
UNCOUNTED = 0.05


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of NIfTI volumes")
    parser.add_argument("--minutes", default=5.0, type=float, help="of training")
    parser.add_argument("--results", help="JSON file for the numbers")
    args = parser.parse_args()
    args.threads = args.threads or 2
    if args.quick:
        args.minutes = 0.3
    begin(args, f"{args.minutes:g} minutes of training.", packages=("scipy", "nibabel"))
    training, test = split_files(args.data)
    if args.quick:
        training, test = training[:8], test[:4]
    start = time.perf_counter()
    fit = train(training, args.minutes)
    taken = time.perf_counter() - start
    with TemporaryDirectory() as folder:
        subjects = [measure(fit, path, Path(folder)) for path in test]
    print_results(fit, subjects, taken)
    if args.results:
        rows = [asdict(subject) for subject in subjects]
        for row in rows:
            del row["codes"]
        Path(args.results).write_text(json.dumps(rows, indent=1))


def split_files(folder):
    """Training and test files, by a fixed seed; a file is a subject."""
    paths = sorted(Path(folder).glob("*.nii*"))
    if len(paths) <= N_TRAINING:
        sys.exit(f"{folder}: {len(paths)} files, more than {N_TRAINING} are needed")
    order = np.random.default_rng(0).permutation(len(paths))
    paths = [paths[i] for i in order]
    return paths[:N_TRAINING], paths[N_TRAINING:]


def train(paths, minutes):
    """Fit the model to files for about `minutes`."""
    n_epochs = 100
    return dv.VQVAEModel(**MODEL).fit(
        dv.open_images(paths, spatial_dims=3),
        n_epochs=n_epochs * (1 - DECODER_SHARE),
        n_decoder_epochs=n_epochs * DECODER_SHARE,
        max_seconds=60 * minutes * (1 - UNCOUNTED),
        **TRAINING,
    )


@dataclass
class Subject:
    """How well one volume comes back.

    PSNR (dB) and SSIM by method, in units of the volume's range from its lowest to
    its highest intensity.
    """

    name: str
    shape: tuple
    psnr: dict
    ssim: dict
    same_shape: bool
    same_affine: bool
    same_units: bool
    codes: np.ndarray


def measure(fit, path, folder):
    """Reconstruct one file to a file, and compare the two."""
    collection = dv.open_images([path], spatial_dims=3)
    image = collection.read(0)
    codes = fit.encode(image)
    volume = collection.put_back(0, fit.predict(image))
    out = folder / path.name
    affine = collection.files[0].affine
    nib.save(nib.Nifti1Image(volume, affine), out)

    original, restored = nib.load(path), nib.load(out)
    x = np.asarray(original.dataobj, dtype=np.float64)
    y = np.asarray(restored.dataobj, dtype=np.float64)
    images = {"dipy_vqvae": y}
    for name in DOWNSAMPLING:
        images[name] = down_and_up(x, name)
    # Slope and intercept of what came out on what went in.
    slope, intercept = np.polyfit(x.ravel(), y.ravel(), 1)
    data_range = np.ptp(x)
    how = {"data_range": data_range}
    return Subject(
        name=path.name,
        shape=x.shape,
        psnr={k: float(psnr(x[None], v[None], **how)[0]) for k, v in images.items()},
        ssim={
            k: float(ssim(x[None], v[None], spatial_dims=3, **how)[0])
            for k, v in images.items()
        },
        same_shape=x.shape == y.shape,
        same_affine=bool((original.affine == restored.affine).all()),
        same_units=bool(abs(slope - 1) < 0.1 and abs(intercept) < 0.05 * data_range),
        codes=codes,
    )


# Cubic upsampling. All of it is linear and separable: a matrix for each axis.


@lru_cache
def upsampling(n):
    """Cubic splines from ceil(n / 2) numbers to n, a matrix."""
    small = -(-n // FACTOR)
    matrix = ndimage.zoom(
        np.eye(small), (FACTOR, 1), order=3, mode="reflect", grid_mode=True
    )
    return matrix[:n]


def block_means(n):
    """Means of each two of n numbers, a matrix."""
    matrix = np.zeros((-(-n // FACTOR), n))
    matrix[np.arange(n) // FACTOR, np.arange(n)] = 1
    return matrix / matrix.sum(axis=1, keepdims=True)


DOWNSAMPLING = {
    "block means, cubic": block_means,
    "least squares, cubic": lambda n: np.linalg.pinv(upsampling(n)),
}


def down_and_up(volume, name):
    """What is left of a volume after downsampling and cubic upsampling."""
    for axis, n in enumerate(volume.shape):
        matrix = upsampling(n) @ DOWNSAMPLING[name](n)
        volume = np.moveaxis(np.tensordot(matrix, volume, (1, axis)), 0, axis)
    return volume


def print_results(fit, subjects, taken):
    rows = []
    for name in subjects[0].psnr:
        gain = [s.psnr["dipy_vqvae"] - s.psnr[name] for s in subjects]
        better = sum(
            s.psnr["dipy_vqvae"] > s.psnr[name] and s.ssim["dipy_vqvae"] > s.ssim[name]
            for s in subjects
        )
        ours = name == "dipy_vqvae"
        row = [
            name,
            f"{np.mean([s.psnr[name] for s in subjects]):.2f}",
            f"{np.mean([s.ssim[name] for s in subjects]):.4f}",
            None if ours else f"{np.mean(gain):+.2f} (least {np.min(gain):+.2f})",
            None if ours else f"{better} of {len(subjects)}",
        ]
        rows.append(row)
    print_table(
        [
            "method",
            "PSNR, dB",
            "SSIM",
            "gain of dipy_vqvae, dB",
            "subjects in which dipy_vqvae is better in both",
        ],
        rows,
    )
    usage = code_usage(np.concatenate([s.codes.ravel() for s in subjects]), fit.n_codes)
    n = len(subjects)
    print_table(
        ["model", ""],
        [
            ("training, s", f"{taken:.0f}"),
            ("epochs", f"{fit.history.epochs[-1]:.1f}"),
            ("parameters", f"{sum(p.numel() for p in fit.net.parameters()):,}"),
            ("codes used", f"{usage.n_used} of {fit.n_codes}"),
            ("perplexity", f"{usage.perplexity:.0f}"),
            ("shapes of the test subjects", len({s.shape for s in subjects})),
            (
                "outputs with their input's shape",
                f"{sum(s.same_shape for s in subjects)} of {n}",
            ),
            ("... affine", f"{sum(s.same_affine for s in subjects)} of {n}"),
            ("... units", f"{sum(s.same_units for s in subjects)} of {n}"),
        ],
    )


if __name__ == "__main__":
    main()

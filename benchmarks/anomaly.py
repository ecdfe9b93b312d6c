"""What in a scan is unlike healthy ones: does the detector find gliomas, at which rates?

    python benchmarks/anomaly.py --data FOLDER --contrast flair
    python benchmarks/anomaly.py --data FOLDER --contrast t1

FOLDER holds ``flair``, ``t1`` and ``labels`` of patients with a lower-grade glioma, a file
each. The models see slices without tumour of the first 45 patients, the next 10 calibrate,
the last 15 are the test; with ``--split dev`` the first 35, the next 10 and the next 10.
Only the inner head counts: the bright object of a slice, without 18 mm of rim. Measures
are of voxels of the test patients there: average precision, Dice at the threshold that 1 %
of the voxels of healthy slices reach in the calibration, realised rates on slices without
tumour, and how well slices with tumour are told from those without, compared within eighths
of the head's height only (where a slice is says much of whether it has a tumour).
"""

from dataclasses import dataclass
from pathlib import Path
import time

from common import begin, make_parser, print_table
import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.stats import binom
from sklearn.metrics import average_precision_score, roc_auc_score
import torch

import dipy_vqvae as dv
from dipy_vqvae.data import slice_positions
from dipy_vqvae.device import has_fast_bfloat16

SPLITS = {"dev": (35, 10, 10), "test": (45, 10, 15)}
TAILS = {"flair": "bright", "t1": "dark"}
SCORES = {
    "flair": ("intensity", "texture", "residual", "surprisal", "both", "all"),
    "t1": (
        "intensity",
        "texture",
        "residual",
        "surprisal",
        "both",
        "all",
        "intensity=1,texture=2,surprisal=0.5",
    ),
}
RIM_MM, VOXEL_MM = 18.0, 1.8
# Slices with less of the inner head do not count.
FEWEST_VOXELS = 200
VQVAE = {"n_codes": 128, "code_dim": 6, "downsampling": 8, "scaling": "volume"}
# Thousands of slices of few patients: a small network, with much dropout.
PRIOR = {"both_directions": True, "n_channels": 32, "n_attention": 1, "dropout": 0.3}
SHIFTS = ((0, 3), (3, 0), (-3, 0), (0, -3))
FALSE_ALARMS = 0.1


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the patients")
    parser.add_argument("--contrast", default="flair", choices=TAILS)
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--minutes", default=12.0, type=float, help="of each training")
    parser.add_argument("--models", help="folder of the models; made if missing")
    parser.add_argument("--seed", default=0, type=int)
    args = parser.parse_args()
    patients = read_patients(Path(args.data), args.contrast)
    training, calibration, test = split(patients, SPLITS[args.split], args.quick)
    begin(
        args,
        f"{args.contrast}, {len(training)} patients to train on, {len(calibration)} to "
        f"calibrate, {len(test)} to test; seed {args.seed}.",
        packages=("nibabel", "scipy"),
    )
    start = time.perf_counter()
    vqvae, prior = models(args, training)
    print(f"Models: {time.perf_counter() - start:.0f} s\n", flush=True)
    tail = TAILS[args.contrast]
    rows = [row("simple", simple_maps(calibration, test, tail))]
    start = time.perf_counter()
    for score in SCORES[args.contrast]:
        model = dv.AnomalyModel(
            vqvae, prior, score=score, tail=tail, random_seed=args.seed
        )
        rows.append(row(score, detector_maps(model, calibration, test)))
        if score == "intensity":
            taken = (time.perf_counter() - start) / (len(calibration) + 2 * len(test))
    print_table(
        (
            "maps",
            "AP",
            "Dice at 1 %",
            "voxels found in healthy slices at 1 %",
            "… at 5 %",
            "slices, stratified AUROC",
            f"healthy subjects with any voxel at {FALSE_ALARMS:.0%} (95 % interval)",
        ),
        rows,
    )
    print(f"{taken:.1f} s for a subject, with 16 restorations.")


@dataclass(frozen=True, eq=False)
class Patient:
    """Slices (n, H, W), the part that counts, and where the tumour is."""

    images: np.ndarray
    inside: np.ndarray
    tumour: np.ndarray

    @property
    def healthy(self):
        """The part that counts of slices without tumour."""
        return self.inside & ~self.tumour.any((1, 2))[:, None, None]

    def mirrored(self):
        """The patient with left and right exchanged."""
        return Patient(
            *(x[:, :, ::-1] for x in (self.images, self.inside, self.tumour))
        )


def read_patients(folder, contrast):
    """Read the patients who have a contrast, in the order of all patients."""
    names = sorted(path.name for path in (folder / "flair").glob("*.nii.gz"))
    found = {}
    for number, name in enumerate(names):
        path = folder / contrast / name
        if path.exists():
            images, labels = (
                np.moveaxis(np.asarray(nib.load(p).dataobj), 2, 0)
                for p in (path, folder / "labels" / name)
            )
            found[number] = Patient(images, inner_head(images), labels > 0)
    return found


def inner_head(images):
    """Return the bright object of each slice without its rim."""
    inside = np.zeros(images.shape, bool)
    smooth = ndimage.gaussian_filter(images.astype(float), (0, 1, 1))
    for chosen, image in zip(inside, smooth > 0.1 * np.percentile(images, 99)):
        parts, n = ndimage.label(image)
        if n:
            largest = 1 + np.argmax(np.bincount(parts.ravel())[1:])
            head = np.pad(ndimage.binary_fill_holes(parts == largest), 1)
            depth = VOXEL_MM * ndimage.distance_transform_edt(head)[1:-1, 1:-1]
            chosen[:] = depth > RIM_MM
    return inside & (inside.sum((1, 2)) > FEWEST_VOXELS)[:, None, None]


def split(patients, sizes, quick):
    """Divide the patients by their number among all of them."""
    ends = np.cumsum(sizes)
    parts = [
        [p for number, p in patients.items() if end - size <= number < end]
        for size, end in zip(sizes, ends)
    ]
    # Nine healthy subjects can tell the rate of one in ten.
    return [part[:9] for part in parts] if quick else parts


def models(args, training):
    """Train a VQ-VAE and a prior on slices without tumour, or read them."""
    folder = Path(args.models) if args.models else None
    if folder and (folder / "pixelcnn.safetensors").exists():
        return (
            dv.VQVAEFit.load(folder / "vqvae.safetensors"),
            dv.PixelCNNFit.load(folder / "pixelcnn.safetensors"),
        )
    training = training + [patient.mirrored() for patient in training]
    images = [patient.images for patient in training]
    masks = [patient.healthy for patient in training]
    options = {
        "n_epochs": 1 if args.quick else 1000,
        "max_seconds": 60 * args.minutes,
        "batch_size": 32,
        "weight_decay": 0.3,
    }
    common = {
        "mixed_precision": args.cuda or has_fast_bfloat16(torch.device("cpu")),
        "use_cuda": args.cuda,
        "random_seed": args.seed,
    }
    vqvae = dv.VQVAEModel(**VQVAE, **common).fit(images, mask=masks, **options)
    encoded = [
        np.concatenate(vqvae.encode(images, mask=masks, shift=shift))
        for shift in (None, *SHIFTS)
    ]
    positions = [slice_positions(len(p.images), 1, p.inside) for p in training]
    prior = dv.PixelCNNModel(vqvae.n_codes, **PRIOR, **common).fit(
        encoded[0],
        variants=encoded[1:],
        mask=np.concatenate([vqvae.positions_inside(mask) for mask in masks]),
        covariates={"slice_position": np.concatenate(positions)},
        **options,
    )
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        vqvae.save(folder / "vqvae.safetensors")
        prior.save(folder / "pixelcnn.safetensors")
    return vqvae, prior


@dataclass(frozen=True, eq=False)
class Found:
    """Maps of patients, of all and of slices without tumour; thresholds by rate.

    `any_voxel` tells for each patient whether any voxel of a slice without tumour is above
    the threshold of a family-wise rate.
    """

    patients: list
    maps: list
    thresholds: dict
    any_voxel: list | None


def simple_maps(calibration, test, tail):
    """Smoothed intensities in robust standard deviations of the slice."""
    sign = 1 if tail == "bright" else -1
    maps = [[sign * robust_z(p) for p in part] for part in (calibration, test)]
    healthy = np.concatenate([z[p.healthy] for z, p in zip(maps[0], calibration)])
    thresholds = {rate: np.quantile(healthy, 1 - rate) for rate in (0.01, 0.05)}
    return Found(test, maps[1], thresholds, None)


def robust_z(patient, sigma=1.5):
    """Smooth each slice, and standardise by median and absolute deviation inside."""
    z = np.zeros(patient.images.shape)
    for result, image, inside in zip(z, patient.images, patient.inside):
        if inside.any():
            smooth = ndimage.gaussian_filter(image.astype(float), sigma)
            centred = smooth - np.median(smooth[inside])
            result[:] = centred / (1.4826 * np.median(np.abs(centred[inside])))
    return z


def detector_maps(model, calibration, test):
    """Maps of a detector that is calibrated on slices without tumour."""
    fit = model.fit(
        [patient.images for patient in calibration],
        mask=[patient.healthy for patient in calibration],
    )
    images = [patient.images for patient in test]
    scored = [
        [s.size for s in fit.scored(images, mask=masks)]
        for masks in ([p.inside for p in test], [p.healthy for p in test])
    ]
    family = fit.null.family_threshold(FALSE_ALARMS)
    any_voxel = [
        (size > family)[p.healthy].any()
        for size, p in zip(scored[1], test)
        if p.healthy.any()
    ]
    thresholds = {rate: fit.null.rate_threshold(rate) for rate in (0.01, 0.05)}
    return Found(test, scored[0], thresholds, any_voxel)


def row(name, found):
    """Return the measures of maps as a row."""
    pairs = list(zip(found.maps, found.patients))
    values = np.concatenate([z[p.inside] for z, p in pairs])
    tumour = np.concatenate([p.tumour[p.inside] for _, p in pairs])
    healthy = [z[p.healthy] for z, p in pairs if p.healthy.any()]
    chosen = values > found.thresholds[0.01]
    dice = 2 * (chosen & tumour).sum() / (chosen.sum() + tumour.sum())
    rates = [
        np.mean([(own > found.thresholds[rate]).mean() for own in healthy])
        for rate in (0.01, 0.05)
    ]
    return (
        name,
        f"{average_precision_score(tumour, values):.3f}",
        f"{dice:.3f}",
        *(f"{rate:.4f}" for rate in rates),
        f"{slices_told_apart(pairs):.3f}",
        in_words(found.any_voxel),
    )


def slices_told_apart(pairs, n_heights=8):
    """Return the AUROC of slices with tumour, of pairs at the same height only."""
    scores, tumour, heights = [], [], []
    for z, patient in pairs:
        some = patient.inside.any((1, 2))
        for own, inside in zip(z[some], patient.inside[some]):
            scores.append(np.sort(own[inside])[-40:].mean())
        tumour.append(patient.tumour[some].any((1, 2)))
        heights.append(slice_positions(len(z), 1, patient.inside)[some])
    scores, tumour = np.array(scores), np.concatenate(tumour)
    bins = np.minimum(np.concatenate(heights) * n_heights, n_heights - 1).astype(int)
    total = weight = 0
    for height in range(n_heights):
        own = bins == height
        n_pairs = tumour[own].sum() * (~tumour[own]).sum()
        if n_pairs:
            total += n_pairs * roc_auc_score(tumour[own], scores[own])
            weight += n_pairs
    return total / weight


def in_words(any_voxel):
    """Say how many subjects have any voxel, and how many may at the nominal rate."""
    if any_voxel is None:
        return None
    n = len(any_voxel)
    low, high = binom.interval(0.95, n, FALSE_ALARMS)
    return f"{sum(any_voxel)} of {n} ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    main()

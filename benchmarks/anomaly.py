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
from dipy_vqvae.anomaly import MapMaker, SubjectImages, calibrated
from dipy_vqvae.data import slice_positions
from dipy_vqvae.device import has_fast_bfloat16

SPLITS = {"dev": (35, 10, 10), "test": (45, 10, 15)}


@dataclass(frozen=True)
class Contrast:
    """How a contrast shows a glioma, and what was chosen for it on the first 55 patients."""

    tail: str
    smoothing: float
    scores: tuple


MAPS = ("intensity", "texture", "residual", "surprisal", "both", "all")
CONTRASTS = {
    "flair": Contrast("bright", 3.0, MAPS),
    "t1": Contrast("dark", 4.0, (*MAPS, "intensity=1,texture=2,surprisal=0.5")),
}
RIM_MM, VOXEL_MM = 18.0, 1.8
# Slices with less of the inner head do not count.
FEWEST_VOXELS = 200
VQVAE = {"n_codes": 128, "code_dim": 6, "downsampling": 8, "scaling": "volume"}
# Thousands of slices of few patients: a small network, with much dropout.
PRIOR = {"both_directions": True, "n_channels": 32, "n_attention": 1, "dropout": 0.3}
SHIFTS = ((0, 3), (3, 0), (-3, 0), (0, -3))
RESTORATIONS = 16
RATES = (0.01, 0.05)
FALSE_ALARMS = 0.1
ANY_VOXEL = f"healthy subjects with any voxel at {FALSE_ALARMS:.0%}"


def main():
    args = arguments()
    contrast = CONTRASTS[args.contrast]
    patients = read_patients(Path(args.data), args.contrast)
    training, calibration, test = split(patients, SPLITS[args.split], args.quick)
    begin(
        args,
        f"{args.contrast}, {len(training)} patients to train on, {len(calibration)} to "
        f"calibrate, {len(test)} to test; median (least to most) of {len(args.seeds)} "
        f"seed{'s' * (len(args.seeds) > 1)}.",
        packages=("nibabel", "scipy"),
    )
    simple = measure(simple_maps(calibration, test, contrast.tail))
    measured = {"simple": [simple]}
    times = []
    for seed in args.seeds:
        start = time.perf_counter()
        maker = make_maker(args, *models(args, seed, training), seed)
        print(f"Models of seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        made = Made.of(maker, calibration, test)
        times += made.seconds
        for score in contrast.scores:
            found = detector_maps(made, test, score, contrast.tail)
            measured.setdefault(score, []).append(measure(found))
            if score == "all" and args.picture and seed == args.seeds[0]:
                draw(args.picture, found, args.contrast)
    print()
    print_measures(measured, len(test))
    print(
        f"{max(times):.1f} s for the slowest subject, "
        f"with {maker.n_restorations} restorations."
    )


def arguments():
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the patients")
    parser.add_argument("--contrast", default="flair", choices=CONTRASTS)
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--minutes", default=6.0, type=float, help="of each training")
    parser.add_argument("--models", help="folder of the models; made if missing")
    parser.add_argument("--seeds", default=[0, 1, 2], type=int, nargs="+")
    parser.add_argument("--picture", help="file for a picture of the first patients")
    return parser.parse_args()


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


def models(args, seed, training):
    """Train a VQ-VAE and a prior on slices without tumour, or read them."""
    folder = Path(args.models) / f"{args.contrast}{seed}" if args.models else None
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
        "random_seed": seed,
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


def make_maker(args, vqvae, prior, seed):
    """Return what makes the maps of a detector."""
    return MapMaker(
        vqvae,
        prior,
        n_restorations=2 if args.quick else RESTORATIONS,
        smoothing=CONTRASTS[args.contrast].smoothing,
        random_seed=seed,
    )


@dataclass(frozen=True, eq=False)
class Made:
    """Maps of patients, made once for all scores: healthy slices, and all slices."""

    maker: MapMaker
    calibration: list
    healthy: list
    whole: list
    seconds: list

    @classmethod
    def of(cls, maker, calibration, test):
        """Make the maps of patients."""
        times = []

        def maps(patients, masks):
            parts = SubjectImages(
                [p.images for p in patients],
                masks,
                None,
                maker.vqvae,
                maker.prior,
                None,
                None,
            )
            made = []
            for part in parts:
                start = time.perf_counter()
                made.append(maker.maps(part))
                times.append(time.perf_counter() - start)
            return made

        return cls(
            maker,
            maps(calibration, [p.healthy for p in calibration]),
            maps(test, [p.healthy for p in test]),
            maps(test, [p.inside for p in test]),
            times,
        )


@dataclass(frozen=True, eq=False)
class Found:
    """Scores of patients' voxels; thresholds by rate.

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
    thresholds = {rate: np.quantile(healthy, 1 - rate) for rate in RATES}
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


def detector_maps(made, test, score, tail):
    """Scores of a detector that is calibrated on slices without tumour."""
    fit = calibrated(made.maker, made.calibration, score=score, tail=tail)
    family = fit.null.family_threshold(FALSE_ALARMS)
    any_voxel = [
        (fit.score_of(maps).size > family)[maps.inside].any() for maps in made.healthy
    ]
    thresholds = {rate: fit.null.rate_threshold(rate) for rate in RATES}
    sizes = [fit.score_of(maps).size for maps in made.whole]
    return Found(test, sizes, thresholds, any_voxel)


def measure(found):
    """Return the measures of scores by their names."""
    pairs = list(zip(found.maps, found.patients))
    values = np.concatenate([z[p.inside] for z, p in pairs])
    tumour = np.concatenate([p.tumour[p.inside] for _, p in pairs])
    healthy = [z[p.healthy] for z, p in pairs if p.healthy.any()]
    chosen = values > found.thresholds[RATES[0]]
    rates = {
        f"voxels found in healthy slices at {rate:.0%}": np.mean(
            [(own > found.thresholds[rate]).mean() for own in healthy]
        )
        for rate in RATES
    }
    return {
        "AP": average_precision_score(tumour, values),
        "Dice at 1 %": 2 * (chosen & tumour).sum() / (chosen.sum() + tumour.sum()),
        **rates,
        "slices, stratified AUROC": slices_told_apart(pairs),
        ANY_VOXEL: None if found.any_voxel is None else int(sum(found.any_voxel)),
    }


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


def print_measures(measured, n_subjects):
    """Print a row for each score: the median over the seeds, the least and the most."""
    low, high = binom.interval(0.95, n_subjects, FALSE_ALARMS)
    columns = list(measured["simple"][0])
    rows = [
        (name, *(in_words([of_seed[c] for of_seed in seeds]) for c in columns))
        for name, seeds in measured.items()
    ]
    print_table(("maps", *columns), rows)
    print(f"95 % interval of the last column: {low:.0f} to {high:.0f} of {n_subjects}.")


def in_words(values):
    """Say the median over the seeds, the least and the most."""
    if None in values:
        return None
    form = "{:d}" if isinstance(values[0], int) else "{:.3f}"
    middle, least, most = (
        form.format(type(values[0])(f(values))) for f in (np.median, min, max)
    )
    return middle if len(values) == 1 else f"{middle} ({least} to {most})"


def draw(path, found, contrast, n_patients=6):
    """Draw the first patients: the slice with most tumour, its scores and outlines."""
    from matplotlib.figure import Figure

    figure = Figure((1.7 * n_patients, 3.6), layout="constrained")
    all_axes = figure.subplots(2, n_patients, squeeze=False)
    for patient, z, axes in zip(found.patients, found.maps, all_axes.T):
        i = patient.tumour.sum((1, 2)).argmax()
        image = patient.images[i]
        threshold = found.thresholds[RATES[0]]
        inside = np.where(patient.inside[i], z[i], np.nan)
        axes[0].imshow(image.T, cmap="gray", origin="lower")
        axes[1].imshow(image.T, cmap="gray", origin="lower")
        axes[1].imshow(
            inside.T, cmap="inferno", origin="lower", vmin=0, vmax=2 * threshold
        )
        for ax in axes:
            ax.contour(patient.tumour[i].T, [0.5], colors="cyan", linewidths=0.8)
            ax.set_axis_off()
        axes[0].contour(
            np.nan_to_num(inside).T, [threshold], colors="orange", linewidths=0.8
        )
    all_axes[0, 0].set_title(f"{contrast.upper()}: found, drawn by hand", fontsize=7)
    all_axes[1, 0].set_title("score", fontsize=7)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()

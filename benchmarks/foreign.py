"""Images of other organs, and changed images of the same: are they found, and where?

    python benchmarks/foreign.py --data FOLDER --models FOLDER
    python benchmarks/foreign.py --data FOLDER --models FOLDER --only hippocampus

The folder of the data holds ``headct/headct_slices.nii.gz``, slices of 64x64 pixels;
``mednist/*.nii.gz``, slices of five other kinds; and ``hippocampus/images``, volumes of
about 35x51x35 voxels. For head CT and for the hippocampus (in 3D) a VQ-VAE and a prior
are trained on images as they are, others calibrate a detector, and again others are the
test (with ``--part dev``, a further part on which the settings were chosen). A file of the
hippocampus is a subject. The split of head CT is by slice, for the file does not tell the
heads: slices of one head may be in several parts.

Of each measure of a whole image the AUROC is shown: how often an image of another kind, or
a changed one, has more of it than an unchanged one. The test images are changed as
`changes.py` says, at three strengths; the middle one is clearly visible:

- patch: a square (cube) of another image is in the image, side 8, 12 or 16 voxels: for head
  CT one of the five other kinds, for the hippocampus another subject, from another place;
- block: a square (cube) of side 8, 12 or 16 is missing, as air is;
- shift: a disc of 16 pixels (a ball of 12 voxels) is brighter or darker by 10, 20 or 40 %
  of the range of the image;
- flip: a square of 16 or 32 pixels (a cube of 12 or 24 voxels) in the middle, or all of the
  image, is upside down (for the hippocampus, its longest axis is turned);
- blur: a Gaussian of standard deviation 0.7, 1 or 1.5 voxels.

Where a part of the image was changed, the average precision of the voxels of the changed
images says how well the map shows the part.
"""

from dataclasses import dataclass
from pathlib import Path
import time

from changes import LOCAL, STRENGTHS, changed
from common import begin, make_parser, print_table
import nibabel as nib
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score
import torch

import dipy_vqvae as dv
from dipy_vqvae.device import has_fast_bfloat16
from dipy_vqvae.vqvae import shifted_codes

KINDS = ("abdomenct", "breastmri", "chestct", "cxr", "hand")
# To train on, to calibrate with, to choose settings on; the others are the test.
SIZES = {"headct": (7000, 400, 200), "hippocampus": (120, 30, 14)}
# Small networks.
NETWORKS = {
    "headct": {
        "vqvae": {"loss": "mae", "n_channels": 32},
        "prior": {"n_channels": 32, "n_attention": 1},
        "batch_size": 32,
        "minutes": 7.0,
    },
    "hippocampus": {
        "vqvae": {
            "n_codes": 128,
            "loss": "mae",
            "spatial_dims": 3,
            "scaling": "volume",
            "n_channels": 24,
        },
        "prior": {"n_channels": 32, "n_attention": 1, "dropout": 0.2},
        "batch_size": 2,
        "minutes": 6.0,
    },
}
# Chosen with ``--part dev``.
DETECTOR = {"score": "rarity=1,error=0.2", "smoothing": 4.0}
MEASURES = {
    "surprisal z": "z",
    "atypicality": "atypicality",
    "largest of the map": "maximum",
}
RATE = 0.05


@dataclass(frozen=True, eq=False)
class Split:
    """Images to train on, to calibrate with and to test, and what patches are cut from."""

    training: list
    calibration: list
    test: list
    kinds: dict
    foreign: list


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the images")
    parser.add_argument("--models", help="folder of the models; made if missing")
    parser.add_argument("--only", choices=NETWORKS, help="one of the two data sets")
    parser.add_argument("--part", default="test", choices=("test", "dev"))
    parser.add_argument("--n_test", default=100, type=int, help="most images of a kind")
    args = parser.parse_args()
    if args.quick:
        args.n_test = 6
    begin(args, f"At most {args.n_test} {args.part} images of a kind.")
    for name in [args.only] if args.only else NETWORKS:
        images = split(name, Path(args.data), args)
        start = time.perf_counter()
        vqvae, prior = models(args, name, images.training)
        print(
            f"{name}: {len(images.training)} images to train on, "
            f"{len(images.calibration)} to calibrate, {len(images.test)} to test; models "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
        start = time.perf_counter()
        model = dv.AnomalyModel(vqvae, prior, **DETECTOR)
        report(images, model.fit(as_images(images.calibration)))
        print(f"{time.perf_counter() - start:.0f} s\n", flush=True)


def split(name, folder, args):
    """Divide the images of a data set by a fixed seed."""
    kinds = {}
    if name == "headct":
        slices = read_slices(folder / "headct" / "headct_slices.nii.gz")
        images = [image for image in slices if np.ptp(image) > 0]
        kinds = {k: read_slices(folder / "mednist" / f"{k}.nii.gz") for k in KINDS}
    else:
        paths = sorted((folder / "hippocampus" / "images").glob("*.nii*"))
        images = [np.asarray(nib.load(path).dataobj, np.float32) for path in paths]
    order = np.random.default_rng(0).permutation(len(images))
    images = [images[i] for i in order]
    training, calibration, dev = np.cumsum(SIZES[name])
    test = images[calibration:dev] if args.part == "dev" else images[dev:]
    step = 20 if args.quick else 1
    return Split(
        images[:training:step],
        images[training:calibration][:: min(step, 3)],
        test[: args.n_test],
        {kind: of_kind[: args.n_test] for kind, of_kind in kinds.items()},
        [x for of_kind in kinds.values() for x in of_kind] or images[:training],
    )


def read_slices(path):
    """Read the slices of a file as a list."""
    return list(np.moveaxis(np.asarray(nib.load(path).dataobj), 2, 0))


def as_images(images):
    """Return slices as an array, each of them a subject, and volumes as a list."""
    return np.stack(images) if images[0].ndim == 2 else list(images)


def models(args, name, training):
    """Train a VQ-VAE and a prior, or read them."""
    folder = Path(args.models) / name if args.models else None
    if folder and (folder / "pixelcnn.safetensors").exists():
        return (
            dv.VQVAEFit.load(folder / "vqvae.safetensors"),
            dv.PixelCNNFit.load(folder / "pixelcnn.safetensors"),
        )
    settings = NETWORKS[name]
    options = {
        "n_epochs": 1 if args.quick else 1000,
        "max_seconds": 60 * settings["minutes"],
        "batch_size": settings["batch_size"],
        "weight_decay": 0.3,
    }
    common = {
        "mixed_precision": args.cuda or has_fast_bfloat16(torch.device("cpu")),
        "use_cuda": args.cuda,
    }
    images = as_images(training)
    vqvae = dv.VQVAEModel(**settings["vqvae"], **common).fit(images, **options)
    prior = dv.PixelCNNModel(
        vqvae.n_codes, both_directions=True, **settings["prior"], **common
    ).fit(
        vqvae.encode(images),
        variants=shifted_codes(vqvae, images, 2),
        spatial_dims=training[0].ndim,
        **options,
    )
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        vqvae.save(folder / "vqvae.safetensors")
        prior.save(folder / "pixelcnn.safetensors")
    return vqvae, prior


def report(images, fit):
    """Print how well images of other kinds and changed ones are told from the others."""
    unchanged, _ = rated(fit, images.test)
    p = (unchanged.p, unchanged.p_atypicality, unchanged.p_maximum)
    rates = [f"{(values <= RATE).mean():.3f}" for values in p]
    rows = [(f"unchanged: share with p ≤ {RATE:g}", None, *rates, None)]
    for kind, foreign in images.kinds.items():
        scores, _ = rated(fit, foreign)
        rows.append((kind, None, *aurocs(unchanged, scores), None))
    for number, kind in enumerate(STRENGTHS):
        for level, strength in enumerate(("weak", "middle", "strong")):
            new, where = zip(
                *(
                    changed(
                        image, kind, level, rng_of(number, level, i), images.foreign
                    )
                    for i, image in enumerate(images.test)
                )
            )
            scores, maps = rated(fit, new)
            is_local = kind in LOCAL and not (kind == "flip" and strength == "strong")
            precision = precision_of(where, maps) if is_local else None
            rows.append((kind, strength, *aurocs(unchanged, scores), precision))
    print_table(("images", "strength", *MEASURES, "AP of the map"), rows)


def rng_of(*numbers):
    """Return a generator of its own for each change of each image."""
    return np.random.default_rng(numbers)


def precision_of(where, maps):
    """Return the average precision of the voxels of all images."""
    where, values = (
        np.concatenate([x.ravel() for x in part]) for part in (where, maps)
    )
    return f"{average_precision_score(where, values):.3f}"


def rated(fit, images):
    """Return the scores of images, and their maps."""
    scored = [(s.summary, s.size) for s in fit.scored(as_images(images))]
    return fit.scores_of(summary for summary, _ in scored), [m for _, m in scored]


def aurocs(unchanged, others):
    """Return for each measure how well other images are told from the unchanged ones."""
    results = []
    for name in MEASURES.values():
        values = [getattr(scores, name) for scores in (unchanged, others)]
        is_other = np.repeat([0, 1], [len(v) for v in values])
        results.append(f"{roc_auc_score(is_other, np.concatenate(values)):.3f}")
    return results


if __name__ == "__main__":
    main()

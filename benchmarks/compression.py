"""Compressed files of slices, by a prior, and by the codecs that users have.

    python benchmarks/compression.py --headct headct_slices.nii.gz
    python benchmarks/compression.py --headct headct_slices.nii.gz --plot compression.png
    python benchmarks/compression.py --lgg FOLDER

Of head CT, the 1,000 test slices of headct.py: 64x64 pixels, 16x16 codes of K=256. Of LGG,
the FLAIR slices of 20 patients that the models have not seen: 128x128 pixels, 16x16 codes
of K=512. The models are trained with a price on the length of codes (`rate` is another
one, at encoding time), and kept in a folder; one that is there already, such as
headct.py's "ours-short", is used.

All slices of a data set become one file; the codecs get a montage of all slices, which
have one header so. Bytes are those of whole files. PSNR and SSIM are means over the
slices that are not empty, rounded to uint8, with a range of 255. Bits at equal quality
are interpolated on the codec's curve, their logarithm by straight lines, and so are the
points where curves cross.
"""

from dataclasses import dataclass
from pathlib import Path
import sys
import time

from common import begin, make_parser, print_table
import headct
from image_codecs import CODECS, from_montage, montage
import nibabel as nib
import numpy as np
from rate_curves import Point, best_at, compare
import torch

import dipy_vqvae as dv
from dipy_vqvae.compression import unpack_images
from dipy_vqvae.device import has_fast_bfloat16
from dipy_vqvae.metrics import psnr, ssim
from dipy_vqvae.vqvae import shifted_codes

# Slices that are compressed one by one: their headers count.
N_SINGLE = 40
N_TEST_PATIENTS = 20


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--headct", help="NIfTI file of the head CT slices")
    parser.add_argument("--lgg", help="folder of LGG, with a folder flair")
    parser.add_argument("--minutes", default=10.0, type=float, help="of a VQ-VAE")
    parser.add_argument("--prior_minutes", default=7.0, type=float)
    parser.add_argument("--out_dir", default="headct_benchmark", help="of the models")
    parser.add_argument("--plot", help="file for a picture of the curves")
    args = parser.parse_args()
    if args.quick:
        args.minutes = args.prior_minutes = 0.2
    if not (args.headct or args.lgg):
        parser.error("--headct or --lgg is needed")
    folder = Path(args.out_dir)
    folder.mkdir(exist_ok=True)
    packages = ("pillow", "imagecodecs", "constriction")
    begin(args, "Bits of whole files, per slice.", packages=packages)
    for name, path in (("head CT", args.headct), ("LGG FLAIR", args.lgg)):
        if path:
            run(DATA[name](path, args), name, args, folder)


# Data and models


@dataclass(frozen=True)
class Data:
    """Slices to train on and to compress, uint8."""

    training: np.ndarray
    test: np.ndarray
    #: Name of the VQ-VAE's file, and its settings.
    model_name: str
    settings: dict
    #: Prices of a nat at encoding time, None: as dipy_encode_vqvae encodes.
    rates: tuple
    #: Of the codecs.
    qualities: dict
    #: At most these percents of the best codec's bits, at equal PSNR and SSIM.
    to_reach: tuple


def head_ct(path, args):
    """The slices of headct.py."""
    slices = headct.load_slices(path, quick=args.quick)
    name = "ours-short"
    return Data(
        slices.training,
        slices.test,
        name,
        {"n_codes": headct.N_CODES, **headct.MODELS[name]},
        rates=(None, 0.002, 0.005, 0.01, 0.015, 0.02),
        qualities={
            "AVIF": (5, 10, 20, 30, 40, 50, 60, 70),
            "JPEG XL": (14.0, 10.0, 8.0, 6.0, 4.0, 3.0, 2.0),
            "WebP": (0, 5, 15, 30, 50, 70),
            "JPEG 2000": (22, 24, 26, 28, 30, 32, 34, 36),
        },
        to_reach=(60, 50),
    )


def lgg_flair(path, args):
    """FLAIR slices; the patients to test on by a fixed seed."""
    files = sorted(Path(path).glob("flair/*.nii.gz"))
    if len(files) <= N_TEST_PATIENTS:
        sys.exit(f"{path}: {len(files)} files in its folder flair")
    volumes = [np.moveaxis(np.asarray(nib.load(f).dataobj), 2, 0) for f in files]
    order = np.random.default_rng(0).permutation(len(volumes))
    test, training = (
        np.concatenate([volumes[i] for i in part])
        for part in (order[:N_TEST_PATIENTS], order[N_TEST_PATIENTS:])
    )
    if args.quick:
        training, test = training[:200], test[:40]
    return Data(
        training,
        test,
        "lgg",
        LGG_MODEL,
        rates=(None, 0.002, 0.005, 0.01, 0.02, 0.04),
        # From the fewest bits that there are, to 0.2 bits per pixel.
        qualities={
            "AVIF": (0, 2, 5, 10, 15, 20, 30),
            "JPEG XL": (25.0, 18.0, 14.0, 10.0, 8.0, 6.0),
            "WebP": (0, 2, 5, 10, 20),
            "JPEG 2000": (24, 26, 28, 30, 32),
        },
        to_reach=(100, 100),
    )


# A code has the same part of the head as with head CT, and four times as many pixels:
# more codes, more channels, and squared errors, since PSNR is compared.
LGG_MODEL = {
    **headct.MODELS["ours-short"],
    "n_codes": 512,
    "downsampling": 8,
    "code_dim": 8,
    "n_channels": 96,
    "loss": "mse",
    "ssim_weight": 0.1,
}
DATA = {"head CT": head_ct, "LGG FLAIR": lgg_flair}


def load_or_train(data, args, folder):
    """The VQ-VAE and the prior of its codes."""
    path = folder / f"{data.model_name}.safetensors"
    if not path.exists():
        fit = train_vqvae(data, args.minutes)
        fit.save(path)
    fit = dv.VQVAEFit.load(path)
    prior_path = folder / f"{data.model_name}-prior.safetensors"
    if not prior_path.exists():
        train_prior(fit, data, args.prior_minutes).save(prior_path)
    return fit, dv.PixelCNNFit.load(prior_path), (path, prior_path)


def train_vqvae(data, minutes):
    """As headct.py trains it: as many epochs as there is time for."""
    mixed = has_fast_bfloat16(torch.device("cpu"))
    model = dv.VQVAEModel(mixed_precision=mixed, **data.settings)
    return model.fit(
        data.training,
        n_epochs=1000 * (1 - headct.DECODER_SHARE),
        n_decoder_epochs=1000 * headct.DECODER_SHARE,
        max_seconds=60 * minutes * (1 - headct.UNCOUNTED),
        **headct.TRAINING,
    )


def train_prior(fit, data, minutes):
    """As headct.py trains it."""
    start = time.perf_counter()
    slices = headct.not_empty(data.training)
    variants = shifted_codes(fit, slices, headct.PRIOR.n_shifts)
    mixed = has_fast_bfloat16(torch.device("cpu"))
    model = dv.PixelCNNModel(fit.n_codes, mixed_precision=mixed, **headct.PRIOR.model)
    return model.fit(
        fit.encode(slices),
        variants=variants,
        n_epochs=1000,
        max_seconds=max(1.0, 60 * minutes - (time.perf_counter() - start)),
        **headct.PRIOR.training,
    )


# Measurements


def run(data, name, args, folder):
    """Compress the slices by all codecs, and print the tables."""
    fit, prior, files = load_or_train(data, args, folder)
    every, n_single = (3, 5) if args.quick else (1, N_SINGLE)
    rates = data.rates[::every]
    ours = [measure_ours(fit, prior, data.test, rate, n_single) for rate in rates]
    curves = {
        codec: [measure(codec, data.test, q, n_single) for q in qualities[::every]]
        for codec, qualities in data.qualities.items()
    }
    n_pixels = data.test[0].size
    print_codecs(name, data.test, curves, n_single)
    print_ours(name, ours, curves, n_pixels=n_pixels, to_reach=data.to_reach)
    print_crossings(name, ours, curves, n_pixels)
    print_costs(fit, prior, data.test, files)
    if args.plot:
        plot(args.plot, name, ours, curves, files)


def measure_ours(fit, prior, slices, rate, n_single):
    """One file of all slices, and files of the first ones."""
    content = dv.compress_images(fit, prior, slices, rate=rate)
    restored = dv.decompress_images(fit, prior, content)
    (coded,), _ = unpack_images(fit, prior, content)
    if rate is None and not np.array_equal(restored, fit.predict(slices)):
        sys.exit("what comes back is not what was compressed")
    single = [
        len(dv.compress_images(fit, prior, slices[i : i + 1], rate=rate))
        for i in range(n_single)
    ]
    return Point(
        rate,
        8 * len(content) / len(slices),
        *quality(slices, restored),
        single_bits=8 * np.mean(single),
        prior_bits=-prior.log_prob(coded.codes).mean() / np.log(2),
    )


def measure(codec, slices, setting, n_single):
    """A montage of all slices, and files of the first ones."""
    codec = CODECS[codec]
    content = codec.encode(montage(slices), setting)
    restored = from_montage(codec.decode(content), slices)
    single = [len(codec.encode(image, setting)) for image in slices[:n_single]]
    bits = 8 * len(content) / len(slices)
    return Point(setting, bits, *quality(slices, restored), 8 * np.mean(single))


def quality(slices, restored):
    """Mean PSNR and SSIM of the slices that are not empty."""
    restored = np.clip(np.rint(restored), 0, 255)
    varied = np.ptp(slices.reshape(len(slices), -1), axis=1) > 0
    pair = slices[varied] / np.float32(255), restored[varied] / np.float32(255)
    return tuple(float(m(*pair, data_range=1.0).mean()) for m in (psnr, ssim))


# Results


def print_codecs(name, slices, curves, n_single):
    n_pixels = slices[0].size
    rows = [
        (
            codec,
            f"{p.setting:g}",
            f"{p.bits:,.0f}",
            f"{p.bits / n_pixels:.3f}",
            f"{p.psnr:.2f}",
            f"{p.ssim:.4f}",
            f"{p.single_bits:,.0f}",
        )
        for codec, curve in curves.items()
        for p in curve
    ]
    head = f"{name}, {len(slices):,} slices"
    columns = [head, "quality", "bits", "bits per pixel", "PSNR, dB", "SSIM"]
    print_table([*columns, f"bits, {n_single} single files"], rows)


def print_ours(name, ours, curves, *, n_pixels, to_reach):
    rows = []
    for p in ours:
        row = [
            "none" if p.setting is None else f"{p.setting:g}",
            f"{p.bits:,.1f}",
            f"{p.bits / n_pixels:.3f}",
            f"{p.prior_bits:,.1f}",
            f"{100 * (p.bits / p.prior_bits - 1):+.2f} %",
            f"{p.psnr:.2f}",
            f"{p.ssim:.4f}",
            f"{p.single_bits:,.0f}",
        ]
        for measure in ("psnr", "ssim"):
            codec, bits = best_at(curves, measure, getattr(p, measure))
            cell = f"{codec} {bits:,.0f}: {100 * p.bits / bits:.0f} %"
            row.append("beyond all" if codec is None else cell)
        rows.append(row)
    print_table(
        [
            f"{name}: rate",
            "bits",
            "bits per pixel",
            "by the prior",
            "more",
            "PSNR, dB",
            "SSIM",
            "bits, single files",
            f"best codec at equal PSNR (to reach: ≤ {to_reach[0]} %)",
            f"at equal SSIM (to reach: ≤ {to_reach[1]} %)",
        ],
        rows,
    )


def print_crossings(name, ours, curves, n_pixels):
    """Where our curve crosses those of the codecs."""
    formats = {"psnr": ("PSNR", "{:.2f} dB"), "ssim": ("SSIM", "{:.4f}")}
    rows = []
    for codec, curve in curves.items():
        for measure, (title, text) in formats.items():
            found = compare(ours, curve, measure)
            if found is None:
                rows.append([codec, title, "nowhere", "", ""])
                continue
            low, high = (text.format(q) for q in found.qualities[[0, -1]])
            least, most = 100 * found.shares.min(), 100 * found.shares.max()
            at = [
                f"{bits / n_pixels:.3f} bits per pixel, {text.format(quality)}"
                for bits, quality in found.crossings
            ]
            shares = f"{least:.0f} to {most:.0f} %"
            rows.append(
                [codec, title, f"{low} to {high}", shares, "; ".join(at) or "nowhere"]
            )
    print_table(
        [
            f"{name}: codec",
            "quality",
            "that both curves reach",
            "our bits of the codec's",
            "curves cross at",
        ],
        rows,
    )


def print_costs(fit, prior, slices, files):
    """Sizes of the models, and times of one file."""
    start = time.perf_counter()
    content = dv.compress_images(fit, prior, slices)
    packed = time.perf_counter() - start
    start = time.perf_counter()
    dv.decompress_images(fit, prior, content)
    taken = time.perf_counter() - start
    n = f"{len(slices):,} slices"
    rows = [
        ("VQ-VAE and prior, MB", " + ".join(f"{megabytes(f):.2f}" for f in files)),
        (f"the file of {n}, MB", f"{len(content) / 1e6:.3f}"),
        (f"{n} compressed, s", f"{packed:.1f}"),
        (f"{n} decompressed, s (to reach for head CT: ≤ 15)", f"{taken:.1f}"),
    ]
    print_table(["sizes and times", ""], rows)


def megabytes(path):
    return path.stat().st_size / 1e6


def plot(path, name, ours, curves, files):
    """Save a picture of the curves; one for each data set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    all_axes = figure.subplots(1, 2)
    texts = {"psnr": "PSNR, dB", "ssim": "SSIM"}
    for axes, (measure, text) in zip(all_axes, texts.items()):
        for codec, curve in {"dipy_vqvae": ours, **curves}.items():
            points = sorted((p.bits, getattr(p, measure)) for p in curve)
            style = {"linewidth": 2.5, "color": "k"} if codec == "dipy_vqvae" else {}
            axes.plot(*zip(*points), marker=".", label=codec, **style)
        axes.set_xscale("log")
        axes.set_xticks([250, 500, 1000, 2000, 4000], [250, 500, 1000, 2000, 4000])
        axes.minorticks_off()
        axes.set_xlabel("bits per slice, all bytes of the file")
        axes.set_ylabel(text)
        axes.grid(color="0.9")
    all_axes[0].legend(frameon=False)
    sizes = " and ".join(f"{megabytes(f):.1f}" for f in files)
    figure.suptitle(f"{name}; decoding needs models of {sizes} MB", fontsize=11)
    path = Path(path)
    figure.savefig(path.with_stem(f"{path.stem}_{name.split()[0].lower()}"), dpi=120)


if __name__ == "__main__":
    main()

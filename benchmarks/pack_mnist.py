"""Make the MNIST models that come with the package from a run of dipy_validate_vqvae.

Weights are stored in half precision, all but the codebook, and are float32 again when
they are loaded. Figures of the packed models go into their cards, and are printed beside
those of the run, as a Markdown table.

    python benchmarks/pack_mnist.py validation
"""

import argparse
from dataclasses import dataclass
import hashlib
import json
import math
from pathlib import Path

import numpy as np

import dipy_vqvae as dv
from dipy_vqvae.data import load_mnist
from dipy_vqvae.models import ModelPair, load
from dipy_vqvae.storage import atomic_write, load_model, save_model
from dipy_vqvae.vqvae import codebook_fingerprint

WEIGHTS = Path(dv.__file__).parent / "weights"
MOST_BYTES = 2_500_000
FILES = {"vqvae": "vqvae", "pixelcnn": "pixelcnn_gated"}
LARGEST_HALF = 65504.0
CARD = {
    "license": "CC-BY-SA-3.0",
    "data_source": "MNIST, Y. LeCun and C. Cortes, CC BY-SA 3.0: 60,000 training images",
    "intended_use": "Examples, tests and teaching. Not for any decision about people.",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run of dipy_validate_vqvae")
    parser.add_argument("--mnist", help="folder of the MNIST files")
    parser.add_argument("--out", default=WEIGHTS, type=Path, help="folder of weights")
    parser.add_argument(
        "--n_images", default=10_000, type=int, help="test images to measure"
    )
    args = parser.parse_args()
    images = load_mnist(args.mnist).test_images[: args.n_images]
    run = {kind: args.run / f"{stem}.safetensors" for kind, stem in FILES.items()}
    before = Figures.of(ModelPair(*map(load, run.values())), images)
    folder = args.out / "mnist"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{kind}.safetensors" for kind in FILES}
    # Twice: the figures are of the files, and go into them.
    pack(run, paths, {})
    after = Figures.of(ModelPair(*map(load, paths.values())), images)
    pack(run, paths, after.of_card(len(images)))
    size = sum(path.stat().st_size for path in paths.values())
    if size > MOST_BYTES:
        raise SystemExit(f"{size:,} bytes are too many, at most {MOST_BYTES:,}")
    register(args.out / "registry.json", paths)
    print(f"| {len(images):,} test images | run | packed |\n| --- | ---: | ---: |")
    for name, values in before.rows(after):
        print(f"| {name} | {' | '.join(values)} |")
    sizes = [sum(p.stat().st_size for p in f.values()) for f in (run, paths)]
    print(f"| bytes | {sizes[0]:,} | {sizes[1]:,} |")


@dataclass(frozen=True)
class Figures:
    """Figures of a VQ-VAE and its prior on test images."""

    mse: float  # of pixels in [0, 1]
    n_used: int
    perplexity: float
    bits: float  # mean per image

    @classmethod
    def of(cls, pair, images):
        """Measure a pair of models on images (N, H, W) uint8."""
        codes = pair.vqvae.encode(images)
        restored = pair.vqvae.decode(codes)
        usage = pair.vqvae.usage(images)
        nats = pair.prior.log_prob(codes)
        return cls(
            mse=float(np.mean(((restored - images.astype(np.float32)) / 255) ** 2)),
            n_used=usage.n_used,
            perplexity=usage.perplexity,
            bits=float(-nats.mean() / math.log(2)),
        )

    def of_card(self, n):
        """Return the figures of each kind of file, by name."""
        images = f"{n:,} test images"
        return {
            "vqvae": {
                f"MSE of {images}, pixels in [0, 1]": round(self.mse, 6),
                f"codes used for {images}": self.n_used,
                f"perplexity of the codes of {images}": round(self.perplexity, 2),
            },
            "pixelcnn": {f"bits per image, {images}": round(self.bits, 2)},
        }

    def rows(self, other):
        """Yield (name, values) of two sets of figures."""
        formats = {"mse": "{:.6f}", "n_used": "{}", "perplexity": "{:.3f}"}
        for name in ("mse", "n_used", "perplexity", "bits"):
            text = formats.get(name, "{:.3f}")
            yield name, [text.format(getattr(f, name)) for f in (self, other)]


def pack(run, paths, figures):
    """Write the files of a run in half precision, with their cards."""
    codebook = codebook_fingerprint(load(run["vqvae"]))
    for kind, path in paths.items():
        content = load_model(run[kind], kind=kind)
        description = dict(content.description)
        description["card"] = {**CARD, "figures": figures.get(kind, {})}
        if kind == "vqvae":
            description["reading"] = {"kind": "idx"}
        else:
            description["codebook"] = codebook
        arrays = {name: halved(name, a) for name, a in content.arrays.items()}
        save_model(
            path,
            kind=kind,
            config=content.config,
            arrays=arrays,
            description=description,
        )


def halved(name, array):
    """Return an array in half precision, but the codebook, which identifies a model."""
    if array.dtype != np.float32 or name == "quantiser.codebook":
        return array
    if np.abs(array).max(initial=0) > LARGEST_HALF:
        raise SystemExit(f"{name} does not fit into half precision")
    return array.astype(np.float16)


def register(path, paths):
    """Put the files into the registry."""
    registry = json.loads(path.read_text("utf-8")) if path.exists() else {}
    registry["mnist"] = {
        "license": CARD["license"],
        "description": "MNIST digits, 28 x 28 pixels, as 7 x 7 codes",
    }
    for kind, file in paths.items():
        content = file.read_bytes()
        registry["mnist"][kind] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(registry, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

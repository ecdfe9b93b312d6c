"""How many codes of MNIST images depend on the precision of the encoder.

Encodes the test images with a trained VQ-VAE in float32; with ``fit.encode`` inside
``torch.autocast``, where it stays in float32; and with the encoder in bfloat16, the
assignment to codes in float32 as always. Says also how many positions lie so near to
the boundary between two codes that rounding to bfloat16 may decide. Prints Markdown,
and ends with exit code 1 if codes from ``fit.encode`` differ.

    python benchmarks/bfloat16.py --model validation/vqvae.safetensors --mnist FOLDER
"""

import argparse
import platform
import sys

import numpy as np
import torch

import dipy_vqvae
from dipy_vqvae import VQVAEFit, load_mnist
from dipy_vqvae.data import as_subjects
from dipy_vqvae.device import autocast, inference
from dipy_vqvae.nn import to_rows
from dipy_vqvae.vqvae import ImageBatches


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="file of dipy_validate_vqvae")
    parser.add_argument("--mnist", help="folder of the MNIST files")
    parser.add_argument("--n_images", default=10_000, type=int)
    args = parser.parse_args()
    fit = VQVAEFit.load(args.model)
    fit.net.n_refinements = 0  # it is about the encoder
    images = load_mnist(args.mnist).test_images[: args.n_images]
    codes = fit.encode(images)
    with torch.autocast("cpu", torch.bfloat16):
        inside = fit.encode(images)
    rough, latents, rough_latents = in_bfloat16(fit, images)
    error = np.sqrt(np.mean((rough_latents - latents) ** 2))
    near = margins(latents, fit.codebook) < 3 * error
    near_images = near.reshape(len(images), -1).any(1)
    print(f"dipy_vqvae {dipy_vqvae.__version__}, torch {torch.__version__}, ", end="")
    print(f"Python {platform.python_version()}; {len(images):,} test images, ", end="")
    print(f"{codes.size:,} codes of {fit.n_codes}.\n")
    print("| | % of positions |\n|---|---|")
    print(
        f"| `fit.encode` inside `torch.autocast`, as outside | {share(inside, codes)} |"
    )
    print(f"| encoder in bfloat16, as in float32 | {share(rough, codes)} |")
    print(f"| nearer to a boundary than rounding | {100 * near.mean():.2f} |")
    print(f"| images with such a position | {100 * near_images.mean():.2f} |")
    print(f"\nRounding moves a vector by {error:.4f} per channel (root mean square); ")
    print("near: three times that, to the boundary with any other code.")
    sys.exit(0 if np.array_equal(inside, codes) else 1)


def share(found, codes):
    """Percentage of the codes that agree."""
    return f"{100 * np.mean(found == codes):.3f}"


def in_bfloat16(fit, images, size=500):
    """Codes of an encoder in bfloat16, and its vectors in float32 and bfloat16."""
    net, found = fit.net, []
    for start in range(0, len(images), size):
        batch = ImageBatches(
            as_subjects(images[start : start + size], None, spatial_dims=2),
            scaling=fit.config.scaling,
            factors=fit.config.downsampling,
            device=torch.device("cpu"),
        )[:]
        with inference(torch.device("cpu")):
            latents = to_rows(net.latents(batch.x))
            with autocast(torch.device("cpu"), True):
                rough_latents = net.latents(batch.x)
                codes = net.codes(batch.x)
        found.append((codes, latents, to_rows(rough_latents)))
    return [np.concatenate([part.numpy() for part in parts]) for parts in zip(*found)]


def margins(vectors, codebook, size=10_000):
    """Distance of each vector to the nearest boundary with another code.

    For the nearest code j and any other code k it is
    (|z - e_k|^2 - |z - e_j|^2) / (2 |e_k - e_j|).
    """
    apart = np.linalg.norm(codebook[:, None] - codebook[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    found = []
    for start in range(0, len(vectors), size):
        z = vectors[start : start + size]
        cost = (codebook**2).sum(1) - 2 * z @ codebook.T
        nearest = cost.argmin(1)
        gap = (cost - cost.min(1, keepdims=True)) / (2 * apart[nearest])
        gap[np.arange(len(z)), nearest] = np.inf
        found.append(gap.min(1))
    return np.concatenate(found)


if __name__ == "__main__":
    main()

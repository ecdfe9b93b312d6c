"""Train the digit classifier that the MNIST experiment measures samples with.

Trains on the 60,000 training images, shifted by up to two pixels, and prints a
Markdown table: the accuracy on the 10,000 test images and Fréchet distances to
them in the classifier's features, all computed from the written file.

    python benchmarks/train_digit_classifier.py --out digit_classifier.safetensors
"""

import argparse
import logging
from pathlib import Path
import time

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from dipy_vqvae.data import load_mnist
from dipy_vqvae.experiment import (
    DigitClassifier,
    features,
    load_classifier,
    probabilities,
    save_classifier,
)
from dipy_vqvae.metrics import frechet_distance

MAX_SHIFT = 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", help="folder of the MNIST files")
    parser.add_argument("--out", default="digit_classifier.safetensors", type=Path)
    parser.add_argument("--epochs", default=15, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--threads", default=1, type=int)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    mnist = load_mnist(args.mnist)
    start = time.perf_counter()
    classifier = train(
        unit(mnist.train_images),
        mnist.train_labels,
        n_epochs=args.epochs,
        random_seed=args.seed,
    )
    seconds = time.perf_counter() - start
    save_classifier(
        args.out,
        classifier,
        description={
            "trained_on": "the 60,000 MNIST training images, shifted by up to "
            f"{MAX_SHIFT} pixels",
            "epochs": args.epochs,
            "random_seed": args.seed,
        },
    )
    rows = measure(load_classifier(args.out), mnist)
    rows.append(("parameters", f"{sum(p.numel() for p in classifier.parameters()):,}"))
    rows.append(("size of the file, KB", f"{args.out.stat().st_size / 1000:.0f}"))
    rows.append(("seconds of training", f"{seconds:.0f}"))
    print("| figure | value |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in rows))


def train(images, labels, *, n_epochs, random_seed, batch_size=128, peak_rate=3e-3):
    """Fit a classifier to images (N, 28, 28) in [0, 1]."""
    torch.manual_seed(random_seed)
    rng = torch.Generator().manual_seed(random_seed)
    images = torch.from_numpy(images)
    labels = torch.from_numpy(labels.astype(np.int64))
    classifier = DigitClassifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak_rate, total_steps=n_epochs * (len(images) // batch_size)
    )
    for _ in tqdm(range(n_epochs), desc="epochs"):
        order = torch.randperm(len(images), generator=rng)
        # The incomplete last batch is left out; another epoch will have it.
        for batch in order[: len(order) // batch_size * batch_size].split(batch_size):
            logits = classifier(shifted(images[batch], rng)[:, None])
            optimizer.zero_grad()
            F.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return classifier.eval()


def shifted(images, rng):
    """Move each image (B, H, W) by its own few pixels; what enters is black."""
    n, height, width = images.shape
    padded = F.pad(images, (MAX_SHIFT,) * 4)
    offset = torch.randint(2 * MAX_SHIFT + 1, (2, n, 1), generator=rng)
    rows = (torch.arange(height) + offset[0])[:, :, None]
    columns = (torch.arange(width) + offset[1])[:, None, :]
    return padded[torch.arange(n)[:, None, None], rows, columns]


def measure(classifier, mnist):
    """Rows (name, value) of the table."""
    test = unit(mnist.test_images)
    chances = probabilities(classifier, test)
    right = chances.argmax(axis=1) == mnist.test_labels
    real = features(classifier, test)
    rng = np.random.default_rng(0)
    some = rng.permutation(len(mnist.train_images))[: len(test)]
    others = {
        f"{len(some):,} training images": unit(mnist.train_images[some]),
        "uniform noise": rng.random(test.shape, dtype=np.float32),
        "blank images": np.zeros_like(test),
        "the test images upside down": test[:, ::-1],
        "one test image, repeated": np.broadcast_to(test[0], test.shape),
    }
    rows = [
        ("test accuracy, %", f"{100 * right.mean():.2f}"),
        ("mean confidence on the test images", f"{chances.max(axis=1).mean():.4f}"),
        (
            "features never active on the test images",
            f"{(real.max(axis=0) == 0).sum()}",
        ),
    ]
    for name, images in others.items():
        found = frechet_distance(features(classifier, images), real)
        chances = probabilities(classifier, images)
        rows.append((f"Fréchet distance to the test images: {name}", f"{found:.2f}"))
        rows.append((f"mean confidence: {name}", f"{chances.max(axis=1).mean():.4f}"))
    return rows


def unit(images):
    return images.astype(np.float32) / 255


if __name__ == "__main__":
    main()

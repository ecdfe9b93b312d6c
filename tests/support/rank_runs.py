"""Fits in one and in several processes, for the tests of both being the same."""

import json
import os
from pathlib import Path
import sys

import numpy as np
import torch
from toy_vqvae import blobs

from dipy_vqvae import PixelCNNModel, VQVAEModel, parallel
from dipy_vqvae.nn import quantiser as quantize

# Batches of 10 and 11: the shares of two processes differ in size, and the second
# one begins at an odd place.
N_IMAGES, SHAPE = 54, (12, 10)
FITTING = {"batch_size": 11, "n_epochs": 10, "learning_rate": 2e-3}
N_REVIVED = [0]


def images_and_mask():
    """Images, and for each of them a mask of another size."""
    noise = np.random.default_rng(1).normal(0, 8, (N_IMAGES, *SHAPE))
    images = (blobs(N_IMAGES, SHAPE) + noise).astype(np.float32)
    mask = np.zeros(images.shape, bool)
    for i, one in enumerate(mask):
        one[: 3 + i % 9, : 2 + i % 7] = True
    return images, mask


def subjects():
    """Images of three subjects, of three shapes."""
    images, _ = images_and_mask()
    return [images[:20], images[20:40, :7], images[40:, :9, :5]]


def fit_vqvae(*, masked=False, n_decoder_epochs=0, patch_shape=None, **settings):
    """Fit a VQ-VAE; return its weights, losses and codes."""
    images, mask = images_and_mask()
    of_many_shapes = settings.pop("subjects", False)
    # Codes count as dead more often than by default, so that some are revived.
    settings = {"n_codes": 12, "code_dim": 4, "revive_below": 0.7, **settings}
    model = VQVAEModel(n_channels=16, n_blocks=1, **settings)
    fit = model.fit(
        subjects() if of_many_shapes else images,
        patch_shape=patch_shape,
        mask=mask if masked else None,
        validation_images=images[::3],
        validation_mask=mask[::3] if masked else None,
        n_decoder_epochs=n_decoder_epochs,
        **FITTING,
    )
    return _found(fit) | {"codes": fit.encode(images), "n_revived": N_REVIVED[0]}


def fit_pixelcnn(**settings):
    """Fit a prior; return its weights and losses."""
    rng = np.random.default_rng(0)
    codes = np.sort(rng.integers(12, size=(N_IMAGES, 4, 3)), axis=2)
    labels = np.arange(N_IMAGES) % 3
    model = PixelCNNModel(n_codes=12, n_channels=16, n_layers=2, **settings)
    fit = model.fit(
        codes,
        labels=labels,
        validation_codes=codes[::3],
        validation_labels=labels[::3],
        **FITTING,
    )
    return _found(fit)


def _found(fit):
    history = fit.history.to_dict()
    found = {f"net.{n}": t.cpu().numpy() for n, t in fit.net.state_dict().items()}
    return found | {
        f"history.{part}.{name}": np.array(values, float)
        for part in ("train", "validation")
        for name, values in history[part].items()
    }


def fork(function):
    """Run a function in a child that has torch loaded already."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return child


def run(folder, name, settings, n_processes):
    """Fit in some processes; each writes what came out to a file of its own."""

    def work(number):
        os.environ.update(
            RANK=str(number),
            WORLD_SIZE=str(n_processes),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=os.environ["PORT"],
        )
        fit = fit_pixelcnn if "kind" in settings else fit_vqvae
        with parallel.processes():
            assert parallel.world_size() == n_processes
            found = fit(**settings)
        np.savez(folder / f"{name}-{number}-of-{n_processes}.npz", **found)

    children = [fork(lambda number=i: work(number)) for i in range(n_processes)]
    return max(os.WEXITSTATUS(os.waitpid(child, 0)[1]) for child in children)


def main(folder, runs):
    """Do named runs, each in one and in two processes."""
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports, once for all
    # Fifty steps are too few for the default.
    quantize.EMAQuantiser.__init__.__kwdefaults__["revive_every"] = 7
    rows_of_all = quantize.rows_of_all

    def count(vectors, choose):
        found = rows_of_all(vectors, choose)
        N_REVIVED[0] += len(found)
        return found

    quantize.rows_of_all = count
    return max(
        run(Path(folder), name, settings, n)
        for name, settings in runs.items()
        for n in (1, 2)
    )


if __name__ == "__main__":
    sys.exit(main(*json.loads(sys.argv[1])))

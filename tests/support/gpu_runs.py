"""What runs on a GPU, done on the CPU and on a GPU: a script for the tests.

``python gpu_runs.py FOLDER NAME ...`` writes ``FOLDER/NAME-cpu.npz`` and
``FOLDER/NAME-gpu.npz`` for each run that is named. Where torch finds no GPU,
:mod:`pretend_gpu` takes its place.
"""

import contextlib
from dataclasses import replace
import json
import os
from pathlib import Path
import signal
import sys
import tempfile
import traceback

import nibabel as nib
import numpy as np
import pretend_gpu
import rank_runs
from small_mnist import SMALL
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from toy_vqvae import blobs

import dipy_vqvae as dv
from dipy_vqvae import device
from dipy_vqvae.compression import unpack_images
from dipy_vqvae.experiment.run import run_validation
from dipy_vqvae.training import loop as training
from dipy_vqvae.training import optimizer as optimization
from dipy_vqvae.workflows import cli

HAS_GPU = torch.cuda.is_available()
IMAGES = blobs(40, (12, 10))
VOLUMES = blobs(10, (8, 8, 12), seed=1)
VQVAE = {"n_codes": 12, "code_dim": 4, "n_channels": 8, "n_blocks": 1}
PRIOR = {"n_codes": 12, "n_channels": 8, "n_layers": 2}
TRAINING = {"n_epochs": 3, "batch_size": 8}
# A device that is pretended in Python is slow.
SMALLER = replace(
    SMALL,
    vqvae_fit={"n_epochs": 4, "batch_size": 20},
    n_train_images=120,
    n_images=40,
    n_gated_samples=12,
    n_plain_samples=10,
    n_argmax=4,
    n_temperature_samples=6,
    n_canvas=4,
)


def let_a_gpu_be_found():
    """Let the package find a GPU."""
    pretend_gpu.install()
    torch.cuda.is_available = lambda: True
    optimization._FUSED_ON = ("cpu", pretend_gpu.NAME)

    def choose_device(use_cuda):
        return pretend_gpu.DEVICE if use_cuda else torch.device("cpu")

    original = device.choose_device
    for module in list(sys.modules.values()):
        if getattr(module, "choose_device", None) is original:
            module.choose_device = choose_device


def same_attention():
    """Give the CPU the attention kernel that a device without its own one has."""
    if HAS_GPU:
        return contextlib.nullcontext()
    return sdpa_kernel(SDPBackend.MATH)


def found(fit):
    """Weights, and losses of the training."""
    history = fit.history.to_dict()
    arrays = {f"net.{n}": t.cpu().numpy() for n, t in fit.net.state_dict().items()}
    return arrays | {
        f"history.{part}.{name}": np.array(values, float)
        for part in ("train", "validation")
        for name, values in history[part].items()
    }


def fit_vqvae(images, gpu, *, fitting=None, **settings):
    """A fit, and what it makes of its images."""
    model = dv.VQVAEModel(**{**VQVAE, **settings}, use_cuda=gpu)
    fit = model.fit(images, **{**TRAINING, **(fitting or {})})
    where = {parameter.device.type for parameter in fit.net.parameters()}
    if (where != {"cpu"}) != gpu:
        raise AssertionError(f"use_cuda={gpu}, and the network is on {where}")
    return fit


def ema(gpu):
    mask = np.ones(IMAGES.shape, bool)
    mask[:, :3, :4] = False
    images = IMAGES.astype(np.float32)
    fitting = {
        "mask": mask,
        "validation_images": images[:9],
        "validation_mask": mask[:9],
        "n_decoder_epochs": 1,
    }
    fit = fit_vqvae(
        images, gpu, rate_weight=0.3, n_refinements=2, fitting=fitting, loss="mae"
    )
    codes = fit.encode(images, mask=mask)
    outcome = found(fit) | {
        "codes": codes,
        "predicted": fit.predict(images, mask=mask),
        "decoded": fit.decode(codes),
        "codebook": fit.codebook,
    }
    return outcome | {"perplexity": fit.usage(images, mask=mask).perplexity}


def gradient(gpu):
    fit = fit_vqvae(IMAGES, gpu, codebook="gradient", architecture="strided")
    return found(fit) | {"codes": fit.encode(IMAGES)}


def adam(gpu):
    fitting = {"optimizer": "adam", "learning_rate": 2e-3}
    return found(fit_vqvae(IMAGES, gpu, fitting=fitting))


def volumes(gpu):
    fit = fit_vqvae(VOLUMES, gpu, spatial_dims=3, rate_weight=0.1, n_refinements=1)
    large = blobs(1, (40, 40, 40), seed=2)
    return found(fit) | {"codes": fit.encode(large), "predicted": fit.predict(large)}


def patches(gpu):
    subjects = [VOLUMES[:4], VOLUMES[4:, :7]]
    fitting = {"patch_shape": (8, 4, 8)}
    return found(
        fit_vqvae(subjects, gpu, spatial_dims=3, scaling="volume", fitting=fitting)
    )


def mixed(gpu):
    fit = fit_vqvae(IMAGES, gpu, mixed_precision=True)
    codes = fit.encode(IMAGES)
    prior = dv.PixelCNNModel(**PRIOR, mixed_precision=True, use_cuda=gpu)
    prior = prior.fit(codes % 5, **TRAINING)
    with torch.autocast(next(fit.net.parameters()).device.type, dtype=torch.bfloat16):
        np.testing.assert_array_equal(fit.encode(IMAGES), codes)
    return {"loss": fit.history["loss"], "prior": prior.history["loss"]}


def priors(gpu):
    rng = np.random.default_rng(0)
    codes = np.sort(rng.integers(12, size=(60, 4, 3)), axis=2)
    labels = np.arange(60) % 3
    outcome = {}
    for kind in ("gated", "plain"):
        model = dv.PixelCNNModel(**PRIOR, kind=kind, use_cuda=gpu)
        labelled = {"labels": labels} if kind == "gated" else {}
        fit = model.fit(codes, **labelled, **TRAINING)
        label = {"labels": 1} if labelled else {}
        keep = np.zeros((4, 3), bool)
        keep[:2] = True
        part = {name: values[:9] for name, values in labelled.items()}
        here = found(fit) | {
            "nats": fit.log_prob(codes, **labelled),
            "predicted": fit.predict(codes[:9], **part),
            "samples": fit.sample(9, **label),
            "likeliest": fit.sample(3, temperature=0, **label),
            "wide": fit.sample(4, grid_shape=(6, 5), **label),
            "completed": fit.sample(4, codes=codes[:4], keep=keep, **label),
        }
        outcome |= {f"{kind}.{name}": values for name, values in here.items()}
    return outcome


def masked_prior(gpu):
    rng = np.random.default_rng(0)
    codes = np.sort(rng.integers(12, size=(20, 3, 3, 3)), axis=2)
    mask = rng.random(codes.shape) < 0.8
    fit = dv.PixelCNNModel(**PRIOR, use_cuda=gpu).fit(codes, mask=mask, **TRAINING)
    samples = fit.sample(5, mask=mask[0])
    return found(fit) | {"nats": fit.log_prob(codes, mask=mask), "samples": samples}


def dropout(gpu):
    """What a device draws is the same each time, and its state is left as it was."""
    codes = np.random.default_rng(0).integers(12, size=(40, 4, 3))
    model = dv.PixelCNNModel(**PRIOR, dropout=0.3, use_cuda=gpu)
    before = _random_states(gpu)
    one, two = (found(model.fit(codes, **TRAINING)) for _ in range(2))
    _assert_same(one, two)
    fit_vqvae(IMAGES, gpu)
    for name, state in _random_states(gpu).items():
        np.testing.assert_array_equal(state, before[name], err_msg=name)
    return {"done": True}


def _assert_same(found, wanted):
    """Bit for bit, but for the sums of a GPU, whose order changes."""
    for key, values in wanted.items():
        if HAS_GPU:
            np.testing.assert_allclose(
                found[key], values, rtol=1e-3, atol=1e-5, err_msg=key
            )
        else:
            np.testing.assert_array_equal(found[key], values, err_msg=key)


def _random_states(gpu):
    states = {"cpu": torch.get_rng_state().numpy()}
    if gpu:
        module = torch.cuda if HAS_GPU else torch.pretend
        states["gpu"] = module.get_rng_state().numpy()
    return states


def files(gpu):
    """Models written where they were trained are read elsewhere."""
    fit = fit_vqvae(IMAGES, gpu)
    codes = fit.encode(IMAGES)
    prior = dv.PixelCNNModel(**PRIOR, use_cuda=gpu).fit(codes, **TRAINING)
    outcome = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "vqvae.safetensors", Path(folder) / "prior.safetensors"
        fit.save(paths[0])
        prior.save(paths[1])
        content = dv.compress_images(fit, prior, IMAGES)
        for name, elsewhere in (("here", gpu), ("there", not gpu)):
            vqvae = dv.VQVAEFit.load(paths[0], use_cuda=elsewhere)
            there = dv.PixelCNNFit.load(paths[1], use_cuda=elsewhere)
            np.testing.assert_array_equal(there.decompress(content)[0], codes)
            drawn = there.sample(4)
            outcome |= {
                f"{name}.codes": vqvae.encode(IMAGES),
                f"{name}.decoded": vqvae.decode(drawn),
            }
    return outcome


def packed(gpu):
    """Masked volumes with labels, compressed here, are decompressed there."""
    volumes = [VOLUMES[:4], VOLUMES[4:, :7]]
    masks = [entry > np.median(entry) for entry in volumes]
    labels = np.arange(10) % 2
    vqvae = fit_vqvae(volumes, gpu, fitting={"mask": masks}, spatial_dims=3)
    codes = vqvae.encode(volumes, mask=masks)
    inside = [vqvae.positions_inside(mask) for mask in masks]
    model = dv.PixelCNNModel(**PRIOR, both_directions=True, use_cuda=gpu)
    given = {"mask": inside, "labels": labels}
    prior = model.fit(codes, **given, spatial_dims=3, **TRAINING)
    content = dv.compress_images(vqvae, prior, volumes, mask=masks, labels=labels)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "vqvae.safetensors", Path(folder) / "prior.safetensors"
        vqvae.save(paths[0])
        prior.save(paths[1])
        there = [
            load(path, use_cuda=not gpu)
            for load, path in zip((dv.VQVAEFit.load, dv.PixelCNNFit.load), paths)
        ]
        coded, _ = unpack_images(*there, content)
        restored = dv.decompress_images(*there, content)
    for entry, expected in zip(coded, codes, strict=True):
        np.testing.assert_array_equal(entry.codes, expected)
    outcome = {f"restored.{i}": images for i, images in enumerate(restored)}
    return outcome | {f"codes.{i}": of_subject for i, of_subject in enumerate(codes)}


def resumed(gpu):
    """A training that was stopped goes on here, and elsewhere."""
    images, fitting = IMAGES, {"optimizer": "adam", "patience": 5}
    fitting["validation_images"] = IMAGES[:9]
    whole = found(fit_vqvae(images, gpu, fitting=fitting))
    outcome = {f"whole.{name}": values for name, values in whole.items()}
    for name, elsewhere in (("here", gpu), ("there", not gpu)):
        with tempfile.TemporaryDirectory() as folder:
            fitting["checkpoint"] = Path(folder) / "vqvae.checkpoint"
            _stop_at(7, lambda: fit_vqvae(images, gpu, fitting=fitting))
            fit = found(fit_vqvae(images, elsewhere, fitting=fitting))
        if elsewhere == gpu:
            _assert_same(fit, whole)
        outcome |= {f"{name}.{key}": values for key, values in fit.items()}
    return outcome


def _stop_at(step, fit):
    take_step = training._Run._take_step

    def stop(self):
        take_step(self)
        if self.state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    training._Run._take_step = stop
    try:
        fit()
    except training.TrainingInterrupted:
        return
    finally:
        training._Run._take_step = take_step
    raise AssertionError("the training was not stopped")


def diverged(gpu):
    """NaN is found, if later than on a CPU."""
    try:
        fit_vqvae(IMAGES, gpu, fitting={"learning_rate": 1e30, "n_epochs": 20})
    except training.TrainingDiverged as error:
        return {"says": "learning rate" in str(error)}
    raise AssertionError("no NaN was found")


def commands(gpu):
    """The commands with --use_cuda and without."""
    outcome = {}
    tiny = ["--n_channels", 8, "--n_codes", 12, "--n_epochs", 2]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for i in range(3):
            volume = np.moveaxis(blobs(7, (12, 10), seed=i), 0, 2)
            image = nib.Nifti1Image(volume, np.diag([2, 2, 3, 1]))
            image.to_filename(f"s{i}.nii.gz")
        models = "vqvae.safetensors", "pixelcnn.safetensors"
        fit = ["fit_vqvae", "s?.nii.gz", *tiny, "--code_dim", 4, "--n_blocks", 1]
        for command in (
            [*fit, "--out_report", "None"],
            ["fit_pixelcnn", models[0], "s?.nii.gz", *tiny[:2], *tiny[4:]],
            ["reconstruct_vqvae", models[0], "s?.nii.gz"],
            ["encode_vqvae", models[0], "s?.nii.gz", "--out_dir", "codes"],
            ["decode_vqvae", models[0], "codes", "--out_dir", "decoded"],
            ["compress_vqvae", *models, "s?.nii.gz", "--out_dir", "packed"],
            ["decompress_vqvae", *models, "packed", "--out_dir", "scans"],
            ["sample_vqvae", *models, "--n_samples", 4],
        ):
            sys.argv = [str(a) for a in command] + ["--use_cuda"] * gpu
            try:
                getattr(cli, command[0])()
            except SystemExit as end:
                if end.code:
                    raise AssertionError(f"{command} ended with {end.code}") from end
        for path in sorted(Path().glob("**/*.nii.gz")):
            outcome[str(path)] = nib.load(path).get_fdata()
    return outcome


def experiment(gpu):
    """All of the experiment, on few images."""
    with tempfile.TemporaryDirectory() as folder:
        result = run_validation(
            out_dir=folder, digits=True, settings=SMALLER, use_cuda=gpu
        )
    # What the Gaussian VAE draws comes from the device's generator.
    arms = [a for a in result.numbers["arms"] if not a["key"].startswith("vae_")]
    return {"arms": json.dumps(arms, sort_keys=True)}


def two_processes(gpu):
    """Two processes with half the batch each; see rank_runs.py."""
    settings = {"rate_weight": 0.5, "masked": True, "use_cuda": gpu}
    with tempfile.TemporaryDirectory() as folder:
        if rank_runs.main(folder, {"fit": settings}):
            raise AssertionError("a process failed")
        outcome = dict(np.load(Path(folder) / "fit-1-of-2.npz"))
    del outcome["n_revived"]  # counted for both trainings together
    return outcome


RUNS = {
    function.__name__: function
    for function in (
        two_processes,  # forks, which does not go with autograd's threads of later
        ema,
        gradient,
        adam,
        volumes,
        patches,
        mixed,
        priors,
        masked_prior,
        dropout,
        files,
        packed,
        resumed,
        diverged,
        commands,
        experiment,
    )
}


def main(folder, names):
    """Do the runs, on the CPU and on the GPU; what fails leaves ``NAME.error``."""
    torch.set_num_threads(1)
    if not HAS_GPU:
        let_a_gpu_be_found()
    for name in names:
        try:
            for gpu in (False, True):
                path = Path(folder) / f"{name}-{'gpu' if gpu else 'cpu'}.npz"
                with same_attention():
                    outcome = RUNS[name](gpu)
                np.savez(path, **outcome)
        except Exception:  # noqa: BLE001 - a test shows it
            (Path(folder) / f"{name}.error").write_text(traceback.format_exc())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or RUNS)

"""How long does a volume of 256 x 256 x 192 take, and how much memory?

A volume of float32 is made, and reconstructed by an untrained network of the default
size, read from a model file: of slices, and of volumes in tiles. Each in a process of
its own, whose peak memory is that of all of it, Python and torch included. Then the same
by `dipy_reconstruct_vqvae`, from file to files, with table and mosaic.
"""

import argparse
import json
import os
from pathlib import Path
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from unittest.mock import patch

import nibabel as nib
import numpy as np

SHAPE = (256, 256, 192)
# Where tiles and the whole are compared: both fit in memory.
SMALLER = (128, 128, 96)
# Axes, downsampling, seconds and GiB allowed.
CASES = [(2, 4, 60, 2.0), (3, 4, 120, 3.0), (3, 2, None, 3.0)]


def make_volume(shape):
    """Blobs and noise, float32, up to about 1000."""
    rng = np.random.default_rng(0)
    x, y, z = (np.linspace(0, 9, n, dtype=np.float32) for n in shape)
    blobs = np.sin(x)[:, None, None] * np.cos(y)[:, None] * np.sin(2 * z)
    noise = rng.random(shape, np.float32)
    return np.float32(400) * (blobs + 1) + np.float32(200) * noise


def train(spatial_dims, downsampling, path):
    """A network that has hardly learnt: its size is what counts here."""
    from dipy_vqvae import VQVAEModel

    images = make_volume((32, 32, 32))
    if spatial_dims == 3:
        images = images[np.newaxis]
    model = VQVAEModel(
        spatial_dims=spatial_dims, downsampling=downsampling, rate_weight=0.02
    )
    model.fit(images, n_epochs=4, batch_size=16).save(path)


def measure(spatial_dims, path):
    """Reconstruct the volume in this process."""
    from dipy_vqvae import VQVAEFit

    fit = VQVAEFit.load(path)
    volume = make_volume(SHAPE)
    start, start_cpu = time.perf_counter(), time.process_time()
    images = np.moveaxis(volume, 2, 0) if spatial_dims == 2 else volume[np.newaxis]
    restored = fit.predict(images)
    seconds = time.perf_counter() - start
    cpu_seconds = time.process_time() - start_cpu
    assert restored.shape == images.shape
    # Kibibytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak": peak}


def measure_command(path):
    """Reconstruct a file by the command."""
    command = Path(sysconfig.get_path("scripts")) / "dipy_reconstruct_vqvae"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "volume.nii"
        nib.save(nib.Nifti1Image(make_volume(SHAPE), np.eye(4)), file)
        start = time.perf_counter()
        subprocess.run([command, path, file, "--out_dir", folder], check=True)
        seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak": usage.ru_maxrss / 2**20,
    }


def compare(path):
    """Largest difference of tiles to the whole, and of how many codes."""
    from dipy_vqvae import VQVAEFit

    fit = VQVAEFit.load(path)
    volume = make_volume(SMALLER)[np.newaxis]
    codes = fit.encode(volume)
    whole = fit.decode(codes, image_shape=SMALLER)
    passes = []
    fit.net.decoder.register_forward_hook(lambda *_: passes.append(1))
    with patch("dipy_vqvae.nn.tiles.LARGEST_PASS", 1 << 20):
        tiled = fit.decode(codes, image_shape=SMALLER)
        changed = float(np.mean(fit.encode(volume) != codes))
    difference = float(np.abs(tiled - whole).max() / np.ptp(whole))
    return {"difference": difference, "changed": changed, "tiles": len(passes)}


def in_a_process(*arguments):
    """What a function of this file returns, called in a process of its own."""
    output = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(output.stdout.splitlines()[-1])


def main():
    """Print the table."""
    import torch

    from dipy_vqvae import __version__

    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"dipy_vqvae {__version__}, torch {torch.__version__}, {threads} threads.\n")
    print("| model | s | allowed | s of processor | peak memory, GiB | allowed |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for dims, downsampling, seconds, memory in CASES:
            path = Path(folder) / f"{dims}-{downsampling}.safetensors"
            train(dims, downsampling, path)
            name = f"{dims}D, codes of {downsampling} voxels an axis"
            for what, found in (
                (name, in_a_process("measure", dims, path)),
                (f"{name}, by the command", in_a_process("command", path)),
            ):
                print(
                    f"| {what} | {found['seconds']:.1f} | {seconds or '–'} "
                    f"| {found['cpu_seconds']:.1f} | {found['peak']:.2f} "
                    f"| {memory:.0f} |",
                    flush=True,
                )
        found = in_a_process("compare", Path(folder) / "3-4.safetensors")
    print(
        f"\n{found['tiles']} tiles beside the whole, {' x '.join(map(str, SMALLER))}, "
        f"codes of 4 voxels: largest difference {found['difference']:.1e} of the range; "
        f"{found['changed']:.2%} of the codes differ."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    # A step in a process of its own, as the script starts it.
    parser.add_argument("step", nargs="*", help=argparse.SUPPRESS)
    step = parser.parse_args().step
    if step[:1] == ["measure"]:
        print(json.dumps(measure(int(step[1]), step[2])))
    elif step[:1] == ["command"]:
        print(json.dumps(measure_command(step[1])))
    elif step[:1] == ["compare"]:
        print(json.dumps(compare(step[1])))
    else:
        main()

"""Whether a training that is killed again and again ends as one that never was.

Runs `dipy_fit_vqvae` and `dipy_fit_pixelcnn` on small images, as commands. Each
training is done once without interruption, and once with SIGKILLs at random moments,
each followed by the same command with ``--resume``. What comes out is compared: every
byte of the arrays of the model file, its settings, the description of the data and the
history without its times, the codes of the images, and the files in the folder.
SIGTERM and SIGINT are sent as well. Prints Markdown, and ends with exit code 1 if
anything differs.

    python benchmarks/resume.py
    python benchmarks/resume.py --kills 2 --seed 1
"""

import argparse
from dataclasses import dataclass, field
import hashlib
import json
import os
from pathlib import Path
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
from tempfile import TemporaryDirectory
import time

import numpy as np
from safetensors import safe_open

SIZE = ["--n_channels", "8", "--batch_size", "16"]
VQVAE = [*SIZE, "--n_codes", "8", "--code_dim", "4", "--n_blocks", "1"]
HELD_OUT = ["--validation_files", "held_out.npy"]

OTHERS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Training:
    """One command that is killed."""

    name: str
    command: str
    arguments: list
    model: str
    needs_vqvae: bool = False


TRAININGS = [
    Training(
        "VQ-VAE, moving averages, price on length, decoder on its own",
        "dipy_fit_vqvae",
        ["train.npy", *VQVAE, *HELD_OUT, "--rate_weight", "0.02"]
        + ["--n_epochs", "5", "--n_decoder_epochs", "3", "--checkpoint_steps", "3"],
        "vqvae.safetensors",
    ),
    Training(
        "VQ-VAE, codes by gradient, strided",
        "dipy_fit_vqvae",
        ["train.npy", *VQVAE, "--codebook", "gradient", "--architecture", "strided"]
        + ["--n_epochs", "8", "--checkpoint_steps", "5"],
        "vqvae.safetensors",
    ),
    Training(
        "gated prior, labels, dropout, best epoch kept",
        "dipy_fit_pixelcnn",
        ["vqvae.safetensors", "train.npy", *SIZE, *HELD_OUT, "--n_layers", "2"]
        + ["--label_file", "labels.txt", "--validation_label_file", "held_labels.txt"]
        + ["--dropout", "0.1", "--patience", "12", "--n_epochs", "12"]
        + ["--checkpoint_minutes", "0.0005"],
        "pixelcnn.safetensors",
        needs_vqvae=True,
    ),
    Training(
        "plain prior",
        "dipy_fit_pixelcnn",
        ["vqvae.safetensors", "train.npy", *SIZE, "--kind", "plain", "--n_layers", "1"]
        + ["--n_epochs", "8", "--checkpoint_steps", "4"],
        "pixelcnn.safetensors",
        needs_vqvae=True,
    ),
]


@dataclass
class Outcome:
    """What happened to one training."""

    kills: int = 0
    in_training: int = 0
    in_write: int = 0
    after_stop: dict = field(default_factory=dict)
    differences: list = field(default_factory=list)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", default=7, type=int, help="SIGKILLs per training")
    parser.add_argument("--seed", default=0, type=int, help="of the moments")
    args = parser.parse_args()
    # A shell lets what it starts in the background ignore SIGINT, and so would the
    # commands.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = np.random.default_rng(args.seed)
    print(f"{version()}; Python {platform.python_version()}; 1 thread; seed ", end="")
    print(f"{args.seed} of the moments.\n")
    print(
        "| training | SIGKILLs | in a step | in a write | SIGTERM | SIGINT | ", end=""
    )
    print("different |\n|---|---|---|---|---|---|---|")
    outcomes = []
    with TemporaryDirectory() as folder:
        make_images(folder)
        for training in TRAININGS:
            outcome = run_training(Path(folder), training, rng, n_kills=args.kills)
            print(row(training, outcome), flush=True)
            outcomes.append(outcome)
    n_kills = sum(outcome.kills for outcome in outcomes)
    different = [what for outcome in outcomes for what in outcome.differences]
    print(f"\n{n_kills} SIGKILLs; {len(different)} differences.")
    sys.exit(1 if different else 0)


def row(training, outcome):
    """One line of the table."""
    codes = [outcome.after_stop.get(name, "–") for name in ("SIGTERM", "SIGINT")]
    found = "; ".join(outcome.differences) or "nothing"
    cells = [outcome.kills, outcome.in_training, outcome.in_write]
    cells += [f"exit code {code}" for code in codes]
    return f"| {' | '.join([training.name, *map(str, cells), found])} |"


def make_images(folder):
    """Blurred dots, as two files, with a class for each."""
    rng = np.random.default_rng(0)
    grid = np.indices((12, 10))
    for name, labels, n in (
        ("train.npy", "labels.txt", 320),
        ("held_out.npy", "held_labels.txt", 40),
    ):
        centres = rng.uniform(0.2, 0.8, (n, 2, 1, 1)) * np.reshape((12, 10), (2, 1, 1))
        distance = ((grid - centres) ** 2).sum(1)
        images = 200 * np.exp(-distance / rng.uniform(4, 16, (n, 1, 1)))
        np.save(Path(folder) / name, images.astype(np.uint8))
        np.savetxt(Path(folder) / labels, rng.integers(0, 3, n), fmt="%d")


def run_training(folder, training, rng, *, n_kills, others=OTHERS):
    """Train with and without interruptions, and compare.

    Parameters
    ----------
    folder : Path
        Where the images are.
    training : Training
    rng : numpy.random.Generator
        Of the moments.
    n_kills : int
        SIGKILLs.
    others : tuple of signal.Signals
        What comes after them.

    Returns
    -------
    outcome : Outcome
    """
    if training.needs_vqvae and not (folder / "vqvae.safetensors").exists():
        finish(start(folder, TRAININGS[0], "."))
    finish(start(folder, training, "whole"))
    outcome = Outcome()
    stops = [signal.SIGKILL] * n_kills + list(others)
    while stops:
        process = start(folder, training, "cut", "--resume")
        wait_for_a_moment(folder / "cut", training, process, rng)
        process.send_signal(stops[0])
        out, err = process.communicate()
        if process.returncode == 0:  # done, before the signal came: once more
            check_result(outcome, folder, training)
            continue
        code, model = process.returncode, training.model
        check_stop(outcome, folder / "cut", model, stops[0], code, out, err)
        del stops[0]
    finish(start(folder, training, "cut", "--resume"))
    check_result(outcome, folder, training)
    shutil.rmtree(folder / "whole")
    return outcome


def check_result(outcome, folder, training):
    """Compare, and remove what was compared."""
    outcome.differences += compare(folder / "whole", folder / "cut", training.model)
    outcome.differences += compare_codes(folder, training)
    shutil.rmtree(folder / "cut")


def check_stop(outcome, folder, model, signum, code, out, err):
    """Count what a signal came into, and note what should not be."""
    if "Traceback" in err:
        outcome.differences.append("a traceback was shown")
    if signum == signal.SIGKILL:
        outcome.kills += 1
        if code != -signum:
            outcome.differences.append(f"exit code {code}: {err}")
        outcome.in_training += "Training on" in out
        outcome.in_write += any(folder.glob(".tmp-*"))
        return
    name, expected = signal.Signals(signum).name, 128 + signum
    outcome.after_stop[name] = code
    if code != expected:
        outcome.differences.append(f"exit code {code} after {name}")
    # After the training, while the report is made, the model is what is kept.
    if not any(folder.glob("*.checkpoint")) and not (folder / model).exists():
        outcome.differences.append(f"no checkpoint after {name}")


def start(folder, training, out_dir, *options):
    """Start a command as a user would."""
    script = Path(sysconfig.get_path("scripts")) / training.command
    return subprocess.Popen(
        [script, *training.arguments, "--out_dir", out_dir, *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process):
    """Wait for a command that must succeed."""
    out, err = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{process.args[0]} ended with {process.returncode}: {out}{err}")


def wait_for_a_moment(folder, training, process, rng):
    """Wait until some checkpoints are written and a little longer.

    Counted in checkpoints and not in seconds, so that a busy machine does not move
    all the moments to the start.
    """
    checkpoints = [
        folder / f"{training.model}.checkpoint{suffix}" for suffix in ("", ".decoder")
    ]
    n_wanted, last, n_seen = rng.integers(1, 8), states(checkpoints), 0
    while n_seen < n_wanted and process.poll() is None:
        time.sleep(0.0005)
        now = states(checkpoints)
        n_seen += now != last
        last = now
    if rng.random() < 0.3:  # while the next one is written
        while process.poll() is None and not any(folder.glob(".tmp-*")):
            pass
    else:  # within about three steps
        time.sleep(rng.uniform(0, 0.03))


def states(paths):
    """What changes when a file is replaced."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns))
    return found


def compare(whole, cut, model):
    """Differences between two folders of results."""
    differences = []
    names = [sorted(path.name for path in folder.iterdir()) for folder in (whole, cut)]
    if names[0] != names[1]:
        differences.append(f"the folders hold {names[0]} and {names[1]}")
        return differences
    (arrays, metadata), (found, found_metadata) = map(
        content, (whole / model, cut / model)
    )
    differences += [f"array {name}" for name in arrays if arrays[name] != found[name]]
    differences += [k for k in metadata if metadata[k] != found_metadata[k]]
    history = f"{Path(model).stem}_history.json"
    first, second = (json.loads((f / history).read_text()) for f in (whole, cut))
    del first["seconds"], second["seconds"]
    if first != second:
        differences.append(history)
    return differences


def content(path):
    """Bytes of the arrays of a model file, and its other entries without times."""
    with safe_open(path, framework="numpy") as stream:
        metadata = dict(stream.metadata())
        arrays = {name: stream.get_tensor(name).tobytes() for name in stream.keys()}  # noqa: SIM118
    description = json.loads(metadata.pop("description"))
    del description["history"]["seconds"], metadata["sha256"]
    return arrays, {**metadata, "description": description}


def compare_codes(folder, training):
    """Whether two VQ-VAEs give images the same codes, and two priors the same samples."""
    import torch

    from dipy_vqvae import PixelCNNFit, VQVAEFit

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    digests = set()
    for name in ("whole", "cut"):
        path = folder / name / training.model
        if training.needs_vqvae:
            fit = PixelCNNFit.load(path)
            result = fit.sample(8, labels=0 if fit.n_classes else None)
        else:
            result = VQVAEFit.load(path).encode(np.load(folder / "train.npy"))
        digests.add(hashlib.sha256(result.tobytes()).hexdigest())
    torch.set_num_threads(n_threads)
    return ["the codes"] if len(digests) > 1 else []


def version():
    """The packages that matter."""
    import torch

    import dipy_vqvae

    return f"dipy_vqvae {dipy_vqvae.__version__}, torch {torch.__version__}"


if __name__ == "__main__":
    main()

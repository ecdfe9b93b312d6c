"""What damaged and forged files do: models, checkpoints, NIfTI images, compressed ones.

Damages files in many ways (bits, bytes, digits, cuts, insertions; half of the time in
the header, where they mean most) and reads them with the functions that the commands
use. A file must either be refused with one line that names it, or read for what it is:

- a model or a checkpoint with exactly what the file held before,
- a ``.nii.gz`` image and a ``.vqz`` one likewise, as they have a checksum,
- a ``.nii`` image, which has none, as any valid image: finite values, as many as its
  header says, and a finite reconstruction,
- a forged model, with a right checksum, as a network of the shapes in the file,
- a forged ``.vqz`` image, with a right checksum, as a finite image.

No other exception, no hang, no memory beyond the file's size. Some of the files are
also given to the commands themselves. Prints Markdown, and ends with exit code 1 if
anything else happens.

    python benchmarks/fuzz_files.py
    python benchmarks/fuzz_files.py --mutations 200 --commands 4 --seed 1
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field
import gzip
import json
import logging
import os
from pathlib import Path
import platform
import random
import resource
import signal
import subprocess
import sys
import sysconfig
from tempfile import TemporaryDirectory
import time

import nibabel as nib
import numpy as np
import torch

import dipy_vqvae
from dipy_vqvae import (
    PixelCNNFit,
    PixelCNNModel,
    VQVAEFit,
    VQVAEModel,
    load_images,
    open_images,
)
from dipy_vqvae.codes import load_codes
from dipy_vqvae.compression import pack, unpack, unpack_images
from dipy_vqvae.storage import load_model, write_tensor_file
from dipy_vqvae.vqvae import decode_images
from dipy_vqvae.workflows import (
    CompressVQVAEFlow,
    EncodeVQVAEFlow,
    is_expected,
    one_line,
    reading_of,
)

SIZE = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1}
FIT = {"n_epochs": 2, "n_decoder_epochs": 1, "batch_size": 16, "checkpoint_steps": 1}
LONGEST = 5  # seconds of processor time for one file
# How messages of what is in a compressed file begin.
OF_COMPRESSED = (
    "damaged: ",
    "not compressed codes",
    "compressed with",
    "the codes ",
    "mask: these codes were compressed with one that is not in the file",
)
# And those of images far from what the model knows.
OF_IMAGES = "images: has values"
MOST_MEMORY = 300 * 1024  # KiB more than before, whatever a file declares


class Wrong(Exception):
    """What no file may lead to."""


class TooLong(BaseException):
    """A file took longer than `LONGEST`."""


class Killed(BaseException):
    """Ends a training within a step."""


@dataclass
class Outcome:
    """What the damaged copies of one file led to."""

    counts: Counter = field(default_factory=Counter)
    failures: list = field(default_factory=list)
    slowest: float = 0.0
    memory: int = 0


# Damage.


def mutations(content, header_end, rng, n):
    """Yield `n` damaged copies of a file's content."""
    digits = [i for i in range(header_end) if chr(content[i]).isdigit()]
    kinds = ["bit", "bit", "bits", "byte", "cut", "insert", "zero", "repeat", "digit"]
    while n:
        damaged = bytearray(content)
        end = rng.choice([header_end, len(content)])
        position = rng.randrange(end)
        kind = rng.choice(kinds)
        if kind == "bit":
            damaged[position] ^= 1 << rng.randrange(8)
        elif kind == "bits":
            for _ in range(rng.randrange(2, 9)):
                damaged[rng.randrange(end)] ^= 1 << rng.randrange(8)
        elif kind == "byte":
            damaged[position] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        elif kind == "cut":
            del damaged[position:]
        elif kind == "insert":
            damaged[position:position] = rng.randbytes(rng.choice([1, 8, 200]))
        elif kind == "zero":
            stop = min(len(damaged), position + rng.choice([4, 64]))
            damaged[position:stop] = bytes(stop - position)
        elif kind == "repeat":
            damaged[position:position] = damaged[position : position + 64]
        elif digits:
            damaged[rng.choice(digits)] = ord(rng.choice("0123456789"))
        if damaged != content:
            n -= 1
            yield bytes(damaged)


def forgeries(path, kind, rng, n):
    """Yield the content of `n` models with other settings and a right checksum."""
    content = load_model(path, kind=kind)
    target = path.with_name("forgery")
    for _ in range(n):
        entries = {"config": content.config, "description": content.description}
        entries = json.loads(json.dumps(entries))
        arrays = dict(content.arrays)
        if rng.random() < 0.1:
            name = rng.choice(sorted(arrays))
            arrays[rng.choice([name, "x"])] = np.zeros(rng.choice([0, 1, 5]), "f4")
        for _ in range(rng.choice([1, 1, 3])):
            entries.setdefault("config", None)
            forge(rng.choice([entries["config"], entries, entries]), rng)
        write_tensor_file(target, kind=kind, arrays=arrays, entries=entries)
        yield target.read_bytes()


def forged_sections(path, rng, n):
    """Yield compressed files of which a section is damaged, with a right checksum."""
    sections = unpack(path.read_bytes())
    places = [i for i, section in enumerate(sections) if section]
    for _ in range(n):
        place = rng.choice(places)
        (damaged,) = mutations(sections[place], len(sections[place]), rng, 1)
        yield pack([*sections[:place], damaged, *sections[place + 1 :]])


def forge(entries, rng):
    """Change one of the values in nested dicts and lists, in place."""
    if not isinstance(entries, (dict, list)) or not entries:
        return
    keys = list(entries) if isinstance(entries, dict) else list(range(len(entries)))
    key = rng.choice(keys)
    if isinstance(entries[key], (dict, list)) and rng.random() < 0.8:
        forge(entries[key], rng)
    elif isinstance(entries, dict) and rng.random() < 0.1:
        del entries[key]
    else:
        numbers = [0, 1, -1, 3, 2**20, 2**31, 2**62, 10**30, 1e300, 0.5, float("nan")]
        others = [None, True, "x", "", [], {}, [1], [2**40] * 3, {"x": 1}]
        entries[key] = rng.choice([*numbers, *numbers, *others])


# What is made of a damaged file: "the same", "another image", or an exception.


class ModelReader:
    """Models, as the commands load them."""

    def __init__(self, fit, path):
        self.load = type(fit).load
        self.kind = "vqvae" if isinstance(fit, VQVAEFit) else "pixelcnn"
        self.expected = load_model(path, kind=self.kind)

    def read(self, path):
        self.load(path)
        found = load_model(path, kind=self.kind)
        for name in ("config", "description"):
            if getattr(found, name) != getattr(self.expected, name):
                raise Wrong(f"another {name} was accepted")
        check_arrays(found.arrays, self.expected.arrays)
        return "the same"


class ForgeryReader:
    """Models with a right checksum, used as a command would use them."""

    def __init__(self, images):
        self.images = images

    def read(self, path):
        fit = VQVAEFit.load(path)
        reading_of(fit)
        fit.predict(self.images)
        return "another model"


class ForgedPriorReader:
    """Priors with a right checksum."""

    def read(self, path):
        PixelCNNFit.load(path)
        return "another model"


class CheckpointReader:
    """Checkpoints, as a training reads them that goes on."""

    def __init__(self, model, images, expected):
        self.model = model
        self.images = images
        self.expected = expected

    def read(self, path):
        fit = self.model.fit(self.images, **FIT, checkpoint=path)
        if fit.history != self.expected.history:
            raise Wrong("another history")
        states = (f.net.state_dict().items() for f in (fit, self.expected))
        check_arrays(*({k: t.numpy() for k, t in state} for state in states))
        return "the same"


class CodesReader:
    """Files of codes, as they are decoded."""

    def __init__(self, fit, path, *, has_checksum):
        self.fit = fit
        self.has_checksum = has_checksum
        self.expected = decode_images(fit, load_codes(path))

    def read(self, path):
        images = decode_images(self.fit, load_codes(path))
        if not np.isfinite(images).all():
            raise Wrong("an image that is not finite")
        is_same = np.array_equal(images, self.expected)
        if self.has_checksum and not is_same:
            raise Wrong("other codes were accepted")
        return "the same" if is_same else "another image"


class CompressedReader:
    """Compressed images, as they are decompressed."""

    def __init__(self, fit, prior, path, *, has_checksum):
        self.fit = fit
        self.prior = prior
        self.has_checksum = has_checksum
        self.expected = self.images(path)

    def images(self, path):
        coded, _ = unpack_images(self.fit, self.prior, path.read_bytes())
        return np.concatenate([decode_images(self.fit, c).ravel() for c in coded])

    def read(self, path):
        images = self.images(path)
        if not np.isfinite(images).all():
            raise Wrong("an image that is not finite")
        is_same = np.array_equal(images, self.expected)
        if self.has_checksum and not is_same:
            raise Wrong("another image was accepted")
        return "the same" if is_same else "another image"


class ImageReader:
    """NIfTI images, as the commands read and use them."""

    def __init__(self, fit, path, *, has_checksum):
        self.fit = fit
        self.has_checksum = has_checksum
        self.expected = load_images([path])

    def read(self, path):
        found = load_images([path])
        images, affine = found.images, found.sources.files[0].affine
        if not (np.isfinite(images).all() and np.isfinite(affine).all()):
            raise Wrong("a value that is not finite")
        if images.nbytes > 1024 * (1000 + path.stat().st_size):
            raise Wrong(f"{images.nbytes} bytes from {path.stat().st_size}")
        restored = self.fit.predict(images)
        if not np.isfinite(restored).all():
            raise Wrong("a reconstruction that is not finite")
        expected = self.expected
        is_same = (
            images.dtype == expected.images.dtype
            and np.array_equal(images, expected.images)
            and np.array_equal(affine, expected.sources.files[0].affine)
        )
        if self.has_checksum and not is_same:
            raise Wrong("another image was accepted")
        return "the same" if is_same else "another image"


def check_arrays(found, expected):
    if found.keys() != expected.keys():
        raise Wrong("other arrays were accepted")
    for name, array in expected.items():
        if array.tobytes() != found[name].tobytes():
            raise Wrong(f"another {name} was accepted")


def try_all(contents, read, path):
    """Write each content to a file, read it, and count what comes of it.

    Parameters
    ----------
    contents : iterable of bytes
        Contents of the damaged files.
    read : callable
        Takes the path; says what was read, or raises.
    path : Path
        Where to put the files.

    Returns
    -------
    outcome : Outcome
    """
    outcome = Outcome()
    before = peak_memory()
    for content in contents:
        path.write_bytes(content)
        start = time.process_time()
        try:
            with time_limit():
                outcome.counts[read(path)] += 1
        except (Exception, TooLong) as error:  # noqa: BLE001
            line = one_line(error)
            # What comes from within a file is named by the commands.
            starts = ("the model", "these codes", "codes ", OF_IMAGES, *OF_COMPRESSED)
            names_it = path.name in line or line.startswith(starts)
            if is_expected(error) and names_it:
                outcome.counts["refused"] += 1
            else:
                outcome.failures.append(f"{type(error).__name__}: {line}"[:200])
                path.with_name(f"failure-{len(outcome.failures)}").write_bytes(content)
        outcome.slowest = max(outcome.slowest, time.process_time() - start)
    outcome.memory = peak_memory() - before
    if outcome.memory > MOST_MEMORY:
        outcome.failures.append(f"{outcome.memory / 1024:.0f} MiB of memory were taken")
    return outcome


class time_limit:
    """Raise `TooLong` in what takes more than `LONGEST` seconds of the processor."""

    def __enter__(self):
        self.previous = signal.signal(signal.SIGVTALRM, self._stop)
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)

    def __exit__(self, *exception):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, self.previous)

    def _stop(self, signum, frame):
        raise TooLong


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# The files.


@dataclass(frozen=True)
class Case:
    """A file to damage, and who reads it."""

    name: str
    path: Path
    reader: object
    header_end: int
    arguments: list
    contents: object = None

    def damaged(self, rng, n):
        """Yield the contents of `n` damaged files."""
        if self.contents is not None:
            return self.contents(rng, n)
        return mutations(self.path.read_bytes(), self.header_end, rng, n)


def make_cases(folder):
    """Train small models, write one file of each kind, and say how it is read.

    Parameters
    ----------
    folder : Path
        Where to write.

    Returns
    -------
    cases : list of Case
    """
    volume = np.random.default_rng(0).normal(100, 30, (12, 10, 48)).astype(np.int16)
    affine = np.array([[2, 0.1, 0, -9], [-0.1, 2, 0, 5], [0, 0, 3, 1], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(volume, affine)
    image.header.set_slope_inter(0.5, 10)
    for name in ("image.nii", "image.nii.gz"):
        nib.save(image, folder / name)
    images = load_images([folder / "image.nii"]).images
    model = VQVAEModel(**SIZE)
    fit = model.fit(open_images(folder / "image.nii"), **FIT)
    fit.save(folder / "vqvae.safetensors")
    codes = fit.encode(images)
    prior = PixelCNNModel(6, n_channels=4, n_layers=1).fit(codes, n_epochs=1)
    prior.save(folder / "pixelcnn.safetensors")
    EncodeVQVAEFlow().run(
        str(folder / "vqvae.safetensors"),
        [str(folder / "image.nii")],
        out_dir=str(folder),
        out_codes="codes.nii",
    )
    CompressVQVAEFlow().run(
        str(folder / "vqvae.safetensors"),
        str(folder / "pixelcnn.safetensors"),
        [str(folder / "image.nii")],
        out_dir=str(folder),
    )
    stop_within(model, images, folder / "run.checkpoint")
    vqvae, prior_path = folder / "vqvae.safetensors", folder / "pixelcnn.safetensors"
    reconstruct = ["dipy_reconstruct_vqvae", "FILE", folder / "image.nii"]
    sample = ["dipy_sample_vqvae", vqvae, "FILE", "--n_samples", "2"]
    read = ["dipy_reconstruct_vqvae", vqvae, "FILE"]
    compressed = folder / "compressed.vqz"
    decompress = ["dipy_decompress_vqvae", vqvae, prior_path, "FILE"]
    return [
        Case("VQ-VAE", vqvae, ModelReader(fit, vqvae), end(vqvae), reconstruct),
        Case(
            "prior", prior_path, ModelReader(prior, prior_path), end(prior_path), sample
        ),
        Case(
            "VQ-VAE, forged",
            vqvae,
            ForgeryReader(images),
            0,
            reconstruct,
            contents=lambda rng, n: forgeries(vqvae, "vqvae", rng, n),
        ),
        Case(
            "prior, forged",
            prior_path,
            ForgedPriorReader(),
            0,
            sample,
            contents=lambda rng, n: forgeries(prior_path, "pixelcnn", rng, n),
        ),
        Case(
            "checkpoint",
            folder / "run.checkpoint",
            CheckpointReader(model, images, fit),
            end(folder / "run.checkpoint"),
            resume_command(folder),
        ),
        Case(
            "codes, `.nii`",
            folder / "codes.nii",
            CodesReader(fit, folder / "codes.nii", has_checksum=False),
            1200,
            ["dipy_decode_vqvae", vqvae, "FILE"],
        ),
        Case(
            "`.vqz`",
            compressed,
            CompressedReader(fit, prior, compressed, has_checksum=True),
            40,
            decompress,
        ),
        Case(
            "`.vqz`, forged",
            compressed,
            CompressedReader(fit, prior, compressed, has_checksum=False),
            0,
            decompress,
            contents=lambda rng, n: forged_sections(compressed, rng, n),
        ),
        Case(
            "`.nii`",
            folder / "image.nii",
            ImageReader(fit, folder / "image.nii", has_checksum=False),
            352,
            read,
        ),
        Case(
            "`.nii.gz`",
            folder / "image.nii.gz",
            ImageReader(fit, folder / "image.nii.gz", has_checksum=True),
            30,
            read,
        ),
        Case(
            "`.nii.gz`, damaged and then compressed",
            folder / "image.nii.gz",
            ImageReader(fit, folder / "image.nii.gz", has_checksum=False),
            0,
            read,
            contents=lambda rng, n: (
                gzip.compress(content, 1)
                for content in mutations(
                    (folder / "image.nii").read_bytes(), 352, rng, n
                )
            ),
        ),
    ]


def end(path):
    """Where the header of a safetensors file ends."""
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def stop_within(model, images, path):
    """Leave the checkpoint of a training that was killed in its fourth step."""
    from dipy_vqvae.vqvae import VQVAETask

    loss, n_calls = VQVAETask.loss, 0

    def loss_of_few_steps(self, indices, progress, random_seed):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 5:
            raise Killed
        return loss(self, indices, progress, random_seed)

    VQVAETask.loss = loss_of_few_steps
    try:
        model.fit(images, **FIT, checkpoint=path)
    except Killed:
        pass
    finally:
        VQVAETask.loss = loss


def resume_command(folder):
    """The command that continues a checkpoint; it must differ, and is told so."""
    return ["dipy_fit_vqvae", folder / "image.nii", "--resume", "--n_epochs", "1"]


# The commands.


def run_command(case, content, folder):
    """Give one damaged file to a command; return what is wrong, or None."""
    folder.mkdir()
    name = "damaged" + "".join(case.path.suffixes)
    arguments = [folder / name if word == "FILE" else word for word in case.arguments]
    if "--resume" in arguments:
        name = "vqvae.safetensors.checkpoint"
    (folder / name).write_bytes(content)
    before = set(os.listdir(folder))
    script = Path(sysconfig.get_path("scripts")) / str(arguments[0])
    done = subprocess.run(
        [str(word) for word in [script, *arguments[1:], "--out_dir", folder]],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if ": error: " in line]
    if "Traceback" in done.stderr or "unexpected" in done.stderr:
        return f"{case.name}: {done.stderr[-300:]}"
    if done.returncode not in (0, 1) or bool(lines) != bool(done.returncode):
        return f"{case.name}: exit code {done.returncode}, {done.stderr[-300:]}"
    if done.returncode and set(os.listdir(folder)) != before:
        return f"{case.name}: {set(os.listdir(folder)) - before} was left behind"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", default=1000, type=int, help="of each file")
    parser.add_argument("--commands", default=20, type=int, help="runs of commands")
    parser.add_argument("--seed", default=0, type=int)
    args = parser.parse_args()
    logging.getLogger("dipy_vqvae").addHandler(logging.NullHandler())
    logging.getLogger("dipy_vqvae").propagate = False
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    print(f"dipy_vqvae {dipy_vqvae.__version__}, nibabel {nib.__version__}, ", end="")
    print(f"Python {platform.python_version()}; seed {args.seed}.\n")
    print(
        "| file | damaged copies | refused | read as it was | read as another | ",
        end="",
    )
    print("slowest, s | memory, MiB | failures |\n|---|---|---|---|---|---|---|---|")
    failures = []
    with TemporaryDirectory() as folder:
        cases = make_cases(Path(folder))
        for case in cases:
            path = Path(folder) / ("damaged" + "".join(case.path.suffixes))
            outcome = try_all(case.damaged(rng, args.mutations), case.reader.read, path)
            print(row(case, outcome, args.mutations), flush=True)
            failures += [f"{case.name}: {failure}" for failure in outcome.failures]
        for number in range(args.commands):
            case = cases[number % len(cases)]
            (content,) = case.damaged(rng, 1)
            wrong = run_command(case, content, Path(folder) / f"run-{number}")
            failures += [wrong] if wrong else []
    print(f"\n{args.commands} damaged files given to commands; ", end="")
    print(f"{len(failures)} failures in all.")
    for failure in failures[:20]:
        print(f"- {failure}")
    sys.exit(1 if failures else 0)


def row(case, outcome, n):
    """One line of the table."""
    counts = outcome.counts
    others = counts["another image"] + counts["another model"]
    cells = [case.name, n, counts["refused"], counts["the same"], others]
    cells += [f"{outcome.slowest:.2f}", f"{outcome.memory / 1024:.0f}"]
    return f"| {' | '.join(map(str, [*cells, len(outcome.failures)]))} |"


if __name__ == "__main__":
    main()

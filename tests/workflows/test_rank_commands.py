"""Commands in two processes: one result, one voice, and no hanging."""

import csv
import json
import os
from pathlib import Path
import re
import subprocess
import sys

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
import torch
from toy_vqvae import blobs

from dipy_vqvae import PixelCNNFit, VQVAEFit
from dipy_vqvae.storage.model_file import CHECKPOINT, read_tensor_file

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not torch.distributed.is_available() or not hasattr(os, "fork"),
        reason="no gloo here",
    ),
]
SETTINGS = [
    "--n_codes",
    "8",
    "--code_dim",
    "4",
    "--n_channels",
    "8",
    "--n_blocks",
    "1",
    "--batch_size",
    "7",
]
PRIOR = [
    "train/*.nii.gz",
    "--n_channels",
    "8",
    "--n_layers",
    "2",
    "--batch_size",
    "7",
    "--out_report",
    "None",
]
FIT = ["dipy_fit_vqvae", "train/*.nii.gz", *SETTINGS, "--out_report", "None"]
FOREVER = [*FIT, "--n_epochs", "100000", "--checkpoint_steps", "2"]


class Commands:
    """Runs commands in a folder, in one or several processes."""

    def __init__(self, folder, port):
        self.folder, self.n_run = folder, 0
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).parents[1] / "support" / "rank_commands.py"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": str(port)},
        )

    def __call__(self, *command, **how):
        self.n_run += 1
        job = {"name": f"log-{self.n_run}", "command": command, **how}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def commands(tmp_path_factory, free_port):
    folder = tmp_path_factory.mktemp("commands")
    (folder / "train").mkdir()
    for i in range(3):
        volume = np.moveaxis(blobs(7, (12, 10), seed=i), 0, 2).astype(np.float32)
        image = nib.Nifti1Image(volume, np.diag([2, 2, 3, 1]))
        image.to_filename(folder / f"train/s{i}.nii.gz")
    commands = Commands(folder, free_port())
    yield commands
    commands.process.stdin.close()
    commands.process.wait()


@pytest.fixture(scope="module")
def models(commands):
    """The folders of models fitted in one and in two processes."""
    for n in (1, 2):
        folder = f"in-{n}"
        outcome = commands(*FIT, "--n_epochs", "2", "--out_dir", folder, n=n)
        assert outcome["codes"] == [0] * n
        assert outcome["out"][0].count("Wrote") == 2
        assert not any(outcome["out"][1:] + outcome["err"][1:])
        model = f"{folder}/vqvae.safetensors"
        fit_prior = ["dipy_fit_pixelcnn", model, *PRIOR, "--n_epochs", "2"]
        assert commands(*fit_prior, "--out_dir", folder, n=n)["codes"] == [0] * n
    return commands.folder / "in-1", commands.folder / "in-2"


def test_one_model_whatever_the_number_of_processes(models):
    for name, kind in (
        ("vqvae.safetensors", VQVAEFit),
        ("pixelcnn.safetensors", PixelCNNFit),
    ):
        one, two = (kind.load(folder / name).net.state_dict() for folder in models)
        for key in one:
            npt.assert_allclose(two[key], one[key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_samples_are_the_same_bit_for_bit(commands, models):
    files = [models[0] / name for name in ("vqvae.safetensors", "pixelcnn.safetensors")]
    draws = []
    for n in (1, 2):
        out = f"samples-{n}"
        command = ["dipy_sample_vqvae", *map(str, files), "--n_samples", "5"]
        assert commands(*command, "--out_dir", out, n=n)["codes"] == [0] * n
        draws.append(nib.load(commands.folder / out / "samples.nii.gz").get_fdata())
    npt.assert_array_equal(*draws)
    assert len(np.unique(draws[0].reshape(-1, 5), axis=1).T) == 5


def test_encoding_and_decoding_are_the_same_bit_for_bit(commands, models):
    model = str(models[0] / "vqvae.safetensors")
    for n in (1, 2):
        encode = [
            "dipy_encode_vqvae",
            model,
            "train/*.nii.gz",
            "--out_dir",
            f"codes-{n}",
        ]
        decode = ["dipy_decode_vqvae", model, f"codes-{n}", "--out_dir", f"decoded-{n}"]
        for command in (encode, decode):
            outcome = commands(*command, n=n)
            assert outcome["codes"] == [0] * n
            assert all("Wrote" in out for out in outcome["out"])  # each its own files
    for kind in ("codes", "decoded"):
        one, two = (
            {p.name: p for p in (commands.folder / f"{kind}-{n}").iterdir()}
            for n in (1, 2)
        )
        assert len(one) == 3 and set(one) == set(two)
        for name, path in one.items():
            first, second = nib.load(path), nib.load(two[name])
            npt.assert_array_equal(first.affine, second.affine)
            npt.assert_array_equal(first.get_fdata(), second.get_fdata())


def test_files_are_shared_and_the_results_the_same(commands, models):
    bad = commands.folder / "bad.nii.gz"
    bad.write_bytes(b"no image")
    model = str(models[0] / "vqvae.safetensors")
    command = ["dipy_reconstruct_vqvae", model, "bad.nii.gz", "train/*.nii.gz"]
    tables = []
    for n in (1, 2):
        outcome = commands(*command, "--out_dir", f"restored-{n}", n=n)
        assert outcome["codes"] == [1] * n
        errors = "".join(outcome["err"])
        assert errors.count("error: 1 of 4 files failed: bad.nii.gz") == 1
        assert errors.count("error: bad.nii.gz") == 1
        assert all("Wrote" in out for out in outcome["out"])  # each its own files
        with open(commands.folder / f"restored-{n}/metrics.csv", newline="") as stream:
            tables.append(list(csv.DictReader(stream)))
    assert tables[0] == tables[1]
    assert [row["file"] for row in tables[0]] == [
        f"train/s{i}.nii.gz" for i in range(3)
    ]
    names = sorted(path.name for path in (commands.folder / "restored-1").iterdir())
    assert len(names) == 8
    assert names == sorted(p.name for p in (commands.folder / "restored-2").iterdir())
    for name in names:
        if name.endswith(".nii.gz"):
            one, two = (
                nib.load(commands.folder / f"restored-{n}" / name).get_fdata()
                for n in (1, 2)
            )
            npt.assert_array_equal(two, one)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--n_epochs", "-1"], 2, "--n_epochs must be a number above 0"),
        (["--nonsense"], 2, "unrecognized arguments: --nonsense"),
        (["--out_dir", "in-2"], 1, "in-2/vqvae.safetensors and 1 more output exist"),
        (["--out_dir", "train/s0.nii.gz"], 1, "train/s0.nii.gz is a file"),
        (
            ["--batch_size", "1", "--out_dir", "x"],
            1,
            "batch_size=1 is too small for 2 processes",
        ),
    ],
)
def test_what_is_wrong_is_said_once(commands, models, arguments, code, line):
    outcome = commands(*FIT, *arguments)
    assert outcome["codes"] == [code, code]
    assert "".join(outcome["err"]).count("error:") == 1
    assert line in "".join(outcome["err"])


def test_a_gpu_in_one_process_only_is_refused(commands):
    for gpu_in, without in (([0], 1), ([1], 0)):
        outcome = commands(*FIT, "--use_cuda", "--out_dir", "gpu", gpu_in=gpu_in)
        assert outcome["codes"] == [1, 1]
        assert f"finds no GPU in process {without} of 2" in "".join(outcome["err"])
    outcome = commands(*FIT, "--use_cuda", "--out_dir", "gpu", gpu_in=[0, 1])
    assert "processes 0 and 1 have the same GPU" in "".join(outcome["err"])
    epochs = ["--n_epochs", "1"]
    outcome = commands(*FIT, *epochs, "--use_cuda", "--out_dir", "gpu")
    assert outcome["codes"] == [0, 0]
    assert "torch finds no GPU: using the CPU" in outcome["err"][0]


def test_the_experiment_is_for_one_process(commands):
    outcome = commands("dipy_validate_vqvae", "--quick", "--out_dir", "validation")
    assert outcome["codes"] == [2, 2]
    assert "runs in one process" in "".join(outcome["err"])


@pytest.mark.parametrize("kind", [VQVAEFit, PixelCNNFit])
def test_a_killed_process_ends_the_job_and_resume_goes_on(commands, models, kind):
    fit, name = FIT, "vqvae.safetensors"
    if kind is PixelCNNFit:
        fit = ["dipy_fit_pixelcnn", str(models[0] / name), *PRIOR]
        name = "pixelcnn.safetensors"
    # As long a training as is resumed, for the learning rates to be the same.
    short = [*fit, "--n_epochs", "80", "--checkpoint_steps", "2"]
    killed, whole = (f"{out}-{kind.__name__}" for out in ("killed", "whole"))
    checkpoint = str(commands.folder / killed / f"{name}.checkpoint")
    outcome = commands(
        *short, "--out_dir", killed, send="SIGKILL", when=checkpoint, to=1
    )
    assert outcome["codes"] == [1, -9]
    assert "another process of this job has ended" in outcome["err"][0]
    assert "--resume" in outcome["out"][0]
    assert outcome["err"][0].count("error:") == 1
    assert outcome["seconds"] < 300  # not after the timeout of half an hour
    for out in (killed, whole):
        assert commands(*short, "--resume", "--out_dir", out)["codes"] == [0, 0]
    resumed, expected = (
        kind.load(commands.folder / out / name).net.state_dict()
        for out in (killed, whole)
    )
    for key in expected:
        npt.assert_array_equal(resumed[key], expected[key], err_msg=key)
    # Once more, as a job that is started again and again: there is nothing to do.
    outcome = commands(*short, "--resume", "--out_dir", killed)
    assert outcome["codes"] == [0, 0]
    assert f"{killed}/{name} is there: nothing is left to train" in outcome["out"][0]
    assert "Wrote" not in "".join(outcome["out"])
    outcome = commands(*short, "--resume", "--learning_rate", "1", "--out_dir", killed)
    assert outcome["codes"] == [1, 1]
    assert "fitting.learning_rate was 0.01, now it is 1" in "".join(outcome["err"])


def test_a_signal_to_one_process_stops_all(commands):
    checkpoint = str(commands.folder / "stopped/vqvae.safetensors.checkpoint")
    outcome = commands(
        *FOREVER, "--out_dir", "stopped", send="SIGTERM", when=checkpoint, to=1
    )
    assert outcome["codes"] == [143, 143]
    assert "".join(outcome["err"]).count("stopped by SIGTERM after step") == 1
    assert os.path.exists(checkpoint)


@pytest.mark.parametrize("to", [0, 1])
def test_what_is_said_to_be_kept_is_in_the_file(commands, to):
    """Nobody leaves before the first process has written."""
    folder = f"slow-{to}"
    path = str(commands.folder / folder / "vqvae.safetensors.checkpoint")
    how = {"send": "SIGTERM", "when": path, "to": to, "writing_takes": 1.5}
    outcome = commands(*FOREVER, "--out_dir", folder, **how)
    assert outcome["codes"] == [143, 143]
    errors = "".join(outcome["err"])
    (step,) = re.findall(r"error: stopped by SIGTERM after step (\d+)", errors)
    progress = read_tensor_file(path, kind=CHECKPOINT).entries["progress"]
    assert progress["step"] == int(step) > 2
    assert errors.count("error:") == 1 and "Traceback" not in errors

"""Every command as a process: good input, none, wrong input, existing outputs.

A new command needs an entry in `TABLE`; `test_all_commands_are_in_the_table` says so.
"""

from dataclasses import dataclass, field
from importlib.metadata import entry_points
import os

import nibabel as nib
import numpy as np
import pytest
from trouble import PRECIOUS

TINY = ["--n_codes", "6", "--code_dim", "3", "--n_channels", "8", "--n_epochs", "1"]
TINY_PRIOR = ["--n_channels", "8", "--n_layers", "1", "--n_epochs", "1"]


@dataclass(frozen=True)
class Entry:
    """How a command is called."""

    inputs: list
    outputs: list
    options: list = field(default_factory=list)
    #: Arguments of wrong usage, each with a part of the message.
    wrong_usage: dict = field(default_factory=dict)
    #: Whether it is run here, or elsewhere.
    is_run: bool = True


TABLE = {
    "dipy_fetch_mnist": Entry([], [], is_run=False),
    "dipy_fit_vqvae": Entry(
        ["train.npy"],
        ["vqvae.safetensors", "vqvae_history.json", "report.html"],
        TINY,
        {
            "--n_codes 1": "at least 2",
            "--checkpoint_steps 0": "at least 1",
            "--decay 1": "from 0 to 0.9999",
            "--revive_below 2": "from 0 to 1",
            "--n_refinements 101": "from 0 to 100",
        },
    ),
    "dipy_fit_pixelcnn": Entry(
        ["vqvae.safetensors", "train.npy"],
        ["pixelcnn.safetensors", "pixelcnn_history.json", "pixelcnn_report.html"],
        TINY_PRIOR,
        {"--kind rnn": "one of gated", "--checkpoint_minutes -1": "at least 0"},
    ),
    "dipy_encode_vqvae": Entry(
        ["vqvae.safetensors", "volume.nii.gz"],
        ["codes.nii.gz"],
        wrong_usage={
            "--batch_size 0": "--batch_size",
            "--slice_axis 3": "one of 0, 1, 2",
        },
    ),
    "dipy_decode_vqvae": Entry(
        ["vqvae.safetensors", "codes.nii.gz"],
        ["decoded.nii.gz"],
        wrong_usage={"--out_decoded x.png": "the name of a file that ends in .nii"},
    ),
    "dipy_compress_vqvae": Entry(
        ["vqvae.safetensors", "pixelcnn.safetensors", "volume.nii.gz"],
        ["compressed.vqz", "sizes.csv"],
        wrong_usage={
            "--rate -1": "at least 0",
            "--out_compressed x.nii": "the name of a file that ends in .vqz",
        },
    ),
    "dipy_decompress_vqvae": Entry(
        ["vqvae.safetensors", "pixelcnn.safetensors", "compressed.vqz"],
        ["decompressed.nii.gz"],
        wrong_usage={"--batch_size 0": "--batch_size"},
    ),
    "dipy_reconstruct_vqvae": Entry(
        ["vqvae.safetensors", "volume.nii.gz"],
        ["reconstruction.nii.gz", "residual.nii.gz", "metrics.csv", "mosaic.png"],
        wrong_usage={"--batch_size 0": "--batch_size"},
    ),
    "dipy_sample_vqvae": Entry(
        ["vqvae.safetensors", "pixelcnn.safetensors"],
        ["samples.nii.gz", "samples.png"],
        ["--n_samples", "3"],
        {"--temperature -1": "at least 0"},
    ),
    # It writes to the screen: tests/models/test_card.py runs it.
    "dipy_describe_vqvae": Entry([], [], is_run=False),
    "dipy_fit_anomaly": Entry(
        ["vqvae.safetensors", "pixelcnn.safetensors", "healthy"],
        ["anomaly.safetensors", "anomaly_report.html"],
        ["--n_restorations", "2"],
        {
            "--n_restorations 0": "at least 1",
            "--score z": "one of all, both",
            "--erode 2": "--erode requires --mask_files",
        },
    ),
    "dipy_detect_anomaly": Entry(
        ["anomaly.safetensors", "volume.nii.gz"],
        [
            *("zmap.nii.gz", "log10p.nii.gz", "lesions.nii.gz", "restored.nii.gz"),
            *("scores.csv", "detection_report.html"),
        ],
        ["--alpha", "0.2"],
        {
            "--alpha 1": "above 0 and below 1",
            "--alpha 0.05": "6 healthy subjects cannot tell rates below 1/7",
            "--error fp": "one of fwe, fdr, fpr",
        },
    ),
    "dipy_validate_vqvae": Entry(
        [],
        ["results.json"],
        wrong_usage={"--digits --mnist_dir x": "exclude each other"},
        is_run=False,
    ),
}
WITH_INPUTS = [name for name, entry in TABLE.items() if entry.inputs]
RUN = [name for name, entry in TABLE.items() if entry.is_run]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")


@pytest.fixture(scope="module")
def made(fork_server, tmp_path_factory):
    """Folder with images and models, made by the commands."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    np.save(folder / "train.npy", rng.integers(0, 255, (24, 8, 8), np.uint8))
    volume = rng.normal(100, 20, (10, 9, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / "volume.nii.gz")
    (folder / "healthy").mkdir()
    for i in range(6):
        volume = rng.normal(100, 20, (10, 9, 3)).astype(np.float32)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / f"healthy/{i}.nii.gz")
    for name in (
        "dipy_fit_vqvae",
        "dipy_fit_pixelcnn",
        "dipy_encode_vqvae",
        "dipy_fit_anomaly",
        "dipy_compress_vqvae",
    ):
        arguments = [*TABLE[name].inputs, *TABLE[name].options]
        assert fork_server(name, arguments, folder)[0] == 0
    return folder


def good_arguments(made, name):
    entry = TABLE[name]
    return [*(made / path for path in entry.inputs), *entry.options, "--out_dir", "o"]


def last_line(name, err):
    line = err.splitlines()[-1]
    assert line.startswith(f"{name}: error: ")
    return line


def test_all_commands_are_in_the_table():
    installed = {
        entry.name
        for entry in entry_points(group="console_scripts")
        if entry.value.startswith("dipy_vqvae.")
    }
    assert installed == TABLE.keys()


@pytest.mark.parametrize("name", RUN)
def test_good_input_and_existing_outputs(run_command, made, tmp_path, name):
    arguments, outputs = good_arguments(made, name), set(TABLE[name].outputs)
    code, out, err = run_command(name, *arguments)
    assert code == 0, err
    folder = tmp_path / "o"
    assert {path.name for path in folder.iterdir()} == outputs
    assert all(f"Wrote o/{output}" in out for output in outputs)
    for output in outputs:
        for other in outputs:
            (folder / other).unlink(missing_ok=True)
        (folder / output).write_text(PRECIOUS)
        code, out, err = run_command(name, *arguments)
        assert (code, out) == (1, "")
        assert f"o/{output} exists already: add --force" in last_line(name, err)
        assert (folder / output).read_text() == PRECIOUS
        assert [path.name for path in folder.iterdir()] == [output]
    code, _, err = run_command(name, *arguments, "--force")
    assert code == 0, err
    assert {path.name for path in folder.iterdir()} == outputs
    assert all((folder / o).read_bytes() != PRECIOUS.encode() for o in outputs)


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_no_input(run_command, tmp_path, name):
    code, out, err = run_command(name)
    assert (code, out) == (2, "")
    assert err.startswith(f"usage: {name}")
    assert "arguments are required" in last_line(name, err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WITH_INPUTS)
@pytest.mark.parametrize("wrong", ["missing", "a folder", "text", "another kind"])
def test_wrong_input(run_command, made, tmp_path, name, wrong):
    arguments, n_inputs = good_arguments(made, name), len(TABLE[name].inputs)
    bad = tmp_path / "bad"
    for place in range(n_inputs):
        kind = ".npy" if arguments[place].suffix in (".npy", ".gz") else ".safetensors"
        path = bad.with_suffix(kind)
        if wrong == "a folder":
            path.mkdir(exist_ok=True)
        elif wrong == "text":
            path.write_text("neither an image nor a model")
        elif wrong == "another kind":
            other = made / ("train.npy" if kind == ".safetensors" else "volume.nii.gz")
            path.write_bytes(other.read_bytes())
        given = [*arguments[:place], path, *arguments[place + 1 :]]
        code, _, err = run_command(name, *given)
        assert code == 1
        (line, *_) = [line for line in err.splitlines() if ": error: " in line]
        assert line.startswith(f"{name}: error: ") and "bad" in line
        assert not list(tmp_path.glob("o/*"))


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name].wrong_usage])
def test_wrong_usage(run_command, made, tmp_path, name):
    inputs = [made / path for path in TABLE[name].inputs]
    for words, message in {**TABLE[name].wrong_usage, "--bogus": "--bogus"}.items():
        code, out, err = run_command(name, *inputs, *words.split(), "--out_dir", "o")
        # What it is about to do may be said already: files are read after that.
        assert code == 2 and out.count("\n") <= 1 and "Wrote" not in out
        assert message in last_line(name, err)
        assert not list(tmp_path.glob("o/*"))


@pytest.mark.parametrize("name", TABLE)
def test_help_says_what_exit_codes_mean(run_command, name):
    code, out, err = run_command(name, "--help")
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    for words in ("0 done", "1 failed", "2 wrong usage", "130 after", "143 after"):
        assert words in text

"""The commands: what they print, what they refuse, and their exit codes."""

from importlib.metadata import entry_points
import logging
import os
from pathlib import Path
import signal
import subprocess
import sys
import sysconfig
import time
import warnings

import nibabel as nib
import numpy as np
import pytest

from dipy_vqvae._version import __version__

COMMANDS = [
    "dipy_fetch_mnist",
    "dipy_fit_vqvae",
    "dipy_fit_pixelcnn",
    "dipy_encode_vqvae",
    "dipy_decode_vqvae",
    "dipy_compress_vqvae",
    "dipy_decompress_vqvae",
    "dipy_reconstruct_vqvae",
    "dipy_sample_vqvae",
    "dipy_validate_vqvae",
    "dipy_describe_vqvae",
    "dipy_fit_anomaly",
    "dipy_detect_anomaly",
]
WITH_INPUTS = [
    name
    for name in COMMANDS
    if name.split("_")[1] not in ("fetch", "validate", "describe")
]
# Two models and a file.
OF_A_PAIR = ("dipy_compress_vqvae", "dipy_decompress_vqvae", "dipy_fit_anomaly")
TINY = ["--n_codes", "6", "--code_dim", "3", "--n_channels", "8", "--n_epochs", "1"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}

# Runs a command as installed; then says what it cost and whether it needed torch.
PROBE = """
import sys, time
from importlib.metadata import entry_points
name = sys.argv[1]
sys.argv = [name, "--help"]
(entry,) = entry_points(group="console_scripts", name=name)
try:
    entry.load()()
except SystemExit as end:
    heavy = {"torch", "sklearn", "matplotlib"} & set(sys.modules)
    print(f"PROBE {end.code} {time.process_time():.2f} {sorted(heavy)}")
"""


def start(name, *arguments, **options):
    """Start the installed command."""
    script = Path(sysconfig.get_path("scripts")) / name
    return subprocess.Popen(
        [str(script), *(str(a) for a in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def images(path, n=24, shape=(8, 8)):
    np.save(path, np.random.default_rng(0).integers(0, 255, (n, *shape), np.uint8))
    return path


def only_line(err):
    (line,) = err.splitlines()
    return line


# As users start them.


def test_all_commands_are_installed():
    installed = {entry.name for entry in entry_points(group="console_scripts")}
    assert set(COMMANDS) <= installed


def test_help_is_quick_and_needs_no_torch():
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", PROBE, name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        for name in COMMANDS
    }
    for name, process in processes.items():
        out, err = process.communicate(timeout=600)
        *text, probe = out.splitlines()
        _, code, seconds, heavy = probe.split(maxsplit=3)
        assert (code, heavy, err) == ("0", "[]", ""), name
        # Of the processor, as the machine may be busy.
        assert float(seconds) < 1.5, name
        assert text[0].startswith(f"usage: {name}")


def test_from_images_to_samples(tmp_path):
    train = images(tmp_path / "train.npy")
    volume = np.random.default_rng(1).normal(size=(10, 9, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([2, 2, 3, 1])), tmp_path / "v.nii.gz")
    vqvae, prior = "m/vqvae.safetensors", "m/pixelcnn.safetensors"
    for name, *arguments in (
        ["dipy_fit_vqvae", train, *TINY, "--out_dir", "m"],
        ["dipy_fit_pixelcnn", vqvae, train, "--n_channels", "8", "--n_layers", "1"]
        + ["--n_epochs", "1", "--out_dir", "m"],
        ["dipy_encode_vqvae", vqvae, "v.nii.gz", "--out_dir", "c"],
        ["dipy_decode_vqvae", vqvae, "c/codes.nii.gz", "--out_dir", "c"],
        ["dipy_compress_vqvae", vqvae, prior, "v.nii.gz", "--out_dir", "p"],
        ["dipy_decompress_vqvae", vqvae, prior, "p", "--out_dir", "p"],
        ["dipy_reconstruct_vqvae", vqvae, "v.nii.gz", "--out_dir", "r"],
        ["dipy_sample_vqvae", vqvae, prior, "--n_samples", "4", "--out_dir", "s"],
    ):
        code, out, err = finish(start(name, *arguments, cwd=tmp_path))
        assert code == 0, err
        assert "Wrote" in out and "Warning" not in err and "error" not in err
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {
        "train.npy",
        "v.nii.gz",
        *(f"m/{n}{e}" for n in ("vqvae", "pixelcnn") for e in (".safetensors",)),
        *(f"m/{n}_history.json" for n in ("vqvae", "pixelcnn")),
        *(f"m/{n}" for n in ("report.html", "pixelcnn_report.html")),
        *(f"c/{n}" for n in ("codes.nii.gz", "decoded.nii.gz")),
        *(f"p/{n}" for n in ("compressed.vqz", "sizes.csv", "decompressed.nii.gz")),
        *(f"r/{n}" for n in ("reconstruction.nii.gz", "residual.nii.gz")),
        *(f"r/{n}" for n in ("metrics.csv", "mosaic.png")),
        *(f"s/{n}" for n in ("samples.nii.gz", "samples.png")),
    }
    restored, decoded, decompressed = (
        nib.load(tmp_path / name)
        for name in (
            "r/reconstruction.nii.gz",
            "c/decoded.nii.gz",
            "p/decompressed.nii.gz",
        )
    )
    assert restored.shape == volume.shape
    assert np.array_equal(restored.get_fdata(), decoded.get_fdata())
    assert np.array_equal(restored.get_fdata(), decompressed.get_fdata())


@pytest.mark.skipif(os.name == "nt", reason="signals as schedulers send them")
def test_sigterm_saves_a_checkpoint_and_has_its_own_exit_code(tmp_path):
    train = images(tmp_path / "train.npy")
    process = start(
        "dipy_fit_vqvae", train, *TINY[:-1], "1000000", "--out_dir", tmp_path
    )
    checkpoint = tmp_path / "vqvae.safetensors.checkpoint"
    deadline = time.monotonic() + 600
    while not checkpoint.exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 143
    assert "Traceback" not in err and "dipy_fit_vqvae: error: " in err
    assert {p.name for p in tmp_path.iterdir()} == {"train.npy", checkpoint.name}


@pytest.mark.skipif(os.name == "nt", reason="signals as schedulers send them")
def test_a_signal_at_the_very_end_shows_no_traceback(tmp_path):
    """As torchrun sends it to all processes when the first one has ended."""
    lines = [
        "import atexit, os, signal, sys",
        "from dipy_vqvae.workflows import cli",
        "for s in (signal.SIGTERM, signal.SIGINT):",
        "    atexit.register(os.kill, os.getpid(), s)",
        "sys.argv = ['dipy_fit_vqvae', '--version']",
        "cli.fit_vqvae()",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "dipy_vqvae" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="pipes as POSIX has them")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_leaves_does_no_harm(tmp_path, stream):
    reading, writing = os.pipe()
    os.close(reading)
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    script = Path(sysconfig.get_path("scripts")) / "dipy_fit_vqvae"
    arguments = ["--help"] if stream == "stdout" else ["--bogus"]
    done = subprocess.run(
        [str(script), *arguments],
        **{stream: writing, other: subprocess.PIPE},
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    os.close(writing)
    assert done.returncode == (0 if stream == "stdout" else 2)
    assert not getattr(done, other)


# Usage: exit code 2, with argparse's usage or one line.


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_no_argument_shows_the_usage(command, name):
    code, out, err = command(name)
    assert (code, out) == (2, "")
    assert err.startswith(f"usage: {name}")
    assert "the following arguments are required" in err.splitlines()[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_version_names_the_package_and_dipy(command, name):
    code, out, err = command(name, "--version")
    assert (code, err) == (0, "")
    assert f"dipy_vqvae {__version__}" in out and "DIPY" in out


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--log_level", "LOUD"], "argument --log_level: invalid choice: 'LOUD'"),
        (["--out_strat", "bogus"], "argument --out_strat: invalid choice: 'bogus'"),
    ],
)
def test_unknown_options_are_refused(command, name, arguments, message):
    inputs = ["a", "b"] if name in WITH_INPUTS else []
    inputs = ["a"] if name == "dipy_describe_vqvae" else inputs
    inputs += ["c"] if name in OF_A_PAIR else []
    code, out, err = command(name, *inputs, *arguments)
    assert (code, out) == (2, "")
    assert f"{name}: error: " in err and message in err


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("fit_vqvae", ["a", "--n_codes", "1.5"], "invalid int value: '1.5'"),
        ("fit_vqvae", ["a", "--n_codes", "None"], "--n_codes: needs a value"),
        (
            "fit_vqvae",
            ["a", "--n_codes", "1"],
            "--n_codes must be an integer of at least 2, got 1",
        ),
        ("fit_vqvae", ["a", "--spatial_dims", "4"], "must be one of 2, 3, got 4"),
        (
            "fit_vqvae",
            ["a", "--out_vqvae", "None"],
            "must be the name of a file, got None",
        ),
        ("fit_vqvae", ["a", "--learning_rate", "nan"], "must be a number above 0"),
        (
            "fit_pixelcnn",
            ["v", "a", "--dropout", "1"],
            "--dropout must be a number from 0 to 0.99",
        ),
        ("fit_pixelcnn", ["v", "a", "--kind", "rnn"], "one of gated, plain, got 'rnn'"),
        ("fit_pixelcnn", ["v", "a", "--patience", "2"], "requires --validation"),
        (
            "reconstruct_vqvae",
            ["v", "a", "--batch_size", "0"],
            "must be an integer of at least 1",
        ),
        (
            "reconstruct_vqvae",
            ["v", "a", "--slice_axis", "3"],
            "must be one of 0, 1, 2",
        ),
        (
            "sample_vqvae",
            ["v", "p", "--temperature", "-1"],
            "must be a number of at least 0",
        ),
        (
            "sample_vqvae",
            ["v", "p", "--n_samples", "0"],
            "must be an integer of at least 1",
        ),
        ("sample_vqvae", ["v", "p", "--label", "x"], "invalid int value: 'x'"),
        ("validate_vqvae", ["--digits", "--mnist_dir", "x"], "exclude each other"),
        ("validate_vqvae", ["--quick", "--thorough"], "exclude each other"),
    ],
)
def test_wrong_values_are_refused(command, name, arguments, message):
    code, out, err = command(f"dipy_{name}", *arguments)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"dipy_{name}: error: ") and message in last
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("fit_vqvae", ["--downsampling", "4", "a.npy"], "name input_files before"),
        ("fit_vqvae", ["--n_epochs", "x/*.nii.gz"], "name input_files before"),
        ("fit_vqvae", ["--mask_files", "a.npy", "a.npy"], "name input_files before"),
        (
            "encode_vqvae",
            ["--mask_files", "a.npy", "v", "a.npy"],
            "name vqvae_file and input_files before the options",
        ),
    ],
)
def test_files_after_options_are_pointed_out(command, name, arguments, message):
    images("a.npy")
    code, _, err = command(f"dipy_{name}", *arguments)
    assert code == 2 and message in err.splitlines()[-1]
    # Nothing is said of files where no file is the reason.
    for others in ([], ["a.npy", "--n_codes", "x"]):
        assert "before" not in command("dipy_fit_vqvae", *others)[2]


def test_images_in_the_place_of_a_model(command, tmp_path):
    train = images("a.npy")
    (tmp_path / "d").mkdir()
    for name, *arguments in (
        ["encode_vqvae", train, "v"],
        ["compress_vqvae", "d", "p", "v"],
        ["detect_anomaly", train, "v"],
        ["fit_anomaly", "d", "p", "v"],
        ["sample_vqvae", train, "v"],
    ):
        code, _, err = command(f"dipy_{name}", *arguments)
        assert code == 1 and "model files come first, then images" in only_line(err)


def test_options_may_be_abbreviated(command):
    code, _, err = command("dipy_fit_vqvae", "a.npy", "--n_co", "1")
    assert code == 2 and "--n_codes must be an integer of at least 2" in err


@pytest.mark.parametrize(
    ("name", "file"), [("fit_vqvae", "a.npy"), ("sample_vqvae", "models")]
)
def test_strategies_are_for_commands_with_outputs_per_input(command, name, file):
    images("a.npy")
    Path("models").touch()
    code, _, err = command(f"dipy_{name}", file, file, "--mix_names")
    assert code == 2 and "--out_strat and --mix_names are for" in only_line(err)
    _, out, _ = command(f"dipy_{name}", "--help")
    assert "--mix_names" not in out
    _, out, _ = command("dipy_reconstruct_vqvae", "--help")
    assert "--mix_names" in out


# Data and files: exit code 1 and one line.


def bad_files(folder):
    """Files that cannot be used, each with what is said about it."""
    good = np.random.default_rng(0).normal(size=(8, 8, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(good, np.eye(4)), folder / "good.nii.gz")
    content = (folder / "good.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    (folder / "text.nii.gz").write_text("no image")
    (folder / "text.txt").write_text("no image")
    (folder / "empty").mkdir()
    arrays = {
        "nan.npy": np.full((4, 8, 8), np.nan),
        "inf.npy": np.full((4, 8, 8), np.inf),
        "none.npy": np.zeros((0, 8, 8)),
        "flat.npy": np.ones((4, 8, 8)),
        "axes.npy": np.zeros((2, 3, 4, 5, 6)),
        "complex.npy": np.ones((4, 8, 8), complex),
    }
    for name, array in arrays.items():
        np.save(folder / name, array)
    return {
        "missing.nii.gz": "no such file",
        "nothing*.nii": "no file matches",
        "empty": "contains no image files",
        "cut.nii.gz": "damaged or cut short",
        "text.nii.gz": "not a NIfTI file",
        "text.txt": "not an image file",
        "nan.npy": "NaN",
        "inf.npy": "Inf",
        "none.npy": "empty",
        "flat.npy": "constant",
        "axes.npy": "not a stack of 2D images",
        "complex.npy": "complex128",
    }


def test_bad_images(command, tmp_path):
    for name, message in bad_files(tmp_path).items():
        code, _, err = command("dipy_fit_vqvae", name, "--out_dir", "o")
        errors = [line for line in err.splitlines() if ": error: " in line]
        assert code == 1, name
        (line,) = errors
        assert line.startswith("dipy_fit_vqvae: error: ") and message in line, line
        assert "Traceback" not in err and "unexpected" not in err
        if name != "flat.npy":
            assert name in line
        assert not list(tmp_path.glob("o/*"))


def test_bad_model_files(command, tmp_path):
    from dipy_vqvae.storage.model_file import save_model

    train = images(tmp_path / "train.npy")
    (tmp_path / "text").write_text("no model")
    (tmp_path / "folder").mkdir()
    save_model(tmp_path / "other", kind="pixelcnn", config={}, arrays={"a": np.ones(2)})
    save_model(tmp_path / "hollow", kind="vqvae", config={}, arrays={"a": np.ones(2)})
    damaged = bytearray((tmp_path / "hollow").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    for name in ("missing", "text", "folder", "other", "hollow", "damaged"):
        for command_name, *arguments in (
            ["dipy_reconstruct_vqvae", name, train],
            ["dipy_fit_pixelcnn", name, train],
            ["dipy_sample_vqvae", name, "text"],
        ):
            code, _, err = command(command_name, *arguments, "--out_dir", "o")
            assert code == 1, (name, err)
            line = only_line(err)
            assert line.startswith(f"{command_name}: error: ") and name in line
            assert "unexpected" not in line
            assert not list(tmp_path.glob("o/*"))


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("fit_vqvae", "vqvae.safetensors"),
        ("fit_vqvae", "vqvae_history.json"),
        ("fit_pixelcnn", "pixelcnn.safetensors"),
        ("reconstruct_vqvae", "residual.nii.gz"),
        ("encode_vqvae", "codes.nii.gz"),
        ("decode_vqvae", "decoded.nii.gz"),
        ("reconstruct_vqvae", "metrics.csv"),
        ("sample_vqvae", "samples.png"),
    ],
)
def test_existing_outputs_need_force(command, tmp_path, name, output):
    train = images(tmp_path / "train.npy")
    (tmp_path / "model").write_text("no model")
    inputs = {"fit_vqvae": [train], "sample_vqvae": ["model", "model"]}
    inputs = inputs.get(name, ["model", train])
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / output).write_text("precious")
    arguments = [f"dipy_{name}", *inputs, "--out_dir", "o"]
    code, _, err = command(*arguments)
    assert code == 1
    assert f"{output} exists already: add --force to overwrite" in only_line(err)
    assert (tmp_path / "o" / output).read_text() == "precious"
    if name == "fit_vqvae":
        code, _, err = command(*arguments, *TINY, "--force")
        assert code == 0, err
        assert "precious" not in (tmp_path / "o" / output).read_text(errors="ignore")
    else:  # it gets past the check, to the model that is none
        code, _, err = command(*arguments, "--force")
        assert code == 1 and "model" in only_line(err) and "exists" not in err


def test_an_output_never_hits_an_input_or_another_output(command, tmp_path):
    train = images(tmp_path / "train.npy")
    before = train.read_bytes()
    code, _, err = command("dipy_fit_vqvae", train, "--out_vqvae", train, "--force")
    assert code == 2 and "would overwrite the input" in only_line(err)
    code, _, err = command(
        "dipy_fit_vqvae", train, "--out_vqvae", "a", "--out_history", "./a", "--force"
    )
    assert code == 2 and "would both write" in only_line(err)
    assert train.read_bytes() == before


@pytest.mark.parametrize("out_dir", ["file", "file/below", "file/far/below"])
def test_an_out_dir_that_cannot_be(command, tmp_path, out_dir):
    train = images(tmp_path / "train.npy")
    (tmp_path / "file").write_text("kept")
    code, _, err = command("dipy_fit_vqvae", train, "--out_dir", out_dir, "--force")
    assert code == 1 and "file is a file" in only_line(err)
    assert (tmp_path / "file").read_text() == "kept"


# Messages.


def test_log_level_and_log_file(command, tmp_path):
    train = images(tmp_path / "train.npy")
    code, out, err = command(
        "dipy_fit_vqvae", train, *TINY, "--out_dir", "a", "--log_file", "log.txt"
    )
    log = (tmp_path / "log.txt").read_text()
    # Without a terminal there is no bar.
    assert code == 0 and "Wrote" in out and "epoch 1: loss" in out and err == ""
    assert "INFO Wrote" in log and "DEBUG" not in log
    code, out, err = command(
        *["dipy_fit_vqvae", train, *TINY, "--out_dir", "b"],
        *["--log_file", "log.txt", "--log_level", "warning"],
    )
    assert (code, out, err) == (0, "", "")
    assert (tmp_path / "log.txt").read_text() == log
    code, out, err = command(
        "dipy_fit_vqvae",
        "missing.npy",
        "--log_level",
        "CRITICAL",
        "--log_file",
        "log.txt",
    )
    assert code == 1 and "missing.npy: no such file" in only_line(err)
    assert "ERROR missing.npy" in (tmp_path / "log.txt").read_text()
    code, out, err = command("dipy_fit_vqvae", "missing.npy", "--log_level", "DEBUG")
    assert code == 1 and "Traceback" in err


@pytest.mark.parametrize("log_file", ["no/folder/log.txt", ".", "other.npy"])
def test_a_log_file_that_cannot_be(command, tmp_path, log_file):
    train, other = (images(tmp_path / f"{name}.npy") for name in ("train", "other"))
    before = other.read_bytes()
    code, _, err = command("dipy_fit_vqvae", train, "--log_file", log_file)
    assert code == 1 and only_line(err).startswith("dipy_fit_vqvae: error: ")
    assert other.read_bytes() == before


def test_many_warnings_of_one_kind_are_a_few(command, monkeypatch, tmp_path):
    from dipy_vqvae.workflows.validate import ValidateVQVAEFlow

    def warn(self, out_dir="x"):
        """Warn.

        Parameters
        ----------
        out_dir : string, optional
            Anywhere.
        """
        for i in range(9):
            logging.getLogger("dipy_vqvae").warning("%d: is odd", i)
        logging.getLogger("dipy_vqvae").warning("of another kind")
        # What is alike is the format alone, which says nothing.
        for text in ("first", "second", "third", "fourth: the reason that matters"):
            logging.getLogger("dipy_vqvae").warning("%s", text)
            logging.getLogger("dipy_vqvae").warning("%s: %.3g", text, 0.5)

    monkeypatch.setattr(ValidateVQVAEFlow, "run", warn)
    _, _, err = command("dipy_validate_vqvae", "--log_file", "log.txt")
    lines = [line.removeprefix("dipy_validate_vqvae: ") for line in err.splitlines()]
    assert lines == [
        "warning: 0: is odd",
        "warning: 1: is odd",
        "warning: 2: is odd (further warnings of this kind go to the --log_file only)",
        "warning: of another kind",
        *(
            f"warning: {text}{more}"
            for text in ("first", "second", "third", "fourth: the reason that matters")
            for more in ("", ": 0.5")
        ),
    ]
    assert (tmp_path / "log.txt").read_text().count("is odd") == 9


@pytest.mark.parametrize(
    ("command_line", "option"),
    [
        (["dipy_fit_vqvae", "train.npy", "--mask_files", ""], "--mask_files"),
        (["dipy_fit_vqvae", "train.npy", "--validation_files", ""], "--valid"),
        (["dipy_fit_vqvae", "train.npy", ""], "input_files"),
        (["dipy_fit_pixelcnn", "v", "train.npy", "--label_file", ""], "--label_file"),
        (["dipy_sample_vqvae", "v", "p", "--mask_file", ""], "--mask_file"),
        (["dipy_reconstruct_vqvae", "", "train.npy"], "vqvae_file"),
    ],
)
def test_an_empty_value_is_not_no_value(command, tmp_path, command_line, option):
    images(tmp_path / "train.npy")
    code, _, err = command(*command_line)
    assert code == 2
    (line,) = [line for line in err.splitlines() if "error:" in line]
    assert f"argument {option}" in line and line.endswith("the value is empty")
    assert {path.name for path in tmp_path.iterdir()} == {"train.npy"}


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("tensor\nsize"), 1, "unexpected RuntimeError: tensor size; run"),
        (KeyError("x"), 1, "unexpected KeyError: no entry 'x'"),
        (MemoryError(), 1, "out of memory"),
        (OSError(28, "No space left on device", "x"), 1, "x: No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (nib.filebasedimages.ImageFileError("no image"), 1, "error: no image"),
    ],
)
def test_no_exception_shows_as_a_traceback(command, monkeypatch, error, code, message):
    from dipy_vqvae.workflows.validate import ValidateVQVAEFlow

    def fail(self, out_dir="x"):
        """Fail.

        Parameters
        ----------
        out_dir : string, optional
            Anywhere.
        """
        warnings.warn("of no interest to the user", UserWarning, stacklevel=1)
        raise error

    monkeypatch.setattr(ValidateVQVAEFlow, "run", fail)
    found, out, err = command("dipy_validate_vqvae")
    assert (found, out) == (code, "")
    line = only_line(err)
    assert line.startswith("dipy_validate_vqvae: error: ") and message in line
    _, _, err = command("dipy_validate_vqvae", "--log_level", "DEBUG")
    assert "of no interest" in err
    assert ("Traceback" in err) == (code == 1)


def test_sigterm_outside_of_a_training(command, monkeypatch, tmp_path):
    from dipy_vqvae.workflows.validate import ValidateVQVAEFlow

    def wait(self, out_dir="x"):
        """Wait.

        Parameters
        ----------
        out_dir : string, optional
            Anywhere.
        """
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            (tmp_path / "cleaned").touch()

    monkeypatch.setattr(ValidateVQVAEFlow, "run", wait)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code, _, err = command("dipy_validate_vqvae")
    assert code == 143 and "interrupted" in only_line(err)
    assert (tmp_path / "cleaned").exists()


@pytest.fixture
def trained(run_command, tmp_path):
    """Files of images, and a VQ-VAE fitted to them."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.integers(0, 255, (8, 8, 8), np.uint8))
    (tmp_path / "labels.txt").write_text("0 1 " * 4)
    small = ["--n_codes", 4, "--n_channels", 8, "--n_epochs", 1, "--out_report", "None"]
    code, _, err = run_command("dipy_fit_vqvae", "a.npy", *small, "--out_dir", "o")
    assert code == 0, err
    return small


def test_a_log_file_is_no_input_and_no_output(run_command, trained, tmp_path):
    images = ["dipy_fit_pixelcnn", "o/vqvae.safetensors", "a.npy"]
    before = (tmp_path / "labels.txt").read_bytes()
    for log_file, more in (
        ("labels.txt", ["--label_file", "labels.txt"]),
        ("p/pixelcnn_history.json", ["--out_dir", "p"]),
    ):
        code, _, err = run_command(*images, *more, "--log_file", log_file)
        assert code == 2 and f"--log_file: {log_file} is --" in err
    assert (tmp_path / "labels.txt").read_bytes() == before


def test_resume_knows_settings_at_their_defaults(run_command, trained):
    fit = ["dipy_fit_vqvae", "a.npy", *trained, "--out_dir", "o", "--resume"]
    assert run_command(*fit)[0] == 0
    code, _, err = run_command(*fit, "--revive_until", 0.5)
    assert code == 1 and "another training: model.revive_until" in err
    other = ["dipy_fit_vqvae", "a.npy", *trained, "--out_dir", "q"]
    assert run_command(*other, "--revive_until", 0.5)[0] == 0
    code, _, err = run_command(*other, "--resume")
    assert code == 1 and "another training: model.revive_until" in err


def test_none_is_a_choice_and_no_file(run_command, trained, tmp_path):
    scaled = ["dipy_fit_vqvae", "a.npy", *trained, "--scaling", "none", "--out_dir"]
    assert run_command(*scaled, "n")[0] == 0
    from dipy_vqvae.workflows.sample import SampleVQVAEFlow

    model = str(tmp_path / "o" / "vqvae.safetensors")
    with pytest.raises(OSError, match="none"):
        SampleVQVAEFlow().run(model, model, mask_file="none", out_dir=str(tmp_path))


def test_an_output_is_not_inside_another(run_command, trained, tmp_path):
    code, _, err = run_command(
        "dipy_fit_vqvae", "a.npy", "--out_history", "vqvae.safetensors/h.json"
    )
    assert code == 2 and "is inside the file of --out_vqvae" in err
    assert not (tmp_path / "vqvae.safetensors").exists()
    code, _, err = run_command("dipy_fit_vqvae", "a.npy", "--max_minutes", 1e307)
    assert code == 2 and "--max_minutes must be" in err


def test_images_named_twice_with_masks(run_command, trained, tmp_path):
    for name in ("b", "m", "k"):
        np.save(tmp_path / f"{name}.npy", np.ones((8, 8, 8), np.uint8))
    np.save(tmp_path / "b.npy", np.load(tmp_path / "a.npy")[::-1])
    encode = ["dipy_encode_vqvae", "o/vqvae.safetensors", "a.npy", "b.npy", "a.npy"]
    code, _, err = run_command(*encode, "--mask_files", "m.npy", "k.npy")
    assert code == 0, err
    code, _, err = run_command(
        *("dipy_fit_vqvae", "a.npy", "a.npy", "--mask_files", "m.npy", "k.npy"),
        *("--validation_fraction", 0.5, "--out_dir", "r"),
    )
    assert code == 2 and "the only one" in err

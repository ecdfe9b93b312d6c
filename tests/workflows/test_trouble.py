"""Full disks, read-only folders, denied permissions, Ctrl-C, losses that are no number.

Whatever happens, a command says so in one line, its exit code says so, and what was
there before is there afterwards.
"""

import os
from pathlib import Path
import shutil
import signal
import subprocess
import sysconfig

import nibabel as nib
import numpy as np
import pytest
from trouble import assert_untouched, error_line, fill, leave_something

from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow

pytestmark = pytest.mark.long

TINY = ["--n_codes", "6", "--code_dim", "3", "--n_channels", "8", "--n_epochs", "3"]
TINY_PRIOR = ["--n_channels", "8", "--n_layers", "1", "--n_epochs", "2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with images and models."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    np.save(folder / "train.npy", rng.integers(0, 255, (40, 8, 8), np.uint8))
    volume = rng.normal(100, 20, (10, 9, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / "v.nii.gz")
    tiny = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_epochs": 1.0}
    FitVQVAEFlow().run([str(folder / "train.npy")], **tiny, out_dir=str(folder))
    EncodeVQVAEFlow().run(
        str(folder / "vqvae.safetensors"),
        [str(folder / "v.nii.gz")],
        out_dir=str(folder),
    )
    FitPixelCNNFlow().run(
        str(folder / "vqvae.safetensors"),
        [str(folder / "train.npy")],
        n_channels=8,
        n_layers=1,
        n_epochs=1.0,
        out_dir=str(folder),
    )
    return folder


#: Command, inputs, options, outputs, and a function in which Ctrl-C may come.
COMMANDS = {
    "dipy_fit_vqvae": (
        ["train.npy"],
        TINY,
        ["vqvae.safetensors", "vqvae_history.json", "report.html"],
        "dipy_vqvae.vqvae.model._build",
    ),
    "dipy_fit_pixelcnn": (
        ["vqvae.safetensors", "train.npy"],
        TINY_PRIOR,
        ["pixelcnn.safetensors", "pixelcnn_history.json", "pixelcnn_report.html"],
        "dipy_vqvae.prior.task.PixelCNNTask.loss",
    ),
    "dipy_encode_vqvae": (
        ["vqvae.safetensors", "v.nii.gz"],
        [],
        ["codes.nii.gz"],
        "dipy_vqvae.codes.save_codes",
    ),
    "dipy_decode_vqvae": (
        ["vqvae.safetensors", "codes.nii.gz"],
        [],
        ["decoded.nii.gz"],
        "nibabel.Nifti1Image.to_stream",
    ),
    "dipy_compress_vqvae": (
        ["vqvae.safetensors", "pixelcnn.safetensors", "v.nii.gz"],
        [],
        ["compressed.vqz", "sizes.csv"],
        "dipy_vqvae.compression.pack_images",
    ),
    "dipy_reconstruct_vqvae": (
        ["vqvae.safetensors", "v.nii.gz"],
        [],
        ["reconstruction.nii.gz", "residual.nii.gz", "metrics.csv", "mosaic.png"],
        "nibabel.Nifti1Image.to_stream",
    ),
    "dipy_sample_vqvae": (
        ["vqvae.safetensors", "pixelcnn.safetensors"],
        ["--n_samples", "300"],
        ["samples.nii.gz", "samples.png"],
        "nibabel.Nifti1Image.to_stream",
    ),
}


def arguments_of(name, made, out_dir):
    inputs, options, outputs, _ = COMMANDS[name]
    return [*(made / path for path in inputs), *options, "--out_dir", out_dir], outputs


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(command, made, small_disk, name):
    arguments, outputs = arguments_of(name, made, small_disk)
    leave_something(small_disk, outputs)
    filler = fill(small_disk)
    code, _, err = command(name, *arguments, "--force")
    assert code == 1
    line = error_line(name, err)
    assert "No space left on device (existing files are untouched)" in line
    assert_untouched(small_disk, outputs, others=[filler.name])


def test_a_disk_that_fills_up_in_a_training(command, made, small_disk, monkeypatch):
    from dipy_vqvae.training import loop as training

    write, n_written = training.write_checkpoint, []

    def fill_before_the_second(path, checkpoint):
        n_written.append(path)
        if len(n_written) == 2:
            kept.append(Path(path).read_bytes())
            fill(small_disk)
        write(path, checkpoint)

    kept = []
    arguments, _ = arguments_of("dipy_fit_vqvae", made, small_disk)
    with monkeypatch.context() as patch:
        patch.setattr(training, "write_checkpoint", fill_before_the_second)
        code, out, err = command("dipy_fit_vqvae", *arguments)
    assert code == 1 and "No space left" in error_line("dipy_fit_vqvae", err)
    assert out.splitlines()[-1] == "To continue, give the same command with --resume"
    checkpoint = small_disk / "vqvae.safetensors.checkpoint"
    assert checkpoint.read_bytes() == kept[0], "the previous checkpoint"
    (small_disk / "filler").unlink()
    assert list(small_disk.iterdir()) == [checkpoint]
    code, _, err = command("dipy_fit_vqvae", *arguments, "--resume")
    assert code == 0, err
    command("dipy_fit_vqvae", *arguments[:-1], "whole")
    found, expected = (
        nothing_but_arrays(path / "vqvae.safetensors")
        for path in (small_disk, Path("whole"))
    )
    assert found == expected


def nothing_but_arrays(path):
    from safetensors.numpy import load_file

    return {name: array.tobytes() for name, array in load_file(path).items()}


@pytest.mark.parametrize("option", ["--log_file", ">"])
def test_a_full_disk_below_the_messages(command, made, tmp_path, option):
    if not Path("/dev/full").exists():
        pytest.skip("there is no full device")
    arguments, outputs = arguments_of("dipy_reconstruct_vqvae", made, "o")
    if option == "--log_file":
        code, _, err = command(
            "dipy_reconstruct_vqvae", *arguments, option, "/dev/full"
        )
    else:
        with open("/dev/full", "w") as full:
            done = run("dipy_reconstruct_vqvae", *arguments, stdout=full, cwd=tmp_path)
        code, err = done.returncode, done.stderr
    assert code == 1
    line = error_line("dipy_reconstruct_vqvae", err)
    assert "No space left on device: messages were lost, the work is done" in line
    assert {path.name for path in (tmp_path / "o").iterdir()} == set(outputs)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_is_read_only(command, made, small_disk, name):
    arguments, outputs = arguments_of(name, made, small_disk)
    leave_something(small_disk, outputs)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for out_dir in (small_disk, small_disk / "new"):
        arguments[-1] = out_dir
        code, _, err = command(name, *arguments, "--force")
        assert code == 1
        line = error_line(name, err)
        assert (
            "not writable" in line or "write-protected" in line or "Read-only" in line
        )
    assert_untouched(small_disk, outputs)


def run(name, *arguments, prefix=(), **options):
    """Run the installed command."""
    script = Path(sysconfig.get_path("scripts")) / name
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(
        [*prefix, str(script), *(str(a) for a in arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        **options,
    )


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions as POSIX has them")
def test_denied_permissions(made, tmp_path):
    prefix = []
    if os.geteuid() == 0:  # root, but without its right to everything
        if not shutil.which("setpriv"):
            pytest.skip("root may do everything")
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    locked = tmp_path / "locked"
    locked.mkdir()
    leave_something(locked, ["metrics.csv"])
    locked.chmod(0o555)
    secret = tmp_path / "secret.nii.gz"
    shutil.copy(made / "v.nii.gz", secret)
    secret.chmod(0)
    model = tmp_path / "secret.safetensors"
    shutil.copy(made / "vqvae.safetensors", model)
    model.chmod(0)
    inputs = made / "vqvae.safetensors", made / "v.nii.gz"
    for arguments, message in (
        ([*inputs, "--out_dir", locked, "--force"], "is not writable"),
        ([inputs[0], secret, "--out_dir", "o"], "secret.nii.gz"),
        ([model, inputs[1], "--out_dir", "o"], "secret.safetensors"),
    ):
        done = run("dipy_reconstruct_vqvae", *arguments, prefix=prefix, cwd=tmp_path)
        assert done.returncode == 1
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        assert message in lines[0] and "Traceback" not in done.stderr
        if "writable" not in message:
            assert "Permission denied" in lines[0]
    locked.chmod(0o755)
    assert_untouched(locked, ["metrics.csv"])
    assert not list((tmp_path / "o").iterdir())


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", COMMANDS)
def test_signals(command, made, tmp_path, monkeypatch, name, signum):
    import importlib

    arguments, outputs = arguments_of(name, made, tmp_path)
    leave_something(tmp_path, outputs)
    module, _, attribute = COMMANDS[name][3].rpartition(".")
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError:
        module, _, owner = module.rpartition(".")
        home = getattr(importlib.import_module(module), owner)
    function = getattr(home, attribute)

    def stopped(*args, **kwargs):
        signal.raise_signal(signum)
        return function(*args, **kwargs)

    monkeypatch.setattr(home, attribute, stopped)
    # In a process started in the background they may be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code, _, err = command(name, *arguments, "--force")
    assert code == 128 + signum
    error_line(name, err)
    in_training = name == "dipy_fit_pixelcnn"
    checkpoint = [f"{outputs[0]}.checkpoint"] if in_training else []
    assert_untouched(tmp_path, outputs, others=checkpoint)


def test_a_loss_that_is_no_number(command, made, tmp_path):
    arguments, _ = arguments_of("dipy_fit_vqvae", made, tmp_path / "m")
    options = ["--learning_rate", "1e30", "--batch_size", "8", "--checkpoint_steps", 1]
    code, out, err = command("dipy_fit_vqvae", *arguments, *options)
    assert code == 1
    line = error_line("dipy_fit_vqvae", err)
    checkpoint = tmp_path / "m" / "vqvae.safetensors.checkpoint"
    assert "at step " in line and "e+29" in line.split("learning rate ")[1]
    assert f"the last good checkpoint is {checkpoint}" in line
    assert "Try a lower learning rate" in line
    assert "--resume" not in out, "it would end in the same way"
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


@pytest.mark.parametrize(
    ("name", "function"),
    [("dipy_fit_vqvae", "vqvae_report"), ("dipy_fit_pixelcnn", "prior_report")],
)
@pytest.mark.parametrize("error", [IndexError("no slice"), OSError(28, "No space")])
def test_a_report_that_cannot_be_made(
    command, made, tmp_path, monkeypatch, name, function, error
):
    """The model is saved by then: the command has done what it is for."""
    from dipy_vqvae import report

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(report, function, fail)
    arguments, outputs = arguments_of(name, made, tmp_path / "m")
    for more in ([], ["--resume"]):
        code, _, err = command(name, *arguments, *more)
        assert code == 0, err
        (line,) = [line for line in err.splitlines() if "warning" in line]
        assert f"{name}: warning: the model is saved, but its report " in line
        assert outputs[2] in line and error.args[-1] in line
        assert "Traceback" not in err
        assert {path.name for path in (tmp_path / "m").iterdir()} == set(outputs[:2])
    monkeypatch.undo()
    code, out, err = command(name, *arguments, "--resume")
    assert code == 0 and f"Wrote {tmp_path / 'm' / outputs[2]}" in out, err

"""dipy_fetch_mnist and dipy_validate_vqvae as processes, and in trouble.

Small files and a small experiment take the place of MNIST and the real one; the mirrors
are on this machine.
"""

import json
from pathlib import Path
import signal
import subprocess

import numpy.testing as npt
import pytest
import safetensors.numpy
from safetensors.numpy import load_file
from small_mnist import SMALL, gzipped, small_files, take_the_place_of_mnist
from trouble import PRECIOUS, error_line, fill

from dipy_vqvae import VQVAEFit
from dipy_vqvae.data import mnist
from dipy_vqvae.experiment.settings import OUTPUT_FILES, UNFINISHED, ExperimentSettings
from dipy_vqvae.storage import download

FETCH, VALIDATE = "dipy_fetch_mnist", "dipy_validate_vqvae"


@pytest.fixture
def contents():
    """The files of a mirror."""
    return gzipped(small_files(mnist.FILES)[0])


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def run(run_command, home):
    """Run a command in a process of its own, with a home of its own."""
    environment = {"DIPY_HOME": str(home), "no_proxy": "*"}
    return lambda *arguments: run_command(*arguments, environment=environment)


@pytest.fixture
def small(command, home, monkeypatch):
    """Run a command in this process, with the small files and settings."""
    monkeypatch.setenv("DIPY_HOME", str(home))
    monkeypatch.setattr(mnist, "FILES", mnist.FILES)  # put back afterwards
    monkeypatch.setattr(download, "CONNECT_TIMEOUT", download.CONNECT_TIMEOUT)
    for name in ("default", "thorough", "quick", "digits"):
        method = staticmethod(getattr(ExperimentSettings, name))
        monkeypatch.setattr(ExperimentSettings, name, method)
    take_the_place_of_mnist()
    return command


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def signum(request):
    # In a process started in the background they may be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return request.param


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# dipy_fetch_mnist


def test_fetch(run, home, contents, serve):
    url, requests = serve(contents)
    code, _, err = run(FETCH, "--mirrors", url)
    assert code == 0, err
    assert files_in(home / "mnist") == contents
    assert len(requests) == 4
    for options in ([], ["--force"]):
        code, _, err = run(FETCH, "--mirrors", url, *options)
        assert code == 0, err
    assert len(requests) == 4, "what is there and right is left alone"


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_fetch_keeps_other_files(run, home, contents, serve, options):
    url, requests = serve(contents)
    (home / "mnist").mkdir(parents=True)
    path = home / "mnist" / "t10k-images-idx3-ubyte"
    path.write_text(PRECIOUS)
    code, _, err = run(FETCH, "--mirrors", url, *options)
    assert code == 1 and not requests
    assert "is not the MNIST file" in error_line(FETCH, err)
    assert files_in(home / "mnist") == {path.name: PRECIOUS.encode()}


@pytest.mark.parametrize("answer", [404, b"<html>Please log in</html>"])
def test_fetch_from_a_wrong_mirror(run, home, contents, serve, answer):
    wrong, _ = serve(dict.fromkeys(contents, answer))
    code, _, err = run(FETCH, "--mirrors", wrong)
    assert code == 1
    line = error_line(FETCH, err)
    assert wrong in line and str(home / "mnist") in line
    assert not files_in(home / "mnist")
    right, _ = serve(contents)
    code, _, err = run(FETCH, "--mirrors", wrong, right)
    assert code == 0, err
    assert files_in(home / "mnist") == contents


def test_fetch_without_a_network(run, home):
    code, _, err = run(FETCH, "--mirrors", "http://127.0.0.1:9/mnist")  # nobody listens
    assert code == 1
    assert "MNIST cannot be fetched" in error_line(FETCH, err)


def test_fetch_to_a_disk_that_is_full_or_read_only(
    small, contents, serve, small_disk, monkeypatch
):
    monkeypatch.setenv("DIPY_HOME", str(small_disk))
    url, _ = serve(contents)
    filler = fill(small_disk)
    code, _, err = small(FETCH, "--mirrors", url)
    assert code == 1 and "No space left" in error_line(FETCH, err)
    assert not list((small_disk / "mnist").glob("*"))
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, _, err = small(FETCH, "--mirrors", url)
    assert code == 1 and "Read-only" in error_line(FETCH, err)


@pytest.mark.long
def test_fetch_is_stopped(small, home, contents, serve, monkeypatch, signum):
    url, _ = serve(contents)
    verify, n_verified = mnist._verify, []

    def stopped(*args):
        n_verified.append(args)
        if len(n_verified) == 2:
            signal.raise_signal(signum)
        verify(*args)

    with monkeypatch.context() as patch:
        patch.setattr(mnist, "_verify", stopped)
        code, _, err = small(FETCH, "--mirrors", url)
    assert code == 128 + signum
    error_line(FETCH, err)
    found = files_in(home / "mnist")
    assert len(found) == 1 and found.items() <= contents.items(), "whole files only"
    assert small(FETCH, "--mirrors", url)[0] == 0


# dipy_validate_vqvae


def results_in(folder):
    assert {path.name for path in folder.iterdir()} == set(OUTPUT_FILES)
    VQVAEFit.load(folder / "vqvae.safetensors")
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_validate(run, tmp_path, home, contents):
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    folder = tmp_path / "o"
    arguments = VALIDATE, "--mnist_dir", ".", "--quick", "--out_dir", "o"
    code, out, err = run(*arguments)
    assert code == 0, err
    numbers = results_in(folder)
    assert numbers["settings"]["name"] == SMALL.name
    assert (numbers["data"]["n_train"], numbers["data"]["n_test"]) == (30, 10)
    assert not home.exists()
    assert "o/report.html" in out
    before = files_in(folder)
    code, _, err = run(*arguments)
    assert code == 1 and "exists already: add --force" in error_line(VALIDATE, err)
    assert files_in(folder) == before
    (folder / "results.json").write_text(PRECIOUS)
    code, _, err = run(*arguments, "--force")
    assert code == 0, err
    again = results_in(folder)
    assert again["reconstruction"] == numbers["reconstruction"]
    for name in ("vqvae.safetensors", "pixelcnn_gated.safetensors"):
        arrays = load_file(folder / name)
        for key, array in safetensors.numpy.load(before[name]).items():
            npt.assert_array_equal(arrays[key], array, err_msg="the same seed")


@pytest.mark.parametrize("wrong", ["missing", "empty", "other files", "damaged"])
def test_validate_with_wrong_files(run, tmp_path, contents, wrong):
    folder = tmp_path / "digits"
    if wrong != "missing":
        folder.mkdir()
    for name, content in contents.items():
        if wrong == "other files":
            (folder / name).write_text(PRECIOUS)
        elif wrong == "damaged":
            (folder / name).write_bytes(content[:-20])
    code, _, err = run(VALIDATE, "--mnist_dir", folder, "--out_dir", "o")
    assert code == 1
    assert str(folder) in error_line(VALIDATE, err)
    assert not list(tmp_path.glob("o/*"))


@pytest.mark.parametrize("name", OUTPUT_FILES)
def test_validate_does_not_overwrite(run, tmp_path, name):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / name).write_text(PRECIOUS)
    code, _, err = run(VALIDATE, "--digits", "--out_dir", "o")
    assert code == 1
    assert f"{name} exists already" in error_line(VALIDATE, err)
    assert files_in(tmp_path / "o") == {name: PRECIOUS.encode()}


def test_validate_on_a_disk_that_is_full_or_read_only(small, small_disk):
    (small_disk / "results.json").write_text(PRECIOUS)
    filler = fill(small_disk)
    arguments = VALIDATE, "--digits", "--out_dir", small_disk, "--force"
    code, _, err = small(*arguments)
    assert code == 1 and "No space left" in error_line(VALIDATE, err)
    assert (small_disk / "results.json").read_text() == PRECIOUS
    filler.unlink()
    before = {path.name for path in small_disk.iterdir()}
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, _, err = small(*arguments)
    assert code == 1
    line = error_line(VALIDATE, err)
    assert "write-protected" in line or "Read-only" in line
    assert {path.name for path in small_disk.iterdir()} == before
    assert (small_disk / "results.json").read_text() == PRECIOUS


@pytest.mark.long
def test_validate_is_stopped_and_goes_on(small, monkeypatch, signum):
    """In its second training; the first one is not repeated."""
    from dipy_vqvae.prior.task import PixelCNNTask
    from dipy_vqvae.vqvae.task import VQVAETask

    folder = Path("o")
    folder.mkdir()
    (folder / "results.json").write_text(PRECIOUS)
    arguments = VALIDATE, "--digits", "--out_dir", folder, "--force"
    loss, n_steps = PixelCNNTask.loss, []

    def stopped(self, *args):
        n_steps.append(args)
        if len(n_steps) == 5:
            signal.raise_signal(signum)
        return loss(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(PixelCNNTask, "loss", stopped)
        code, _, err = small(*arguments)
    assert code == 128 + signum
    error_line(VALIDATE, err)
    assert {path.name for path in folder.iterdir()} == {"results.json", UNFINISHED}
    assert (folder / "results.json").read_text() == PRECIOUS

    def not_again(*args):
        raise AssertionError("the VQ-VAE is trained already")

    monkeypatch.setattr(VQVAETask, "loss", not_again)
    code, _, err = small(*arguments)
    assert code == 0, err
    assert results_in(folder)["data"]["name"] == "digits"

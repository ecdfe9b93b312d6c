"""The gallery examples run from start to end, and leave figures."""

from pathlib import Path
import re
import runpy
import shlex
import shutil
import tomllib

from dipy.data import get_fnames
import matplotlib as mpl
from matplotlib import pyplot as plt
import nibabel as nib
import numpy as np
from PIL import Image
import pytest

import dipy_vqvae as dv

EXAMPLES = Path(__file__).resolve().parents[1] / "doc" / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mpl, "get_backend", lambda: "agg")
    with mpl.rc_context({"backend": "agg"}):
        yield tmp_path


def as_a_trial(text):
    """Shorten the trainings of a script, and of its commands."""
    return re.sub(r"(n_epochs[ =])\d+", r"\g<1>0.1", text)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs(script, in_a_folder, capsys):
    # Not for as long as a reader would have it.
    text = as_a_trial(script.read_text("utf-8"))
    (in_a_folder / script.name).write_text(text, encoding="utf-8")
    names = runpy.run_path(script.name)
    figures = re.findall(r'savefig\("(\w+\.png)"', text)
    assert figures
    for name in figures:
        with Image.open(name) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    plt.close("all")
    printed = capsys.readouterr().out
    assert printed and "nan" not in printed
    if "n_epochs=" in text:
        fit = names.get("fit") or names["prior"]
        assert 0 < fit.history.epochs[-1] < 1
    if script.stem == "vqvae_slices":
        restored, volume = nib.load("restored.nii.gz"), names["volumes"][0]
        assert restored.shape == volume.shape
        assert not restored.get_fdata()[~names["masks"][0]].any()
        assert nib.load("codes.nii.gz").shape == (32, 32, 10)


@pytest.mark.parametrize("script", ["vqvae_slices", "vqvae_volumes"])
def test_the_commands_of_an_example_fit_its_models(script, in_a_folder, command):
    """The same models, bit for bit."""
    text = (EXAMPLES / f"{script}.py").read_text("utf-8")
    (in_a_folder / f"{script}.py").write_text(as_a_trial(text), encoding="utf-8")
    names = runpy.run_path(f"{script}.py")
    plt.close("all")
    for image in ("S0_10", "aniso_vox"):
        shutil.copy(get_fnames(name=image), in_a_folder)
    commands = re.findall(
        r"^#     dipy_(fit_\w+) (.*)$", as_a_trial(text), re.MULTILINE
    )
    assert commands
    for name, arguments in commands:
        code, _, err = command(f"dipy_{name}", *shlex.split(arguments), "--force")
        assert code == 0, err
    by_command = {"fit": dv.VQVAEFit.load("vqvae.safetensors")}
    if len(commands) > 1:
        by_command["prior"] = dv.PixelCNNFit.load("pixelcnn.safetensors")
    for key, fit in by_command.items():
        arrays = names[key].to_content()["arrays"]
        of_command = fit.to_content()["arrays"]
        for part, array in arrays.items():
            np.testing.assert_array_equal(of_command[part], array, err_msg=part)


def test_examples_are_written_as_a_gallery_needs_them():
    listed = tomllib.loads((EXAMPLES / "_valid_examples.toml").read_text("utf-8"))
    files = [name for section in listed.values() for name in section["files"]]
    assert sorted(files) == [path.name for path in SCRIPTS]
    for path in SCRIPTS:
        lines = path.read_text("utf-8").splitlines()
        assert lines[0] == '"""' and re.fullmatch("=+", lines[1])
        assert lines[3] == lines[1] and len(lines[1]) >= len(lines[2])
        rules = [i for i, line in enumerate(lines) if line.startswith("####")]
        assert rules and all(len(lines[i]) == 79 for i in rules)
        assert all(lines[i + 1].startswith("# ") for i in rules)
        cited = ":footcite:" in "\n".join(lines)
        assert cited == (
            ".. footbibliography::" in lines or "# .. footbibliography::" in lines
        )

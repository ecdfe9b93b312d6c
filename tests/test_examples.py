"""The gallery examples run from start to end, and leave figures."""

from pathlib import Path
import re
import runpy
import tomllib

import matplotlib as mpl
from matplotlib import pyplot as plt
import nibabel as nib
import numpy as np
from PIL import Image
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "doc" / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mpl, "get_backend", lambda: "agg")
    with mpl.rc_context({"backend": "agg"}):
        yield tmp_path


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs(script, in_a_folder, capsys):
    # Not for as long as a reader would have it.
    text, n_trainings = re.subn(
        r"n_epochs=\d+", "n_epochs=0.1", script.read_text("utf-8")
    )
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
    if n_trainings:
        fit = names.get("fit") or names["prior"]
        assert 0 < fit.history.epochs[-1] < 1
    if script.stem == "vqvae_slices":
        restored, volume = nib.load("restored.nii.gz"), names["volumes"][0]
        assert restored.shape == volume.shape
        assert not restored.get_fdata()[~names["masks"][0]].any()
        assert nib.load("codes.nii.gz").shape == (32, 32, 10)


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

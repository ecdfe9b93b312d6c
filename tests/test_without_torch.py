"""Where torch is missing: what needs it says so, in one line; the rest works."""

from pathlib import Path
import re
import subprocess
import sys

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / "pyproject.toml")
WITHOUT = "import sys; sys.modules['torch'] = None; "


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_library_says_so():
    done = run("import dipy_vqvae as dv; dv.open_images; dv.VQVAEModel")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: dipy_vqvae.VQVAEModel needs PyTorch")


def test_each_name_is_there_or_says_so():
    code = """
import dipy_vqvae as dv
from dipy_vqvae import workflows
for name in dv.__all__:
    try:
        getattr(dv, name)
    except ImportError as error:
        assert str(error).startswith(f"dipy_vqvae.{name} needs PyTorch"), error
        print(name)
assert len([getattr(workflows, name) for name in dir(workflows)]) > 12
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert {"VQVAEModel", "PixelCNNModel", "load"} <= set(done.stdout.split())
    assert not {"open_images", "load_images", "fetch_mnist"} & set(done.stdout.split())


def test_a_command_says_so():
    code = "from dipy_vqvae.workflows.cli import sample_vqvae; sample_vqvae()"
    done = run(code, "mnist", "--out_samples", "None", "--out_mosaic", "None")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "needs PyTorch" in done.stderr


def test_what_needs_none(tmp_path):
    code = "from dipy_vqvae.workflows.cli import describe_vqvae; describe_vqvae()"
    done = run(code, "mnist")
    assert done.returncode == 0, done.stderr
    assert "VQ-VAE, written by dipy_vqvae" in done.stdout


def test_examples_of_the_documentation_are_skipped():
    code = "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    folders = [str(ROOT / name) for name in ("dipy_vqvae", "workflows")]
    done = run(code, "-q", "-n", "0", "-p", "no:cacheprovider", "-c", CONFIG, *folders)
    assert done.returncode == 0, done.stdout[-2000:]
    passed, skipped = re.search(r"(\d+) passed, (\d+) skipped", done.stdout).groups()
    # Some of the examples need no torch, as those of the commands.
    assert int(passed) > 20 and int(skipped) > 20

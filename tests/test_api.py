"""The public names, and who may import whom."""

import ast
import importlib
from pathlib import Path
import subprocess
import sys

import pytest

import dipy_vqvae as dv

PACKAGE = Path(dv.__file__).parent
WORKFLOWS = Path(importlib.import_module("dipy_vqvae.workflows.cli").__file__).parent


def sources(folder):
    files = sorted(folder.rglob("*.py"))
    assert files
    return files


def imports(path):
    """Modules that a file's import statements name, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            # A name that is imported may be a module itself.
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_public_names():
    assert len(dv.__all__) <= 12
    assert len([name for name in dir(dv) if not name.startswith("_")]) <= 12
    for name in dv.__all__:
        assert getattr(dv, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = dv.nonsense


def test_importing_the_package_is_quick():
    heavy = {"torch", "sklearn", "matplotlib", "dipy", "scipy", "nibabel"}
    code = f"import sys, dipy_vqvae; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sources(PACKAGE / "nn"), ids=lambda path: path.stem)
def test_nn_imports_nothing_else_of_ours(path):
    ours = {name for name in imports(path) if name.split(".")[0] == "dipy_vqvae"}
    assert not {name for name in ours if not name.startswith("dipy_vqvae.nn")}


def test_the_library_knows_nothing_of_the_workflows():
    for path in sources(PACKAGE):
        if WORKFLOWS not in path.parents:
            workflows = {n for n in imports(path) if "workflows" in n.split(".")}
            assert not workflows, path


def test_the_library_knows_nothing_of_the_experiment():
    for path in sources(PACKAGE):
        if not {PACKAGE / "experiment", WORKFLOWS} & set(path.parents):
            experiment = {n for n in imports(path) if "experiment" in n.split(".")}
            assert not experiment, path


def test_no_cycles_among_modules():
    """Modules can be put in an order in which each imports earlier ones only."""
    names = {}
    for folder, prefix in (
        (PACKAGE, "dipy_vqvae"),
        (WORKFLOWS, "dipy_vqvae.workflows"),
    ):
        for path in sources(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((prefix, *parts)).removesuffix(".__init__")
            # The package's own lazy names lead everywhere.
            if name != "dipy_vqvae":
                names[name] = path
    waiting = {
        name: imports(path) & set(names) - {name} for name, path in names.items()
    }
    while waiting:
        ready = {name for name, needs in waiting.items() if not needs & set(waiting)}
        assert ready, f"a cycle among {sorted(waiting)}"
        waiting = {n: needs for n, needs in waiting.items() if n not in ready}


@pytest.mark.parametrize("folder", [PACKAGE, WORKFLOWS], ids=lambda path: path.name)
def test_files_are_short(folder):
    lengths = {
        str(path.relative_to(folder)): len(path.read_text("utf-8").splitlines())
        for path in sources(folder)
    }
    assert not {name: n for name, n in lengths.items() if n > 400}

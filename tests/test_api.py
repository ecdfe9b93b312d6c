"""The public names, and who may import whom."""

import ast
import importlib
from pathlib import Path
import subprocess
import sys
import tomllib

import pytest

import dipy_vqvae as dv

PACKAGE = Path(dv.__file__).parent
TESTS = Path(__file__).parent
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
    assert len(dv.__all__) <= 16
    assert len([name for name in dir(dv) if not name.startswith("_")]) <= 16
    for name in dv.__all__:
        assert getattr(dv, name) is not None
    with pytest.raises(AttributeError, match="attribute nonsense"):
        _ = dv.nonsense


def test_importing_the_package_is_quick():
    heavy = {"torch", "sklearn", "matplotlib", "dipy", "scipy", "nibabel"}
    code = f"import sys, dipy_vqvae; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# Who may import whom. "vqvae.coded_images" allows one module of a folder.
ALLOWED = {
    "display": (),
    "settings": ("display",),
    "arrays": (),
    "metrics": ("arrays",),
    "parallel": (),
    "device": ("parallel",),
    "storage": ("device", "display"),
    "nn": ("device", "parallel"),
    "data": ("arrays", "display", "storage"),
    "training": ("device", "display", "parallel", "storage", "settings"),
    "codes": ("arrays", "data", "storage"),
    "sampling": ("nn", "device"),
    "vqvae": (
        *("data", "codes", "nn", "training", "metrics", "storage", "device"),
        *("arrays", "parallel", "settings"),
        "report",  # called by `VQVAEFit.report`, when it is drawn
    ),
    "prior": (
        *("codes", "nn", "sampling", "training", "storage", "device", "parallel"),
        *("arrays", "settings", "compression"),
        "report",  # called by `PixelCNNFit.report`, when it is drawn
    ),
    "anomaly": ("data", "prior", "settings", "storage", "vqvae"),
    "compression": ("arrays", "codes", "data", "storage", "vqvae"),
    "models": ("anomaly", "display", "settings", "storage", "vqvae", "prior"),
    "report": ("data", "display", "metrics", "storage", "vqvae"),
    "plotting": ("data", "report"),
}
# Names of another folder's face that are allowed where the rest of it is not.
ONLY = {
    ("report", "vqvae"): "coded_images",
    ("vqvae", "report"): "vqvae",
    ("compression", "vqvae"): "coded_images",
    ("nn", "parallel"): "collectives",
}


def room(name):
    """Return the folder of a module's dotted name, or the module at the top."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "dipy_vqvae" else None


def face(folder):
    """Return the names of a folder's face, and the modules that they are of."""
    text = (PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")
    (attach,) = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Dict)
    ]
    modules = ast.literal_eval(attach)
    return {name: module for module, names in modules.items() for name in names}


FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
MODULES = [path for path in sources(PACKAGE) if WORKFLOWS not in path.parents]


def test_the_top_holds_folders():
    files = {path.name for path in PACKAGE.glob("*.py")}
    assert files == {
        "__init__.py",
        "_version.py",
        "arrays.py",
        "display.py",
        "settings.py",
        "device.py",
    }


def named_imports(path):
    """Yield (module, name) of all from-imports of ours."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        for name in (alias.name for alias in node.names):
            if room(node.module):
                yield node.module, name
            elif node.module == "dipy_vqvae" and name in FOLDERS:
                yield f"dipy_vqvae.{name}", "*"  # its face


@pytest.mark.parametrize("folder", ALLOWED)
def test_directions_of_imports(folder):
    paths = sources(PACKAGE / folder) if folder in FOLDERS else []
    for path in paths or [PACKAGE / f"{folder}.py"]:
        for module, name in named_imports(path):
            other = room(module)
            if other in (folder, "_version"):
                continue
            assert other in ALLOWED[folder], f"{path}: {module}.{name}"
            if (folder, other) in ONLY:
                home = face(other).get(name)
                assert home == ONLY[folder, other], f"{path}: {module}.{name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_nothing_below_imports_the_experiment_or_the_workflows(path):
    forbidden = {"workflows"}
    if PACKAGE / "experiment" not in path.parents:
        forbidden.add("experiment")
    assert not {name for name in imports(path) if room(name) in forbidden}


def other_folders_imports():
    """Yield (path, folder, module, name) of imports from another folder."""
    for folder in (
        PACKAGE,
        WORKFLOWS,
        TESTS.parent / "benchmarks",
        TESTS.parent / "doc",
    ):
        for path in sources(folder):
            for module, name in named_imports(path):
                if room(module) in FOLDERS and PACKAGE / room(module) != path.parent:
                    yield path, room(module), module, name


def test_folders_are_entered_by_their_faces():
    for path, folder, module, name in other_folders_imports():
        if PACKAGE / folder in path.parents:
            continue
        assert module == f"dipy_vqvae.{folder}", f"{path}: {module}.{name}"
        assert name in {"*", *face(folder)}, f"{path}: {module}.{name}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_face_says_what_is_there(folder):
    package = importlib.import_module(f"dipy_vqvae.{folder}")
    modules = {path.stem for path in (PACKAGE / folder).glob("*.py")}
    for name in face(folder):
        assert name not in modules, f"{folder}.{name} is a module as well"
        assert getattr(package, name) is not None
    used = {name for _, other, _, name in other_folders_imports() if other == folder}
    tests = {name for path in sources(TESTS) for _, name in named_imports(path)}
    unused = set(face(folder)) - used - tests - set(dv.__all__)
    assert "*" in used or not unused, f"nobody outside of {folder} calls {unused}"


def test_no_cycles_among_modules():
    """Modules can be put in an order in which each imports earlier ones only."""
    names = {}
    for folder, prefix in (
        (PACKAGE, "dipy_vqvae"),
        (WORKFLOWS, "dipy_vqvae.workflows"),
    ):
        for path in sources(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] != "__init__":
                names[".".join((prefix, *parts))] = path
    waiting = {name: modules_behind(path, names) for name, path in names.items()}
    while waiting:
        ready = {name for name, needs in waiting.items() if not needs & set(waiting)}
        assert ready, f"a cycle among {sorted(waiting)}"
        waiting = {n: needs for n, needs in waiting.items() if n not in ready}


def modules_behind(path, names):
    """Return the modules that a file imports, those behind a face as well."""
    found = {name for name in imports(path) if name in names}
    for module, name in named_imports(path):
        folder = room(module)
        if module == f"dipy_vqvae.{folder}" and folder in FOLDERS:
            found.add(f"{module}.{face(folder).get(name, name)}")
    return {name for name in found if names.get(name) != path}


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def lines_of_code(function):
    """Count lines from the first statement to the last, without the docstring."""
    body = function.body[ast.get_docstring(function) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


_BLOCKS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.FunctionDef)


def nesting(node, parent=None):
    """Count the levels of blocks inside a function; elif is no level of its own."""
    is_elif = isinstance(parent, ast.If) and parent.orelse == [node]
    inside = max((nesting(n, node) for n in ast.iter_child_nodes(node)), default=0)
    return inside + (isinstance(node, _BLOCKS) and not is_elif)


ALL = [*sources(PACKAGE), *sources(WORKFLOWS)]


@pytest.mark.parametrize(
    "path", ALL, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_functions_are_short_and_flat(path):
    lengths = {node.name: lines_of_code(node) for node in functions(path)}
    assert not {name: n for name, n in lengths.items() if n > 60}
    depths = {node.name: nesting(node) - 1 for node in functions(path)}
    assert not {name: n for name, n in depths.items() if n > 5}


def test_all_folders_are_installed():
    text = (TESTS.parent / "pyproject.toml").read_text("utf-8")
    listed = set(tomllib.loads(text)["tool"]["setuptools"]["packages"])
    inside = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py")}
    flows = {path.parent.relative_to(WORKFLOWS) for path in WORKFLOWS.rglob("*.py")}
    names = {".".join(("dipy_vqvae", *path.parts)) for path in inside}
    names |= {".".join(("dipy_vqvae.workflows", *path.parts)) for path in flows}
    assert listed == names

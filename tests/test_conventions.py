"""DIPY's conventions: the table in doc/conventions.md, and those without other tests."""

import ast
import inspect
from pathlib import Path
import re
import socket
import tomllib

import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae import metrics, plotting, workflows
from dipy_vqvae.data import make_nifti, write_nifti
from dipy_vqvae.workflows.command import BATCH_SIZE, explain

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [p for d in ("dipy_vqvae", "workflows") for p in (ROOT / d).rglob("*.py")]
FLOWS = [getattr(workflows, n) for n in dir(workflows) if n.endswith("Flow")]
CLASSES = [getattr(dv, n) for n in dv.__all__ if inspect.isclass(getattr(dv, n))]
FUNCTIONS = [
    *(getattr(dv, n) for n in dv.__all__ if inspect.isfunction(getattr(dv, n))),
    *(getattr(plotting, n) for n in plotting.__all__),
    *(getattr(metrics, n) for n in metrics.__all__ if n.islower()),
    *(
        method
        for cls in CLASSES
        for name, method in inspect.getmembers(cls, inspect.isroutine)
        if not name.startswith("_")
    ),
]


@pytest.fixture(scope="module")
def images():
    return blobs(9, (12, 10))


@pytest.fixture(scope="module")
def fit(images):
    return fit_to(images)


@pytest.fixture(scope="module")
def prior(fit, images):
    model = dv.PixelCNNModel(8, n_channels=4, n_layers=1)
    return model.fit(fit.encode(images), n_epochs=1)


# The table


def rows():
    """Names of tests by row."""
    text = (ROOT / "doc" / "conventions.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \| .*? \| (.*?) \|$", text, re.MULTILINE)
    return {int(row): re.findall(r"`([^`]+)`", tests) for row, tests in found}


def test_there_are_thirty_rows():
    assert list(rows()) == list(range(1, 31))


@pytest.mark.parametrize(("row", "tests"), rows().items())
def test_a_row_names_tests_that_exist(row, tests):
    assert tests
    for test in tests:
        path, *names = test.split("::")
        assert names[-1].startswith("test_")
        node = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for name in names:
            inside = {getattr(part, "name", None): part for part in node.body}
            assert name in inside, f"row {row}: {test}"
            node = inside[name]


# Rows without tests elsewhere


@pytest.mark.parametrize("flow", FLOWS)
def test_files_come_first(flow):
    parameters = inspect.signature(flow.run).parameters.values()
    needed = [p.name for p in parameters if p.default is inspect.Parameter.empty]
    needed.remove("self")
    models = ["vqvae_file", "pixelcnn_file", "anomaly_file", "model_file"]
    assert all(name in models for name in needed[:-1])
    if needed:
        assert needed[-1].endswith(("_files", "_file"))


def test_outputs_go_to_the_working_directory(fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit.save("vqvae")
    volume = np.moveaxis(blobs(3, (12, 10)), 0, 2)
    write_nifti("head.nii.gz", make_nifti(volume, np.eye(4)))
    workflows.EncodeVQVAEFlow().run("vqvae", "head.nii.gz")
    assert (tmp_path / "codes.nii.gz").is_file()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)
def test_options_are_keywords(function):
    parameters = inspect.signature(function).parameters.values()
    with_default = [p for p in parameters if p.default is not inspect.Parameter.empty]
    # The only argument that there is.
    allowed = {"load_mnist": "folder"}.get(function.__name__)
    kinds = {p.kind for p in with_default if p.name != allowed}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}


def test_verbose_is_off_by_default(images, prior, capfd):
    def use(**options):
        fit = fit_to(images, **options)
        model = dv.PixelCNNModel(8, n_channels=4, n_layers=1)
        model.fit(fit.encode(images), n_epochs=1, **options)
        prior.sample(3, **options)
        return capfd.readouterr()

    assert use() == ("", "")
    out, err = use(verbose=True)
    assert out == "" and err.count("\n") == 3 and "Sampling: 100%" in err


def test_a_gpu_is_asked_for():
    takers = (*CLASSES, *FUNCTIONS, *(flow.run for flow in FLOWS))
    options = [inspect.signature(taker).parameters.get("use_cuda") for taker in takers]
    options = [option for option in options if option is not None]
    assert len(options) > 10 and all(option.default is False for option in options)


def test_nothing_loads_with_pickle():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {getattr(node, "module", None), *(a.name for a in node.names)}
                assert not {"pickle", "joblib", "torch.serialization"} & names, path
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) != "torch.load", path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", path
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (torch,) = [
        requirement
        for requirement in tomllib.loads(text)["project"]["dependencies"]
        if requirement.startswith("torch")
    ]
    assert tuple(map(int, torch.removeprefix("torch>=").split("."))) >= (2, 2)


def test_results_of_a_subject(images):
    """Whether results are indexed or images makes no difference."""
    subjects = [images[:4], images[4:, :8]]
    fit = fit_to(subjects)
    codes, restored = fit.encode(subjects), fit.predict(subjects)
    for i, subject in enumerate(subjects):
        npt.assert_array_equal(codes[i], fit.encode(subject))
        npt.assert_allclose(restored[i], fit.predict(subject), rtol=1e-4, atol=1e-3)
        npt.assert_array_equal(codes[i][1:3], fit.encode(subject[1:3]))
    assert type(fit.model) is dv.VQVAEModel and type(fit) is dv.VQVAEFit


def test_tests_reach_no_other_machine():
    # An address of documentation, which belongs to nobody.
    with pytest.raises(OSError, match="tests need no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=5)


@pytest.mark.parametrize("cls", CLASSES)
def test_classes_cite(cls):
    assert re.search(r":footcite:[pt]:`\w+\d{4}[a-z]?`", cls.__doc__)
    assert "References\n" in cls.__doc__ and ".. footbibliography::" in cls.__doc__


def test_batch_size_says_when_to_lower_it():
    assert "lower it if memory runs out" in BATCH_SIZE.doc
    assert "lower --batch_size" in explain(MemoryError())


def test_nothing_is_of_one_system():
    """Modules of POSIX are asked for inside functions; text has a stated encoding."""
    posix = {"fcntl", "grp", "pwd", "resource", "termios"}
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_import = {
            a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names
        }
        assert not posix & at_import, path
        for node in ast.walk(tree):
            called = getattr(getattr(node, "func", None), "attr", None)
            if called in ("read_text", "write_text"):
                given = {keyword.arg for keyword in node.keywords}
                assert "encoding" in given, f"{path}:{node.lineno}"


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_of_any_kind(fit, prior, images, tmp_path, kind):
    image = tmp_path / "head.nii.gz"
    write_nifti(kind(image), make_nifti(np.moveaxis(images, 0, 2), np.eye(4)))
    for source in (kind(image), [kind(image)], kind(tmp_path)):
        npt.assert_array_equal(dv.open_images(source).read(0), images)
    fit.save(kind(tmp_path / "vqvae"))
    prior.save(kind(tmp_path / "prior"))
    assert type(dv.load(kind(tmp_path / "vqvae"))) is dv.VQVAEFit
    assert type(dv.PixelCNNFit.load(kind(tmp_path / "prior"))) is dv.PixelCNNFit

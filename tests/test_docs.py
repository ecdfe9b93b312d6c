"""The README and the pages in doc: what they name exists, what they show works."""

import argparse
import importlib.util
import inspect
import os
from pathlib import Path
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig

import nibabel as nib
import numpy as np
import pytest
from toy_vqvae import blobs

from dipy_vqvae.experiment.settings import OUTPUT_FILES
from dipy_vqvae.workflows.command.parser import CommandParser, options_for
from dipy_vqvae.workflows.compress import CompressVQVAEFlow
from dipy_vqvae.workflows.decode import DecodeVQVAEFlow
from dipy_vqvae.workflows.decompress import DecompressVQVAEFlow
from dipy_vqvae.workflows.describe import DescribeVQVAEFlow
from dipy_vqvae.workflows.detect_anomaly import DetectAnomalyFlow
from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.fetch import FetchMnistFlow
from dipy_vqvae.workflows.fit_anomaly import FitAnomalyFlow
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow
from dipy_vqvae.workflows.sample import SampleVQVAEFlow
from dipy_vqvae.workflows.validate import ValidateVQVAEFlow

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
COMMANDS = ROOT / "doc" / "commands.md"
BIBLIOGRAPHY = ROOT / "doc" / "references.bib"
PAGES = [
    *(README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"),
    *sorted((ROOT / "doc").glob("*.md")),
]
FLOWS = {
    "dipy_fetch_mnist": FetchMnistFlow,
    "dipy_fit_vqvae": FitVQVAEFlow,
    "dipy_fit_pixelcnn": FitPixelCNNFlow,
    "dipy_encode_vqvae": EncodeVQVAEFlow,
    "dipy_decode_vqvae": DecodeVQVAEFlow,
    "dipy_compress_vqvae": CompressVQVAEFlow,
    "dipy_decompress_vqvae": DecompressVQVAEFlow,
    "dipy_reconstruct_vqvae": ReconstructVQVAEFlow,
    "dipy_sample_vqvae": SampleVQVAEFlow,
    "dipy_describe_vqvae": DescribeVQVAEFlow,
    "dipy_validate_vqvae": ValidateVQVAEFlow,
    "dipy_fit_anomaly": FitAnomalyFlow,
    "dipy_detect_anomaly": DetectAnomalyFlow,
}
# Described once for all commands.
COMMON_OPTIONS = {"help", "version", "force", "log_level", "log_file"}


def read(path):
    return path.read_text(encoding="utf-8")


def code_blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shown_lines():
    """Lines that the pages show as commands, with the page's name."""
    for page in PAGES:
        for block in code_blocks(read(page), "bash"):
            lines = block.replace("\\\n", " ").splitlines()
            yield from ((page.name, line) for line in lines)
    # Indented in reStructuredText, and in the comments of the gallery's scripts.
    for page in sorted((ROOT / "doc" / "interfaces").glob("*.rst")):
        for line in re.findall(r"^ {4}(dipy_.*)$", read(page), re.MULTILINE):
            yield page.name, line
    for page in sorted((ROOT / "doc" / "examples").glob("*.py")):
        for line in re.findall(r"^# {5}(dipy_.*)$", read(page), re.MULTILINE):
            yield page.name, line


def command_lines():
    """All commands of ours that the pages show, as lists of words."""
    found = []
    for page, line in shown_lines():
        for part in line.split("&&"):
            words = shlex.split(part)
            if "torchrun" in words:
                words = words[words.index("--no-python") + 1 :]
            if words and words[0] in FLOWS and "--help" not in words:
                found.append((page, words))
    return found


def parser_of(name):
    flow = FLOWS[name]()
    parser = CommandParser(prog=name, configure=lambda **_: None)
    parser.add_workflow(flow)
    parser.add_argument("--force", action="store_true")
    for option, settings in options_for(flow).items():
        parser.add_argument(f"--{option}", **settings)
    return parser


def options_of(name):
    """Defaults by option, of all options that --help shows."""
    parameters = inspect.signature(FLOWS[name].run).parameters
    return {
        action.dest: parameters.get(action.dest, action).default
        for action in parser_of(name)._actions
        if action.option_strings and action.help != argparse.SUPPRESS
    }


def sections(text):
    """Text by second-level heading."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def anchors(text):
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings
    }


def files_of_the_repository():
    skipped = {"__pycache__", "build", "dist", "node_modules"}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in skipped
            and (not name.startswith(".") or name == ".ci")
            and not name.endswith(".egg-info")
            and not name.startswith("validation")
        ]
        # In a further working tree of git it is a file.
        yield from (Path(folder) / name for name in names if name != ".git")


def cited_in_code():
    pattern = re.compile(r":footcite(?::[a-z]+)?:`([^`]+)`")
    keys = set()
    for folder in ("dipy_vqvae", "workflows", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for found in pattern.findall(read(path)):
                keys.update(key.strip() for key in found.split(","))
    return keys


def cited_in_pages():
    return {key for page in PAGES for key in re.findall(r"\[@(\w+)\]", read(page))}


def entries():
    return re.findall(r"^@\w+\{(\w+),$", read(BIBLIOGRAPHY), re.MULTILINE)


def load_script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def subjects(tmp_path):
    """The folder that the examples name, with little in it."""
    for i, role in enumerate(("train", "train", "test", "test")):
        folder = tmp_path / "subjects" / role
        folder.mkdir(parents=True, exist_ok=True)
        volume = np.moveaxis(blobs(6, (14, 12), seed=i), 0, -1).astype(np.int16)
        image = nib.Nifti1Image(volume, np.diag([2.0, 2.0, 3.0, 1.0]))
        nib.save(image, folder / f"sub-{i:02d}.nii.gz")
    return tmp_path


# References


def test_citations_have_entries():
    keys = entries()
    assert len(keys) == len(set(keys))
    assert cited_in_code()
    assert (cited_in_code() | cited_in_pages()) == set(keys)


def test_entries_are_complete():
    text = read(BIBLIOGRAPHY)
    for entry in re.split(r"^@", text, flags=re.MULTILINE)[1:]:
        key = entry.partition("{")[2].partition(",")[0]
        assert entry.count("{") == entry.count("}"), key
        fields = dict(
            re.findall(r"^  (\w+)\s*= \{(.*?)\},?$", entry, re.MULTILINE | re.DOTALL)
        )
        assert {"author", "title", "year"} <= set(fields), key
        where = {"journal", "booktitle", "howpublished", "eprint", "publisher"}
        assert fields.keys() & where, key
        # The key is the first author's name and the year.
        surname = re.sub(r"[^A-Za-z]", "", fields["author"].partition(",")[0])
        assert re.fullmatch(rf"{surname}{fields['year']}[a-z]?", key), key


# Pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page):
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(ROOT)
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(read(file)), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_by_pages_exist(page):
    """Paths of source files in the text, such as `dipy_vqvae/vqvae.py`."""
    for name in re.findall(r"`([\w/.]+/[\w.]+\.(?:py|toml|md|bib))`", read(page)):
        assert (ROOT / name).exists(), f"{page.name} names {name}, which is not there"


def test_nothing_names_a_machine():
    roots = ["tmp", "work", "home", "root", "mnt", "Users", "private"]
    pattern = re.compile(rf"(?<![\w.~/*-])/({'|'.join(roots)})/|\b[A-Z]:\\\\?Users")
    for path in files_of_the_repository():
        try:
            text = read(path)
        except UnicodeDecodeError:
            continue
        found = pattern.search(text)
        assert not found, f"{path.relative_to(ROOT)} names {found.group()}"


def test_the_readme_has_the_commands_of_a_newcomer():
    lines = [line for b in code_blocks(read(README), "bash") for line in b.splitlines()]
    assert "pip install . && dipy_validate_vqvae --out_dir validation" in lines
    # Continuous integration takes this line from the README.
    assert 'pip install -e ".[test]" && pytest' in lines


# Commands


@pytest.mark.parametrize(
    ("page", "words"), command_lines(), ids=lambda value: str(value)[:60]
)
def test_commands_are_understood(page, words):
    if words[1:] == ["--help"]:
        with pytest.raises(SystemExit, match="0"):
            parser_of(words[0]).parse_args(words[1:])
        return
    parser_of(words[0]).parse_args(words[1:])


@pytest.mark.parametrize("name", FLOWS)
def test_all_options_are_described(name):
    text = sections(read(COMMANDS))[name]
    described = set(re.findall(r"^\| `--(\w+)`", text, re.MULTILINE))
    assert described == options_of(name).keys() - COMMON_OPTIONS


def test_tables_of_options_are_up_to_date():
    update = load_script(ROOT / "doc" / "update_options.py")
    text = read(COMMANDS)
    assert set(update.FLOWS) == set(FLOWS)
    assert update.updated(text) == text, "run python doc/update_options.py"
    damaged = text.replace("| `--n_codes` | 128 |", "| `--n_codes` | 64 |")
    assert damaged != text and update.updated(damaged) == text


def test_common_options_are_described():
    text = sections(read(COMMANDS))["What all commands have in common"]
    assert set(re.findall(r"^\| `--(\w+)` \|", text, re.MULTILINE)) == COMMON_OPTIONS
    for name in FLOWS:
        assert options_of(name).keys() >= COMMON_OPTIONS


def test_outputs_of_the_experiment_are_described():
    text = sections(read(COMMANDS))["dipy_validate_vqvae"]
    named = set(re.findall(r"`([\w.]+\.(?:png|html|json|md|safetensors))`", text))
    assert named == set(OUTPUT_FILES)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_readmes_commands_run(subjects):
    """Those for one's own files, pasted into a shell."""
    (block,) = (b for b in code_blocks(read(README), "bash") if "subjects/" in b)
    scripts = sysconfig.get_path("scripts")
    path = os.pathsep.join([scripts, os.environ["PATH"]])
    subprocess.run(
        ["bash", "-ec", block],
        cwd=subjects,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    for name in (
        "model/vqvae.safetensors",
        "model/vqvae_history.json",
        "model/report.html",
        "model/pixelcnn.safetensors",
        "model/pixelcnn_history.json",
        "restored/sub-02_reconstruction.nii.gz",
        "restored/sub-03_residual.nii.gz",
        "restored/metrics.csv",
        "restored/mosaic.png",
        "codes/sub-02_codes.nii.gz",
        "decoded/sub-03_codes_decoded.nii.gz",
        "model/pixelcnn_report.html",
        "samples/samples.nii.gz",
        "samples/samples.png",
    ):
        assert (subjects / name).is_file(), name


# Python


def run_example(example, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "example.py").write_text(example, encoding="utf-8")
    return runpy.run_path("example.py")


def test_the_readmes_first_example_runs(tmp_path, monkeypatch):
    example, _ = code_blocks(read(README), "python")
    names = run_example(example, tmp_path, monkeypatch)
    assert names["digits"].shape == (16, 28, 28)


def test_the_readmes_example_runs(subjects, monkeypatch):
    _, example = code_blocks(read(README), "python")
    # Subjects of different shapes.
    volume = np.moveaxis(blobs(5, (12, 15), seed=9), 0, -1).astype(np.int16)
    path = subjects / "subjects" / "train" / "sub-09.nii.gz"
    nib.save(nib.Nifti1Image(volume, np.eye(4)), path)
    names = run_example(example, subjects, monkeypatch)
    shapes = [(6, 14, 12), (6, 14, 12), (5, 12, 15)]
    assert [stack.shape for stack in names["restored"]] == shapes
    assert {stack.dtype for stack in names["restored"]} == {np.dtype(np.float32)}
    grids = [(6, 4, 3), (6, 4, 3), (5, 3, 4)]
    assert [stack.shape for stack in names["codes"]] == grids
    assert {stack.dtype for stack in names["codes"]} == {np.dtype(np.int32)}
    assert names["nats"].shape == (17,)
    assert (names["nats"] > 0).all()
    np.testing.assert_array_equal(names["same"], names["restored"][0])
    assert names["new_images"].shape == (16, 16, 16)
    for name in ("vqvae.safetensors", "pixelcnn.safetensors", "report.html"):
        assert (subjects / name).is_file()


# Results in the README


@pytest.fixture
def site(tmp_path):
    """A small README with a page and a finished run, and the script."""
    root, run = tmp_path / "root", tmp_path / "run"
    (root / "doc").mkdir(parents=True)
    run.mkdir()
    script = load_script(ROOT / "doc" / "update_readme.py")
    (root / "README.md").write_text(
        "# Top\n\n![Digits](doc/images/generated.png)\n\n"
        f"{script.BEGIN}\n| old |\n{script.END}\n\nBottom.\n"
    )
    (root / "doc" / "page.md").write_text(
        "![Arms](images/arms.png) ![Elsewhere](https://example.org/x.png)\n"
        "![Of another program](images/headct_samples.png)\n"
    )
    (run / "results.md").write_text("| a | b |\n| --- | --- |\n| 1 | 2 |\n")
    (run / "generated.png").write_bytes(b"digits")
    (run / "arms.png").write_bytes(b"arms")
    return script, root, run


def test_results_go_into_the_readme(site):
    script, root, run = site
    changed = script.update(run, root=root)
    assert sorted(path.name for path in changed) == [
        "README.md",
        "arms.png",
        "generated.png",
    ]
    text = read(root / "README.md")
    assert "| 1 | 2 |" in text
    assert "old" not in text
    assert text.startswith("# Top")
    assert text.endswith(f"{script.END}\n\nBottom.\n")
    assert (root / "doc/images/generated.png").read_bytes() == b"digits"
    assert (root / "doc/images/arms.png").read_bytes() == b"arms"
    assert script.update(run, root=root) == []


@pytest.mark.parametrize("name", ["results.md", "arms.png"])
def test_an_incomplete_run_changes_nothing(site, name):
    script, root, run = site
    (run / name).unlink()
    before = read(root / "README.md")
    with pytest.raises(FileNotFoundError, match=name):
        script.update(run, root=root)
    assert read(root / "README.md") == before
    assert not (root / "doc/images").exists()


def test_a_readme_without_place_for_results_is_refused(site):
    script, root, run = site
    (root / "README.md").write_text("# Top\n")
    with pytest.raises(ValueError, match="results:begin"):
        script.update(run, root=root)


def test_the_script_says_what_is_wrong(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "doc" / "update_readme.py", tmp_path / "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "results.md" in done.stderr
    assert "Traceback" not in done.stderr
    # The README itself has the place.
    script = load_script(ROOT / "doc" / "update_readme.py")
    assert "| x |" in script.with_results(read(README), "| x |")

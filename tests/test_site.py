"""The documentation site: what it is made of, and that it has everything."""

import importlib
import inspect
from pathlib import Path
import re
import subprocess
import sys

import pytest

import dipy_vqvae as dv

ROOT = Path(__file__).resolve().parents[1]
DOC = ROOT / "doc"
EXTENSIONS = ("pages", "reference", "gallery_order")


@pytest.fixture
def site(monkeypatch):
    """Import the site's own extensions, which need no Sphinx."""
    monkeypatch.syspath_prepend(str(DOC / "_ext"))
    yield {name: importlib.import_module(name) for name in EXTENSIONS}
    for name in EXTENSIONS:
        sys.modules.pop(name)


# Reference


def faces():
    folders = sorted(
        path.parent.name for path in Path(dv.__file__).parent.glob("*/*.py")
    )
    names = ["dipy_vqvae", *(f"dipy_vqvae.{folder}" for folder in sorted(set(folders)))]
    modules = (importlib.import_module(name) for name in names)
    return {module.__name__: module.__all__ for module in modules if module.__doc__}


def test_the_reference_has_every_public_name(site, tmp_path):
    folder = tmp_path / "reference"
    site["reference"].write(folder)
    index = (folder / "index.rst").read_text("utf-8").split()
    shown = faces()
    assert len(shown) > 10
    for module, names in shown.items():
        page = module.rpartition(".")[2]
        assert page in index
        text = (folder / f"{page}.rst").read_text("utf-8")
        for name in names:
            # An entry, or a link to the entry of the package.
            assert re.search(
                rf"^   {name}$|^\.\. py:data:: {name}$|`dipy_vqvae\.{name}`",
                text,
                re.MULTILINE,
            ), f"{module}.{name}"
    top = (folder / "dipy_vqvae.rst").read_text("utf-8")
    assert not re.search(r"`dipy_vqvae\.\w+`", top)


def test_pages_of_the_reference_are_written_once(site, tmp_path):
    site["reference"].write(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "codes.rst").write_text("old")
    site["reference"].write(tmp_path)
    changed = {p.name for p, t in times.items() if p.stat().st_mtime_ns != t}
    assert changed == {"codes.rst"}


# Pages


def test_sections_of_the_readme_stand_in_pages(site):
    pages = site["pages"]
    text = pages.prepared("# Start\n\n<!-- README: Small files -->\n", DOC)
    assert "## Small files" in text
    assert "## Results" not in text
    # Links as seen from the folder of the documentation.
    assert "](images/compression_head.png)" in text
    assert "](design.md#prior-and-sampling)" in text
    assert "`benchmarks/compression.py`" in text
    assert "](doc/" not in text
    with pytest.raises(ValueError, match="no section 'Nothing'"):
        pages.prepared("<!-- README: Nothing -->", DOC)


def test_citations_are_those_of_sphinx(site):
    text = site["pages"].prepared("As shown [@Chou1989; @Yang2020].\n", DOC)
    assert "{footcite:p}`Chou1989,Yang2020`" in text
    assert text.count("{footbibliography}") == 1
    plain = "# Page\n\nNo citation, [a link](https://example.org).\n"
    assert site["pages"].prepared(plain, DOC) == plain


@pytest.mark.parametrize("page", sorted(DOC.glob("*.md")), ids=lambda path: path.name)
def test_links_of_prepared_pages_resolve(site, page):
    text = site["pages"].prepared(page.read_text("utf-8"), DOC)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    # Sections with their links are in.
    assert "<!-- README" not in text and "<!-- file" not in text
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        if not re.match(r"https?:", target) and not target.startswith("gallery/"):
            assert (DOC / target).is_file(), target
    for target in re.findall(r"{doc}`(?:[^`<]*<)?/?([^`>]+)>?`", text):
        if target.startswith("gallery/"):
            target = target.rpartition("/")[2]
            assert target == "index" or (DOC / "examples" / f"{target}.py").is_file()
        elif not target.startswith("reference/"):
            assert list(DOC.glob(f"{target}.*")), target


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for page in DOC.glob("*.md"):
        for tree in re.findall(
            r"```{toctree}\n(.*?)```", page.read_text("utf-8"), re.DOTALL
        ):
            listed |= {line for line in tree.split("\n") if line and line[0] != ":"}
    pages = {path.stem for path in DOC.glob("*.md")} - {"index"}
    pages |= {f"interfaces/{path.stem}" for path in (DOC / "interfaces").glob("*.rst")}
    assert listed == pages | {"gallery/index", "reference/index"}


def test_our_names_beside_those_of_others_are_ours():
    text = (DOC / "names.md").read_text("utf-8")
    settings = set(inspect.signature(dv.VQVAEModel).parameters)
    settings |= set(inspect.signature(dv.VQVAEModel.fit).parameters)
    first, second = re.findall(r"^\| --- .*\n((?:\|.*\n)+)", text, re.MULTILINE)
    for row in first.splitlines():
        ours = re.findall(r"`(\w+)`", row.split("|")[3])
        assert set(ours) <= settings | {"VQVAEModel", "fit"}, row
    for row in second.splitlines():
        for kind, name in re.findall(r"\b(fit|prior)\.(\w+)", row.split("|")[2]):
            fit = dv.VQVAEFit if kind == "fit" else dv.PixelCNNFit
            # The history of a fit is one of its own attributes.
            assert hasattr(fit, name) or name == "history", row


# Gallery


def test_the_gallery_is_in_the_order_of_its_list(site, tmp_path):
    gallery = site["gallery_order"]
    gallery.copy(tmp_path / "examples")
    copied = sorted((tmp_path / "examples").glob("*/*.py"), key=gallery.listed)
    sections = gallery.listing()
    files = [name for section in sections.values() for name in section["files"]]
    assert [path.name for path in copied] == files
    folders = sorted({path.parent for path in copied}, key=gallery.sections)
    assert [folder.name for folder in folders] == list(sections)
    for folder in folders:
        header = (folder / "GALLERY_HEADER.rst").read_text("utf-8")
        assert header.splitlines()[1] == "-" * len(header.splitlines()[0])


@pytest.mark.long
def test_the_site_builds_without_warnings(tmp_path):
    """Without running the examples, which have a test of their own."""
    for name in ("sphinx_gallery", "numpydoc", "sphinxcontrib.bibtex", "myst_parser"):
        pytest.importorskip(name)
    pytest.importorskip("grg_sphinx_theme")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
        + ["-D", "plot_gallery=0", "-d", str(tmp_path / "trees"), str(DOC)]
        + [str(tmp_path / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {path.stem for path in (tmp_path / "html/reference/generated").iterdir()}
    assert {"dipy_vqvae.VQVAEModel", "dipy_vqvae.codes.save_codes"} <= names

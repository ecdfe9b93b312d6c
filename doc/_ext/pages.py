"""Markdown pages as they stand on a file server, made ready for Sphinx.

- ``[@Key]`` cites an entry of ``references.bib``.
- ``<!-- README: Heading -->`` is replaced by that section of the README, and
  ``<!-- file: PATH -->`` by a file, so that a fact has one source.
- Links into the repository that lead to no page become names of files.
"""

from pathlib import Path
import re

ROOT = Path(__file__).resolve().parents[2]
_CITATION = re.compile(r"\[(@\w+(?:; @\w+)*)\]")
_SECTION = re.compile(r"<!-- README: (.+?) -->")
_FILE = re.compile(r"<!-- file: (.+?) -->")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
# Pages that stand elsewhere in the repository than in the site.
PLACES = {
    "README.md": "start.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "doc/examples": "gallery/index.rst",
}


def section_of(text, heading):
    """Return a second-level section of a page, with its heading.

    Parameters
    ----------
    text : str
        The page.
    heading : str

    Returns
    -------
    section : str
    """
    found = re.search(
        rf"^## {re.escape(heading)}$.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if not found:
        raise ValueError(f"README.md has no section '{heading}'")
    return found[0]


def with_links(text, folder):
    """Rewrite the links of a text that stands in `folder` to those of the site.

    Parameters
    ----------
    text : str
    folder : Path
        Where the text stands in the repository.

    Returns
    -------
    text : str
    """

    def link(match):
        image, label, target, anchor = match.groups()
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = (folder / target).resolve().relative_to(ROOT).as_posix()
        path = PLACES.get(path, path.removeprefix("doc/"))
        if image or (ROOT / "doc" / path).suffix in (".md", ".rst"):
            return f"{image}[{label}]({path}{anchor or ''})"
        # A file of the repository, which is not in the site.
        return f"`{(folder / target).resolve().relative_to(ROOT).as_posix()}`"

    return _LINK.sub(link, text)


def prepared(text, folder):
    """Return a page as MyST reads it.

    Parameters
    ----------
    text : str
        Markdown.
    folder : Path
        Where it stands in the repository.

    Returns
    -------
    text : str
    """
    text = with_links(text, folder)
    readme = ROOT / "README.md"

    def section(match):
        text = section_of(readme.read_text(encoding="utf-8"), match[1])
        return with_links(text, ROOT)

    def file(match):
        path = ROOT / match[1]
        return with_links(path.read_text(encoding="utf-8"), path.parent)

    text = _FILE.sub(file, _SECTION.sub(section, text))
    cited = _CITATION.sub(
        lambda match: f"{{footcite:p}}`{match[1].replace('@', '').replace('; ', ',')}`",
        text,
    )
    if cited == text:
        return text
    return f"{cited}\n\n## References\n\n```{{footbibliography}}\n```\n"


def setup(app):
    """Register with Sphinx."""

    def read(app, docname, source):
        path = Path(app.env.doc2path(docname))
        if path.suffix == ".md":
            source[0] = prepared(source[0], path.parent)

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

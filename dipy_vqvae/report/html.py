"""HTML files without references to other files."""

from base64 import b64encode
from dataclasses import dataclass
from html import escape
import json
import logging
from pathlib import Path

from dipy_vqvae._version import __version__
from dipy_vqvae.storage import atomic_write

logger = logging.getLogger("dipy_vqvae")

STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans",
    Arial, sans-serif; color: #1b1f24; background: #fff; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 3rem 0 .6rem; padding-top: 1.1rem;
  border-top: 1px solid #d5d9de; }
h2 .n { color: #1f5f99; margin-right: .5rem; }
p { margin: .7rem 0; max-width: 46rem; }
.lead, .note, figcaption, footer { color: #5d6670; }
.verdict { font-weight: 600; font-size: 1.06rem; }
.warning { border-left: 4px solid #c2641a; padding: .2rem 0 .2rem .9rem; }
.note, figcaption, footer, li { font-size: .86rem; line-height: 1.45; }
table { border-collapse: collapse; font-size: .86rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; margin: 1rem 0 .3rem; }
th { font-weight: 600; text-align: right; vertical-align: bottom; color: #5d6670;
  border-bottom: 1px solid #8a929b; padding: .3rem .7rem; }
td { text-align: right; padding: .28rem .7rem; border-bottom: 1px solid #e4e7eb;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0;
  white-space: normal; }
.table { overflow-x: auto; }
.cards { width: 100%; table-layout: fixed; margin: 1.6rem 0 2rem; }
.cards td { text-align: left; padding: .8rem 1rem .8rem 0; vertical-align: top;
  white-space: normal; border-top: 2px solid #1f5f99; border-bottom: 0; }
.cards b { display: block; font-size: 1.5rem; line-height: 1.25; font-weight: 600; }
.cards span { color: #5d6670; font-size: .8rem; line-height: 1.35; display: block; }
figure { margin: 1.4rem 0; }
figure img { box-sizing: border-box; max-width: 100%; height: auto;
  display: block; background: #fff; border-radius: 3px; }
figcaption { margin-top: .5rem; max-width: 46rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: #1f5f99; }
pre { font-size: .8rem; line-height: 1.4; overflow-x: auto; white-space: pre-wrap; }
footer { margin-top: 3rem; border-top: 1px solid #d5d9de; padding-top: 1rem; }
@media (prefers-color-scheme: dark) {
  body { background: #14171a; color: #e3e6e9; }
  .lead, .note, figcaption, footer, th, .cards span { color: #a2abb4; }
  h2 .n, summary { color: #7db4e6; }
  h2, footer, td { border-color: #30363c; }
  figure img { padding: 6px; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; color: #000; background: #fff; }
  h2 { break-after: avoid; } figure, tr, .cards { break-inside: avoid; }
  .table { overflow: visible; } table { font-size: 7.5pt; }
}
"""


def document(title, parts):
    """Return a whole document.

    Parameters
    ----------
    title : str
    parts : list of str
        HTML; empty parts are left out.

    Returns
    -------
    html : str
    """
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def details(description):
    """Return the last parts of a document: settings and data, version.

    Parameters
    ----------
    description : dict
        Description of a fit.

    Returns
    -------
    parts : list of str
    """
    text = json.dumps(description, indent=1, sort_keys=True, default=_to_json)
    return [
        f"<details><summary>Settings and data</summary><pre>{escape(text)}</pre></details>",
        f"<footer>Made by dipy_vqvae {escape(__version__)}.</footer>",
    ]


def _to_json(value):
    return value.tolist() if hasattr(value, "tolist") else str(value)


def figure(png, caption):
    """Return a picture with its caption.

    Parameters
    ----------
    png : bytes
        PNG file with two pixels per pixel of the page.
    caption : str

    Returns
    -------
    html : str
    """
    # Bytes 16 to 20 of a PNG file are its width.
    width = int.from_bytes(png[16:20], "big") // 2
    return (
        f'<figure><img alt="{escape(caption)}" width="{width}" '
        f'src="data:image/png;base64,{b64encode(png).decode()}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def cards(items):
    """Return the main results side by side.

    Parameters
    ----------
    items : sequence of (str, str)
        Value and description of each.

    Returns
    -------
    html : str
    """
    cells = "".join(
        f"<td><b>{escape(value)}</b><span>{escape(text)}</span></td>"
        for value, text in items
    )
    return f'<table class="cards"><tr>{cells}</tr></table>'


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    header : tuple of str
        Names of the columns; the first column holds labels.
    rows : list of tuple of str
    note : str
        Text below the table.
    """

    header: tuple
    rows: list
    note: str = ""

    def to_markdown(self):
        """Return the table as Markdown."""
        align = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [self.header, align, *self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{table}\n\n{self.note}\n" if self.note else f"{table}\n"

    def to_html(self):
        """Return the table as HTML."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.header)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n"
            for row in self.rows
        )
        note = f'<p class="note">{escape(self.note)}</p>\n' if self.note else ""
        return (
            f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}</tbody></table></div>\n{note}"
        )


# Samples of a prior in the report of its VQ-VAE

_NONE_YET = '<p class="note">No prior yet: dipy_fit_pixelcnn adds its samples here.</p>'
_END = "<!-- end of samples -->"


def _start(codebook):
    return f"<!-- samples from the codebook {codebook} -->"


def samples_section(codebook, content=_NONE_YET):
    """Make the section of a report that is replaced once there is a prior."""
    return f"{_start(codebook)}\n<h2>Samples</h2>\n{content}\n{_END}"


def put_samples(folder, codebook, content):
    """Put samples of a prior into the reports of its VQ-VAE.

    A report that cannot be written is left as it is, with a warning.

    Parameters
    ----------
    folder : str or Path
        Folder of the reports.
    codebook : str
        Fingerprint of the codebook. Reports of other VQ-VAEs are not changed.
    content : str
        HTML of the samples.

    Returns
    -------
    paths : list of Path
        Reports that were changed.
    """
    start = _start(codebook)
    paths = []
    for path in sorted(Path(folder).glob("*.html")):
        try:
            # As bytes: line ends stay what they are.
            text = path.read_bytes().decode("utf-8", errors="surrogateescape")
            before, mark, rest = text.partition(start)
            _, end_mark, after = rest.partition(_END)
            if not mark or not end_mark:
                continue
            text = before + samples_section(codebook, content) + after
            with atomic_write(path) as temporary:
                temporary.write_bytes(text.encode("utf-8", errors="surrogateescape"))
        except OSError as error:
            logger.warning("%s has been left without samples: %s", path, error)
            continue
        paths.append(path)
    return paths

"""Docstrings as reStructuredText.

- The asterisk of a shape, such as ``(n, *grid)``, would begin an emphasis that never ends.
- A citation in the first sentence would be repeated in the tables of the reference, which
  have no list of papers. It becomes a sentence of its own.
"""

import re

_CITATION = re.compile(r" ?(:footcite(?::\w+)?:`[^`]+`)")
_SHAPE = re.compile(r"(?<=[(, ])\*(?=[a-z_]+[,)\[])")


def plain_shapes(lines):
    """Escape the asterisks of shapes.

    Parameters
    ----------
    lines : list of str
        A docstring, changed in place.
    """
    lines[:] = [_SHAPE.sub(r"\\*", line) for line in lines]


def citations_after_the_summary(lines):
    """Move the citations of the first paragraph into a sentence after it.

    Parameters
    ----------
    lines : list of str
        A docstring, changed in place.
    """
    n = lines.index("") if "" in lines else len(lines)
    cited = _CITATION.findall("\n".join(lines[:n]))
    if cited:
        lines[:n] = [_CITATION.sub("", line) for line in lines[:n]]
        lines[n:n] = ["", f"See {', '.join(cited)}."]


def setup(app):
    """Register with Sphinx, before numpydoc reads the docstring."""

    def process(app, what, name, obj, options, lines):
        plain_shapes(lines)
        citations_after_the_summary(lines)

    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

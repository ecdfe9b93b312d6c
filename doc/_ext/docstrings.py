"""Shapes of docstrings, such as ``(n, *grid)``, as plain text.

In reStructuredText the asterisk would begin an emphasis that never ends.
"""

import re

_SHAPE = re.compile(r"(?<=[(, ])\*(?=[a-z_]+[,)\[])")


def plain_shapes(lines):
    """Escape the asterisks of shapes.

    Parameters
    ----------
    lines : list of str
        A docstring, changed in place.
    """
    lines[:] = [_SHAPE.sub(r"\\*", line) for line in lines]


def setup(app):
    """Register with Sphinx, before numpydoc reads the docstring."""
    app.connect(
        "autodoc-process-docstring",
        lambda app, what, name, obj, options, lines: plain_shapes(lines),
        priority=100,
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}

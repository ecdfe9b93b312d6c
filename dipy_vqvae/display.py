"""Objects as HTML in notebooks, and as short text."""

from html import escape

_CELL = "text-align:left;padding:.15em .8em .15em 0;vertical-align:top"


def html_table(title, rows):
    """Write a title and a table of names and values as HTML, without a style sheet.

    Parameters
    ----------
    title : str
        Title above the table.
    rows : sequence of (str, object)
        Names and values.

    Returns
    -------
    html : str

    Examples
    --------
    >>> "<td" in html_table("Codes", [("number", 128)])
    True
    """
    cells = "".join(
        f'<tr><th style="{_CELL};font-weight:600">{escape(str(name))}</th>'
        f'<td style="{_CELL}">{escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return f"<div><b>{escape(title)}</b><table>{cells}</table></div>"


def text_table(title, rows):
    """Write a title and names with their values as lines of text.

    Parameters
    ----------
    title : str
        First line.
    rows : sequence of (str, object)
        Names and values.

    Returns
    -------
    text : str

    Examples
    --------
    >>> print(text_table("Codes", [("number", 128), ("used", 97)]))
    Codes
      number  128
      used    97
    """
    width = max((len(str(name)) for name, _ in rows), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in rows)])


def count(n, word):
    """Write a number of things, to two decimals.

    Examples
    --------
    >>> count(1, "epoch"), count(0.410714, "epoch"), count(1200, "step")
    ('1 epoch', '0.41 epochs', '1,200 steps')
    """
    n = round(n, 2)
    return f"{n:,.12g} {word}{'s' * (n != 1)}"


def one_line(error):
    """Return the first line of an exception's message, or its type's name.

    Examples
    --------
    >>> one_line(ValueError("wrong\\nand more"))
    'wrong'
    >>> one_line(EOFError())
    'EOFError'
    """
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__

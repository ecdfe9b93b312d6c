"""A table of text, for HTML and for Markdown."""

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    header : tuple of str
        Names of the columns; the first column is of labels.
    rows : list of tuple of str
    note : str
        What is to be said below it.
    """

    header: tuple
    rows: list
    note: str = ""

    def to_markdown(self):
        """The table in Markdown."""
        align = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [self.header, align, *self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{table}\n\n{self.note}\n" if self.note else f"{table}\n"

    def to_html(self):
        """The table in HTML."""
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

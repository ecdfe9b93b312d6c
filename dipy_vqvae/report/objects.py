"""Reports as objects: they show themselves in notebooks, and are saved as HTML."""

from dataclasses import dataclass, field
from html import escape

from dipy_vqvae.report.verdict import Verdict
from dipy_vqvae.storage import atomic_write

_HEIGHT = 600


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """Report of a fit.

    Attributes
    ----------
    title : str
        What it is a report of.
    verdict : Verdict
        What the fit is good for, and what to try next.
    figures : dict of matplotlib.figure.Figure
        The figures of the report by name.
    html : str
        Whole document without references to other files.
    samples : str
        HTML of the samples of a prior alone, for the report of its VQ-VAE.

    Examples
    --------
    >>> verdict = Verdict("usable", "Usable.", "Fit a prior.")
    >>> Report("VQ-VAE", verdict, {}, "<html></html>")
    <Report: VQ-VAE. Usable. Fit a prior.>
    """

    title: str
    verdict: Verdict
    figures: dict
    html: str
    samples: str = field(default="")

    def save(self, path):
        """Write the report as one HTML file.

        Parameters
        ----------
        path : str or Path
            The file; it is complete or absent.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with atomic_write(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8")

    def __repr__(self):
        return f"<Report: {self.title}. {self.verdict}>"

    def _repr_html_(self):
        # In a frame, so that the style of the page and of the report do not meet.
        return (
            f'<iframe srcdoc="{escape(self.html)}" width="100%" height="{_HEIGHT}" '
            'style="border:1px solid #d5d9de"></iframe>'
        )


def verdict_html(verdict):
    """Write a verdict, and the remarks beside it, as HTML.

    Parameters
    ----------
    verdict : Verdict
        The verdict.

    Returns
    -------
    parts : list of str
    """
    style = "verdict" if verdict.is_usable else "verdict warning"
    return [
        f'<p class="{style}">{escape(str(verdict))}</p>',
        *(f'<p class="warning">{escape(text)}</p>' for text in verdict.remarks),
    ]

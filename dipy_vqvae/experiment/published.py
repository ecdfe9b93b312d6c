"""Figures of the original experiment, from others and from its code run as written.

They were measured elsewhere, by other programs; the report shows them beside its
own, marked as such. All are of MNIST at 28 x 28 pixels and 7 x 7 codes of K = 128.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedFigures:
    """Figures of one source; None where it gives none.

    Attributes
    ----------
    label, short_label : str
        In a table, and beside a point of a figure.
    note : str
        How they came about.
    mse_of, bits_of : str
        Images that the error and the code length are of, if not the test images.
    mse : float
        Mean squared error of pixels in [0, 1].
    bits_per_image : float
        Code length under the prior.
    n_used : int
        Codes in use.
    perplexity : float
        Of the codes.
    frechet : float
        In the features of another classifier.
    argmax_distinct : tuple of (int, int)
        Distinct images and how many were drawn, without the sampling layer.
    """

    label: str
    short_label: str
    note: str
    mse_of: str = ""
    bits_of: str = ""
    mse: float | None = None
    bits_per_image: float | None = None
    n_used: int | None = None
    perplexity: float | None = None
    frechet: float | None = None
    argmax_distinct: tuple | None = None


PUBLISHED = (
    PublishedFigures(
        label="Keras example, as published",
        short_label="Keras example",
        note="30 epochs for the VQ-VAE and 30 for the prior",
        mse_of="training",
        bits_of="validation",
        mse=0.0042,
        bits_per_image=73.1,
    ),
    PublishedFigures(
        label="Original experiment, run as written",
        short_label="original, as run",
        note=(
            "one run on one CPU core, stopped after 22 of 30 epochs (VQ-VAE) and 10 of "
            "30 (prior); Fréchet distance of 4,000 samples in the features of another "
            "classifier, so not comparable"
        ),
        mse=0.00428,
        bits_per_image=76.3,
        n_used=63,
        perplexity=15.5,
        frechet=110.4,
        argmax_distinct=(1, 10),
    ),
)

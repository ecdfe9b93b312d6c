"""Pictures of images: reconstructions, samples, maps of codes."""

import math

import numpy as np

from dipy_vqvae.plotting.panels import new_panels, show
from dipy_vqvae.report import (
    View,
    as_picture,
    choose_examples,
    code_colours,
    names_of,
    to_colours,
    windows_of,
)


def plot_reconstructions(fit, images, *, mask=None, n=4):
    """Plot images beside their reconstructions and residuals.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    images : array, list of arrays, or ImageCollection
        As for ``fit.encode``; some are chosen, spread over files and slices.
    mask : array or list, optional
        As for ``fit.encode``.
    n : int, optional
        Largest number of images, at least 1.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : array of matplotlib.axes.Axes, shape (3, n)
        Rows: original, reconstruction, original minus reconstruction. One grey scale
        for all images, or for those of a file where files have units of their own.

    Raises
    ------
    ValueError
        If all images are constant, or cannot be encoded.
    """
    examples = _examples(fit, images, mask, n)
    names, windows = names_of(examples), windows_of(examples)
    residuals = [example.original - example.reconstruction for example in examples]
    limit = max(float(np.nanpercentile(np.abs(r), 99)) for r in residuals) or 1.0
    figure, axes = new_panels(3, len(examples))
    for column, (example, residual) in enumerate(zip(examples, residuals)):
        show(
            axes[0, column],
            example.original,
            windows[column],
            title=names[column],
            marks=example.marks,
        )
        show(axes[1, column], example.reconstruction, windows[column])
        # Blue: the reconstruction is too bright; red: too dark.
        picture = show(axes[2, column], residual, (-limit, limit), cmap="RdBu_r")
    for row, label in enumerate(("original", "reconstruction", "residual")):
        axes[row, 0].set_ylabel(label)
    # Beside all rows: beside the last one alone, it would move that row.
    figure.colorbar(picture, ax=list(axes.flat), shrink=0.3, anchor=(0, 0))
    return figure, axes


def plot_code_maps(fit, images, *, mask=None, n=4):
    """Plot images above the maps of their codes.

    Codes with similar vectors have similar colours.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    images, mask, n
        As for :func:`plot_reconstructions`.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : array of matplotlib.axes.Axes, shape (2, n)
        Rows: image, codes.

    Raises
    ------
    ValueError
        If all images are constant, or cannot be encoded.
    """
    examples = _examples(fit, images, mask, n)
    colours = code_colours(fit.codebook)
    names, windows = names_of(examples), windows_of(examples)
    figure, axes = new_panels(2, len(examples))
    for column, example in enumerate(examples):
        show(
            axes[0, column],
            example.original,
            windows[column],
            title=names[column],
            marks=example.marks,
        )
        show(axes[1, column], to_colours(example.codes, colours))
    for row, label in enumerate(("image", "codes")):
        axes[row, 0].set_ylabel(label)
    return figure, axes


def plot_samples(fit, prior, *, n=16, n_columns=None, affine=None, **options):
    """Plot new images, drawn from a prior.

    Parameters
    ----------
    fit : VQVAEFit
        The VQ-VAE.
    prior : PixelCNNFit
        The prior for its codes.
    n : int, optional
        Number of images, at least 1.
    n_columns : int, optional
        Images in a row; by default as many as there are rows.
    affine : array (4, 4), optional
        Affine of the images, whose first axes are theirs: right, front and top are then
        drawn where they belong. By default that of the NIfTI files of the training;
        without them the first axis is drawn downwards.
    **options
        Those of :meth:`PixelCNNFit.sample`, such as ``random_seed`` and ``labels``.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : array of matplotlib.axes.Axes, shape (n_rows, n_columns)
        All have one grey scale.
    """
    images = fit.decode(prior.sample(n, **options))
    if affine is None and fit.reading.kind == "nifti":
        affine = fit.reading.affine(fit.spatial_dims)
    view = View.of(affine, fit.spatial_dims)
    pictures = [as_picture(image, view) for image in images]
    limits = np.nanmin(pictures), np.nanmax(pictures)
    n_columns = min(n, n_columns or math.ceil(math.sqrt(n)))
    figure, axes = new_panels(math.ceil(n / n_columns), n_columns, side=1.2)
    marks = view.marks(images.shape[1 : 1 + fit.spatial_dims])
    for place, picture in zip(axes.flat, pictures):
        show(place, picture, limits, marks=marks if place is axes[0, 0] else ())
    return figure, axes


def _examples(fit, images, mask, n):
    examples = choose_examples(fit, images, mask=mask, n=n)
    if not examples:
        raise ValueError("images: all of them are constant, there is nothing to plot")
    return examples

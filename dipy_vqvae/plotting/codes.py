"""Pictures of the codebook."""

import math

import numpy as np

from dipy_vqvae.data import as_subjects
from dipy_vqvae.plotting.panels import new_panels, show
from dipy_vqvae.report import View, as_files, as_picture, code_blocks, summarise

_N_COLUMNS = 4


def plot_code_atlas(fit, images, *, mask=None, n=16):
    """Plot the most frequent codes: what is decoded from them, where they occur.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    images : array, list of arrays, or ImageCollection
        As for ``fit.encode``; of large collections, a subset is used.
    mask : array or list, optional
        As for ``fit.encode``. A code counts where its block has a voxel inside.
    n : int, optional
        Largest number of codes.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : array of matplotlib.axes.Axes, shape (n_rows, 2 * n_columns)
        For each code two: the block that is decoded from it, with its number and
        frequency, and how often it occurs at each position of the image, of its codes.
        The positions are relative, for images of different shapes.
    """
    files = as_files(
        as_subjects(images, mask, spatial_dims=fit.spatial_dims, layout=fit.layout)
    )
    atlas = summarise(fit, files, held_out=False).atlas
    view = View.of_file(files.files[0], fit.spatial_dims)
    of_codes = view.of_blocks(fit.config.downsampling)
    histogram = atlas.histogram
    order = np.argsort(-histogram, kind="stable")[:n]
    codes = [int(code) for code in order if histogram[code]]
    blocks, positions = code_blocks(fit), atlas.frequencies()
    limits = np.percentile(blocks[codes], (1, 99))
    n_columns = min(_N_COLUMNS, len(codes))
    figure, axes = new_panels(
        math.ceil(len(codes) / n_columns), 2 * n_columns, side=1.3
    )
    for code, (left, right) in zip(codes, axes.reshape(-1, 2)):
        share = histogram[code] / histogram.sum()
        title = f"{code}: {100 * share:.2g}%"
        show(left, as_picture(blocks[code], view, nearest=True), limits, title=title)
        show(
            right,
            as_picture(positions[code], of_codes, nearest=True),
            (0, None),
            cmap="magma",
        )
    return figure, axes

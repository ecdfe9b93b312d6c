"""Examples of images with their reconstructions and codes."""

import math

from dipy_vqvae.data import as_subjects, is_varying, layout_of
from dipy_vqvae.report.arrays import as_files
from dipy_vqvae.report.pictures import examples_of, spread
from dipy_vqvae.vqvae import decode_images, encode_images


def choose_examples(fit, images, *, mask=None, n=4):
    """Choose images, spread over files and slices, and reconstruct them.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    images : array, list of arrays, or ImageCollection
        As for ``fit.encode``.
    mask : array or list, optional
        As for ``fit.encode``.
    n : int, optional
        Largest number of images. Constant ones are left out.

    Returns
    -------
    examples : list of Example
        Pictures of the images, their reconstructions and codes.
    """
    files = as_files(
        as_subjects(images, mask, spatial_dims=fit.spatial_dims, layout=fit.layout)
    )
    chosen = spread(len(files.files), n)
    examples = []
    for index in chosen:
        stack, inside = files.read(index), files.read_mask(index)
        # Of all slices of a volume, not only of those that are shown.
        is_2d = fit.spatial_dims == 2
        scaling = fit.scaling_of(stack, mask=inside) if is_2d else None
        numbers = is_varying(stack, fit.spatial_dims, inside).nonzero()[0]
        rows = [
            int(numbers[i]) for i in spread(len(numbers), math.ceil(n / len(chosen)))
        ]
        if not rows:
            continue
        coded = encode_images(
            fit,
            stack[rows],
            layout=layout_of(files.files[index], spatial_dims=fit.spatial_dims),
            mask=None if inside is None else inside[rows],
            scaling=scaling,
        )
        examples += examples_of(
            files.files[index],
            stack[rows],
            decode_images(fit, coded),
            coded,
            n=len(rows),
            mask=None if inside is None else inside[rows],
            has_own_unit=fit.config.scaling.method == "volume",
            numbers=rows,
            show_codes=True,
        )
    return examples[:n]

"""How a command reads images for a model."""

from dataclasses import asdict, replace

from dipy_vqvae.workflows.command import UsageError

# Entry in the description of a fit.
_ENTRY = "reading"


def keep_reading(fit, reading):
    """Note in a fit how its training images were read; it is saved with the fit."""
    fit.description[_ENTRY] = asdict(reading)


def reading_of(fit, *, slice_axis=None):
    """Return how images are to be read for a fit.

    A fit of arrays has the defaults. `slice_axis` replaces that of the training.
    """
    reading = fit.reading
    if slice_axis is not None:
        if fit.spatial_dims == 3:
            raise UsageError("--slice_axis is for models of 2D images, not of volumes")
        reading = replace(reading, slice_axis=slice_axis)
    return reading


def view_of(reading, spatial_dims):
    """Return how images that were read this way are drawn, as `dipy_vqvae.report.View`."""
    from dipy_vqvae.report import View

    if reading.kind != "nifti":
        return View(spatial_dims)
    return View.of(reading.affine(spatial_dims), spatial_dims)


def describe_shapes(shapes):
    """Describe the shapes of images in words.

    >>> describe_shapes([(64, 64), (64, 64)])
    '64 x 64'
    >>> describe_shapes([(9, 8), (7, 8), (7, 8)])
    '2 shapes from 7 x 8 to 9 x 8'
    """
    shapes = sorted(set(map(tuple, shapes)))
    texts = [" x ".join(str(n) for n in shape) for shape in shapes]
    if len(texts) == 1:
        return texts[0]
    return f"{len(texts)} shapes from {texts[0]} to {texts[-1]}"

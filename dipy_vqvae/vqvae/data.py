"""The images of a training or a validation."""

from dataclasses import dataclass

import numpy as np

from dipy_vqvae.arrays import as_array, is_list_of_arrays
from dipy_vqvae.data import (
    ImageCollection,
    Survey,
    as_subjects,
    names_images,
    survey_subjects,
)
from dipy_vqvae.parallel import map_parts
from dipy_vqvae.storage import fingerprint
from dipy_vqvae.vqvae.batches import ImageBatches


@dataclass(frozen=True, eq=False)
class ImageData:
    """Checked images (ArraySubjects or ImageCollection) and their survey."""

    subjects: object
    survey: Survey

    @property
    def image_shape(self):
        """Largest spatial shape along each axis."""
        shapes = [self.subjects.shapes[s] for s in np.unique(self.survey.subject)]
        return tuple(map(max, zip(*shapes)))

    @property
    def has_mixed_shapes(self):
        """Whether there is more than one shape."""
        return len({self.subjects.shapes[s] for s in self.survey.subject}) > 1

    @property
    def layout(self):
        """How other files are to be opened: options of `open_images`."""
        subjects = self.subjects
        if not isinstance(subjects, ImageCollection):
            return {}
        return {"slice_axis": subjects.slice_axis, "volumes_as": subjects.volumes_as}

    def describe(self):
        """Return what identifies the images in model files and checkpoints."""
        subjects, survey = self.subjects, self.survey
        if not subjects.is_array:
            return {
                "number": len(survey.row),
                "subjects": len(subjects.counts),
                "shape": [*self.image_shape, subjects.n_channels],
                "fingerprint": survey.digest,
                "subject_fingerprints": survey.digests,
            }
        rows = survey.row
        if len(rows) == subjects.counts[0]:
            # A slice needs no copy.
            rows = slice(None)
        images, mask = subjects.rows(0, rows), subjects.mask_rows(0, rows)
        description = {
            "number": len(images),
            "shape": list(images.shape[1:]),
            "dtype": str(images.dtype),
            "fingerprint": fingerprint(images),
        }
        if mask is not None:
            description["mask_fingerprint"] = fingerprint(mask)
        return description

    def batches(self, *, scaling, factors, device, patch_shape=None):
        """Return the images as the networks see them."""
        scalings = self.survey.scalings
        return ImageBatches(
            self.subjects,
            items=(self.survey.subject, self.survey.row),
            scaling=scaling if scalings is None else scalings,
            factors=factors,
            device=device,
            patch_shape=patch_shape,
        )


def survey_images(
    images, mask, *, spatial_dims, method, name="images", must_vary=True, layout=None
):
    """Check images and survey all of them once.

    Parameters
    ----------
    images : array, list of arrays, or ImageCollection
        See `as_subjects`.
    mask : array, list of arrays, or None
        Their masks.
    spatial_dims : {2, 3}
        Slices or volumes.
    method : str or None
        The scaling to find, see `survey_subjects`.
    name : str, optional
        What messages call the images.
    must_vary : bool, optional
        Whether to refuse subjects whose values are all the same.
    layout : dict, optional
        Options of `open_images` for files.

    Returns
    -------
    data : ImageData

    Raises
    ------
    TypeError, ValueError, OSError
        For images or masks that cannot be used.
    """
    subjects = as_subjects(
        images, mask, spatial_dims=spatial_dims, name=name, layout=layout
    )
    survey = survey_subjects(
        subjects,
        method=method,
        spatial_dims=spatial_dims,
        must_vary=must_vary,
        map_subjects=_map_subjects,
        name=name.replace("validation_images", "held-out images"),
    )
    return ImageData(subjects, survey)


def survey_validation_images(
    images, mask, *, training, training_mask, spatial_dims, method
):
    """Survey held-out images, which must have the channels of the training images."""
    # One mask for all training images is one for the held-out images as well.
    is_usable = training_mask is not None and not (
        is_list_of_arrays(training_mask) or names_images(training_mask)
    )
    if mask is None and is_usable and not _is_opened(images):
        mask = as_array(training_mask, "mask")
        mask = mask if mask.ndim == spatial_dims else None
        if mask is not None and is_list_of_arrays(images):
            mask = [mask] * len(images)
    held_out = survey_images(
        images,
        mask,
        spatial_dims=spatial_dims,
        method=method,
        name="validation_images",
        must_vary=False,
        layout=training.layout,
    )
    n, expected = held_out.subjects.n_channels, training.subjects.n_channels
    if n != expected:
        raise ValueError(f"validation_images have {n} channels, images have {expected}")
    return held_out


def _is_opened(images):
    return isinstance(images, ImageCollection) or names_images(images)


def _map_subjects(function, n):
    """Apply a function to n subjects, which the processes share."""
    return map_parts(lambda part: function(part.start), n, size=1)

"""What a VQ-VAE is trained on, from what its user gives."""

from dataclasses import dataclass

import numpy as np

from dipy_vqvae.data import ImageCollection, Survey, as_subjects, survey_subjects
from dipy_vqvae.parallel import map_parts
from dipy_vqvae.storage import fingerprint
from dipy_vqvae.vqvae.batches import ImageBatches
from dipy_vqvae.vqvae.subject_batches import SubjectBatches


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images that have been looked at once.

    Attributes
    ----------
    subjects : ArraySubjects or ImageCollection
        The images.
    survey : Survey
        Which of them to use, and what they are like.
    """

    subjects: object
    survey: Survey

    @property
    def image_shape(self):
        """The largest spatial shape along each axis."""
        shapes = [self.subjects.shapes[s] for s in np.unique(self.survey.subject)]
        return tuple(map(max, zip(*shapes)))

    @property
    def has_mixed_shapes(self):
        """Whether there is more than one shape."""
        return len({self.subjects.shapes[s] for s in self.survey.subject}) > 1

    def describe(self):
        """What identifies the images, for model files and checkpoints."""
        subjects, found = self.subjects, self.survey
        description = {"number": len(found.row)}
        if subjects.is_array:
            images, mask = self._array()
            description["shape"] = list(images.shape[1:])
            description["dtype"] = str(images.dtype)
            description["fingerprint"] = fingerprint(images)
            if mask is not None:
                description["mask_fingerprint"] = fingerprint(mask)
            return description
        description["subjects"] = len(subjects.counts)
        description["shape"] = [*self.image_shape, subjects.n_channels]
        description["fingerprint"] = found.digest
        return description

    def batches(self, *, scaling, factors, device, patch_shape=None):
        """The images as the networks see them."""
        how = {"factors": factors, "device": device}
        scalings = self.survey.scalings
        one_scaling = scalings is None or len(scalings) == 1
        if self.subjects.is_array and one_scaling and patch_shape is None:
            if scalings is not None:
                (scaling,) = scalings.values()
            images, mask = self._array()
            return ImageBatches(images, mask=mask, scaling=scaling, **how)
        return SubjectBatches(
            self.subjects, self.survey, scaling=scaling, patch_shape=patch_shape, **how
        )

    def _array(self):
        """The one array of images to use, and its mask."""
        subjects, rows = self.subjects, self.survey.row
        if len(rows) == len(subjects):
            rows = slice(None)
        return subjects.rows(0, rows), subjects.mask_rows(0, rows)


def look_at(images, mask, *, spatial_dims, method, name="images", must_vary=True):
    """Check images, and look at all of them once.

    Parameters
    ----------
    images : array, list of arrays, or ImageCollection
        See `dipy_vqvae.data.subjects.as_subjects`.
    mask : array, list of arrays, or None
        Their masks.
    spatial_dims : {2, 3}
        Slices or volumes.
    method : str
        The scaling to find, see `dipy_vqvae.data.survey.survey_subjects`.
    name : str, optional
        What messages call the images.
    must_vary : bool, optional
        Whether subjects with one value only are refused.

    Returns
    -------
    data : ImageData

    Raises
    ------
    TypeError, ValueError, OSError
        For images or masks that cannot be used; the message says why.
    """
    subjects = as_subjects(images, mask, spatial_dims=spatial_dims, name=name)
    found = survey_subjects(
        subjects,
        method=method,
        spatial_dims=spatial_dims,
        must_vary=must_vary,
        map_subjects=_shared,
    )
    return ImageData(subjects, found)


def look_at_validation(images, mask, *, training, training_mask, spatial_dims, method):
    """Look at images that are held out, which must be like those of the training."""
    is_array = not isinstance(images, (list, tuple, ImageCollection))
    is_one = not isinstance(training_mask, (list, tuple))
    if mask is None and is_array and is_one:
        mask = training_mask if np.ndim(training_mask) == spatial_dims else None
    held_out = look_at(
        images,
        mask,
        spatial_dims=spatial_dims,
        method=method,
        name="validation_images",
        must_vary=False,
    )
    n, expected = held_out.subjects.n_channels, training.subjects.n_channels
    if n != expected:
        raise ValueError(f"validation_images have {n} channels, images have {expected}")
    return held_out


def _shared(look, n):
    """Several processes look at a share of the subjects each."""
    return map_parts(lambda part: look(part.start), n, size=1)

"""Images subject by subject, with the conditions of a prior."""

from dataclasses import dataclass

import numpy as np

from dipy_vqvae.data import as_subjects, slice_positions, subject_digests
from dipy_vqvae.storage import fingerprint

SLICE_POSITION = "slice_position"


@dataclass(frozen=True, eq=False)
class Part:
    """The images of one subject.

    `entry` and `rows` are where they are among the images that were given.
    """

    entry: int
    rows: np.ndarray
    images: np.ndarray  # (n, *spatial, C)
    mask: np.ndarray | None  # (n, *spatial)
    labels: np.ndarray | None
    covariates: dict | None


class SubjectImages:
    """Images subject by subject.

    An entry of a list, or a file, is a subject. Of an array each image is one, unless
    `subject_of` says of which subject each image is; those of one need not be next to
    each other.
    """

    def __init__(self, images, mask, subject_of, vqvae, prior, labels, covariates):
        self.subjects = as_subjects(
            images, mask, spatial_dims=vqvae.spatial_dims, layout=vqvae.layout
        )
        self.labels = labels
        self.covariates = covariates
        counts = self.subjects.counts
        self.starts = np.cumsum([0, *counts])
        self.parts = _parts(self.subjects, subject_of)
        names = [covariate.name for covariate in prior.config.covariates]
        self.needs_positions = SLICE_POSITION in names and SLICE_POSITION not in (
            covariates or {}
        )
        if self.needs_positions and max(len(rows) for _, rows in self.parts) == 1:
            raise ValueError(
                "the prior is conditioned on slice_position, which single images have "
                "not: give an array of slices for each subject, subjects=..., or "
                'covariates={"slice_position": ...}'
            )

    def __len__(self):
        return len(self.parts)

    def __iter__(self):
        for entry, rows in self.parts:
            mask = self.subjects.mask_rows(entry, rows)
            if mask is not None and not mask.any():
                raise ValueError(f"{self.subjects.mask_name(entry)}: nothing is inside")
            of_all = self.starts[entry] + rows
            covariates = None
            if self.covariates is not None:
                covariates = {
                    name: np.asarray(column)[of_all]
                    for name, column in self.covariates.items()
                }
            if self.needs_positions:
                positions = slice_positions(len(rows), 1, mask)
                covariates = {**(covariates or {}), SLICE_POSITION: positions}
            yield Part(
                entry=entry,
                rows=rows,
                images=self.subjects.rows(entry, rows),
                mask=mask,
                labels=None if self.labels is None else np.asarray(self.labels)[of_all],
                covariates=covariates,
            )

    def give_back(self, results, *, channels=None):
        """Return the results of the parts with the axes of the images that were given.

        `channels` is the number of channels of results that are images.
        """
        last = () if channels is None else (channels,)
        entries = [
            np.zeros((n, *shape, *last), results[0].dtype)
            for n, shape in zip(self.subjects.counts, self.subjects.shapes)
        ]
        for (entry, rows), result in zip(self.parts, results):
            entries[entry][rows] = result
        return self.subjects.give_back(entries, are_images=channels is not None)

    def check_not_trained_on(self, vqvae):
        """Refuse subjects that a VQ-VAE was trained on, where its file tells."""
        known = vqvae.description.get("training_images", {})
        if self.subjects.is_array:
            same = known.get("fingerprint") == fingerprint(self.subjects.rows(0, ...))
            names = ["the array"] if same else []
        else:
            trained_on = set(known.get("subject_fingerprints", ()))
            names = [
                str(self.subjects.name(entry))
                for entry, digest in enumerate(subject_digests(self.subjects))
                if digest in trained_on
            ]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(
                f"{', '.join(names[:3])}{more}: the VQ-VAE was trained on them; a "
                "calibration needs other healthy subjects"
            )


def _parts(subjects, subject_of):
    """Return the entry and the rows of each subject."""
    counts = subjects.counts
    if subject_of is None:
        if subjects.is_array:
            return [(0, np.array([row])) for row in range(counts[0])]
        return [(entry, np.arange(n)) for entry, n in enumerate(counts)]
    subject_of = np.asarray(subject_of)
    if not subjects.is_array or subject_of.shape != (counts[0],):
        raise ValueError(
            "subjects must have an entry for each image of an array, got shape "
            f"{subject_of.shape} for {len(subjects)} images"
        )
    return [(0, np.flatnonzero(subject_of == name)) for name in np.unique(subject_of)]

"""Images in memory for the reports, which read files one at a time."""

from pathlib import Path

from dipy_vqvae.data import layout_of_stack


class ArrayFiles:
    """Present images in memory as files of .npy stacks.

    Parameters
    ----------
    subjects : ArraySubjects
        Checked images.

    Attributes
    ----------
    files : list of SourceFile
        One for each subject, with the subject's name for a path.
    """

    def __init__(self, subjects):
        self._subjects = subjects
        self.files = [
            layout_of_stack(
                Path(subjects.name(i)),
                self.read(i),
                spatial_dims=subjects.spatial_dims,
            )
            for i in range(len(subjects.counts))
        ]

    def __len__(self):
        return len(self._subjects)

    def read(self, index):
        """Read all images of a subject, (n, *spatial[, C]); 0 outside a mask."""
        images = self._subjects.rows(index, slice(None))
        return images if self._subjects.channel_axis else images[..., 0]

    def read_mask(self, index):
        """Read the masks of all images of a subject, (n, *spatial), or None."""
        return self._subjects.mask_rows(index, slice(None))


def as_files(images):
    """Return images as files that a report can read.

    Parameters
    ----------
    images : ImageCollection or ArraySubjects
        The images.

    Returns
    -------
    files : ImageCollection or ArrayFiles
    """
    return images if hasattr(images, "files") else ArrayFiles(images)

"""The files that a training is given: images, masks, and those held out."""

from dataclasses import dataclass
import logging
import os

from dipy_vqvae.workflows.command import UsageError, as_list
from dipy_vqvae.workflows.holding_out import check_enough_files
from dipy_vqvae.workflows.masks import pair_masks

logger = logging.getLogger("dipy_vqvae")


@dataclass(frozen=True)
class GivenFiles:
    """Files to train on, and files to look at after each epoch.

    Attributes
    ----------
    images, held_out : list of Path
        Image files.
    masks, held_out_masks : list of Path or None
        A mask for each of them; None where there are none.
    """

    images: list
    held_out: list
    masks: list
    held_out_masks: list

    def all(self):
        """All of them, as one list."""
        masks = filter(None, [*self.masks, *self.held_out_masks])
        return [*self.images, *self.held_out, *masks]


def find_files(
    input_files,
    mask_files,
    validation_files,
    validation_mask_files,
    *,
    validation_fraction,
):
    """Find the files that a user has named, and give each image its mask.

    Parameters
    ----------
    input_files, mask_files, validation_files, validation_mask_files : list of str
        Files, globs and folders; None for none.
    validation_fraction : float
        Part of the images to hold out instead.

    Returns
    -------
    files : GivenFiles

    Raises
    ------
    OSError
        If a file is missing.
    UsageError
        If they do not go together.
    """
    from dipy_vqvae.data import expand_paths

    images = expand_paths(as_list(input_files))
    held_out = as_list(validation_files)
    held_out = expand_paths(held_out) if held_out else []
    check_enough_files(images, validation_fraction)
    files = GivenFiles(
        images=images,
        held_out=held_out,
        masks=pair_masks(images, mask_files),
        held_out_masks=pair_masks(
            held_out, validation_mask_files, option="validation_mask_files"
        ),
    )
    if held_out:
        if (files.masks[0] is None) != (files.held_out_masks[0] is None):
            raise UsageError(
                "--mask_files and --validation_mask_files go together where there are "
                "--validation_files"
            )
        _warn_of_seen_files(images, held_out)
    return files


def _warn_of_seen_files(images, held_out):
    seen = {os.path.realpath(path) for path in images}
    both = [path for path in held_out if os.path.realpath(path) in seen]
    if both:
        n = "one" if len(both) == 1 else str(len(both))
        logger.warning(
            "--validation_files: %s of %d are trained on as well (%s): the validation "
            "loss says little of other images",
            n,
            len(held_out),
            both[0] if len(both) == 1 else f"{both[0]}, ...",
        )

"""Which mask goes with which image."""

import logging

from dipy_vqvae.workflows.command import UsageError, as_list, file_stem

logger = logging.getLogger("dipy_vqvae")


def pair_masks(paths, mask_files, *, option="mask_files"):
    """Give each image file its mask.

    Parameters
    ----------
    paths : list of Path
        The image files.
    mask_files : str, Path or sequence of them, or None
        Mask files, globs or folders of them, as given: one for all images, or as
        many, in the same order.
    option : str, optional
        What the option is called.

    Returns
    -------
    masks : list of Path or None
        One for each image; None where there are no masks.

    Raises
    ------
    OSError
        If a mask file is missing.
    UsageError
        If there are several masks, but not as many as images.
    """
    mask_files = as_list(mask_files)
    if not mask_files:
        return [None] * len(paths)
    from dipy_vqvae.data import expand_paths

    masks = expand_paths(mask_files)
    if len(masks) == 1:
        return masks * len(paths)
    if len(masks) != len(paths):
        raise UsageError(
            f"--{option}: {len(masks)} masks for {len(paths)} images; give one mask "
            "for all, or one for each image in the same order"
        )
    _refuse_wrong_order(paths, masks, option)
    for path, mask in zip(paths, masks):
        logger.debug("%s has the mask %s", path, mask)
    logger.info(
        "Masks are taken in the order of the images: %s with %s, to %s with %s",
        paths[0],
        masks[0],
        paths[-1],
        masks[-1],
    )
    return masks


def _refuse_wrong_order(paths, masks, option):
    """Refuse the mask of another image, where names tell."""
    starts = {}
    for mask in masks:
        stem = file_stem(mask)
        for end in range(1, len(stem) + 1):
            if not stem[end : end + 1].isalnum():
                starts.setdefault(stem[:end], mask)
    for path, mask in zip(paths, masks):
        stem = file_stem(path)
        own = file_stem(mask)
        is_own = own.startswith(stem) and not own[len(stem) :][:1].isalnum()
        if not is_own and stem in starts:
            raise UsageError(
                f"--{option}: {path} would get the mask {mask}, though {starts[stem]} "
                "has its name; give masks in the order of the images"
            )


def masks_or_none(masks):
    """Masks as :func:`dipy_vqvae.open_images` takes them.

    Parameters
    ----------
    masks : list of Path or None
        From :func:`pair_masks`.

    Returns
    -------
    masks : list of Path or None
        None without masks; one file where all are the same.
    """
    if not masks or masks[0] is None:
        return None
    return masks[:1] if len(set(masks)) == 1 else masks

"""Find the mask of each image by the names of the files."""

from pathlib import Path

from dipy_vqvae.data.names import bids_name, distinct_words, file_stem
from dipy_vqvae.data.paths import expand_paths


class PairingError(ValueError):
    """Masks that do not go with the images."""


# Entities of BIDS that say what a file is, not which image it belongs to.
_OF_KIND = ("desc", "label", "seg", "atlas")
# Those of the grid: a mask may have them where its image has none.
_OF_SPACE = ("space", "res", "den")


def expand_with_masks(images, mask_files=None, *, in_pairs=False):
    """List images and the mask of each.

    Parameters
    ----------
    images : str, Path or sequence of them
        Files, globs and folders, see `expand_paths`.
    mask_files : str, Path or sequence of them, optional
        Those of the masks.
    in_pairs : bool, optional
        Whether images that are named twice are meant as two, with one mask as well.

    Returns
    -------
    images : list of Path
    masks : list of Path or None
        One for each image; None without masks.

    Raises
    ------
    OSError, ValueError
        As `expand_paths` and `pair_masks`.
    """
    masks = expand_paths(mask_files, unique=False) if mask_files else []
    # Images that have masks of their own are pairs with them.
    images = expand_paths(images, unique=len(masks) < 2 and not in_pairs)
    if not masks:
        return images, None
    if len(masks) > 1 and len(masks) != len(images):
        images = list(dict.fromkeys(images))  # such as those of overlapping globs
    return images, pair_masks(images, masks)


def pair_masks(images, masks):
    """Return the mask of each image.

    Files with BIDS names are paired by their entities: a mask belongs to an image if it
    has no other value of an entity and names no session, run or acquisition that the
    image does not. Other files are paired by the words of their paths in which the
    images, and the masks, differ from each other, or by the image's name at the start of
    the mask's. Where the names say nothing, masks are taken in the order of the images.

    Parameters
    ----------
    images : list of Path
        The images; one may occur several times.
    masks : list of Path
        One mask for all images, or those of each.

    Returns
    -------
    masks : list of Path
        One for each image.

    Raises
    ------
    PairingError
        A ValueError: if names tell which masks belong to which images and an image has no mask or
        several, or a mask has no image; or if there are no such names, and more or
        fewer masks than images.

    Examples
    --------
    >>> pair_masks(["s1.nii", "s2.nii"], ["masks/s2_mask.nii", "masks/s1_mask.nii"])
    ['masks/s1_mask.nii', 'masks/s2_mask.nii']
    """
    distinct = list(dict.fromkeys(masks))
    own = _by_name(list(dict.fromkeys(images)), distinct)
    if own is not None:
        _check_pairs(own, distinct)
        return [own[image][0] for image in images]
    if len(distinct) == 1:
        return distinct * len(images)
    if len(images) != len(masks):
        raise PairingError(
            f"{len(masks)} masks for {len(images)} images; give one mask for all, or one "
            "for each image with its name"
        )
    return list(masks)


def _by_name(images, masks):
    """Return the masks that the names give each image; None if they say nothing."""
    names = [bids_name(path) for path in [*images, *masks]]
    if None not in names:
        n = len(images)
        return {i: _best(b, zip(masks, names[n:])) for i, b in zip(images, names[:n])}
    keys = dict(zip(masks, distinct_words(masks)))
    own = {}
    for image, key in zip(images, distinct_words(images)):
        # A file that is an image as well as a mask says nothing.
        others = [mask for mask in masks if Path(mask) != Path(image)]
        same = [mask for mask in others if key and keys[mask] == key]
        own[image] = same or [mask for mask in others if _begins_with(mask, image)]
    return own if any(own.values()) else None


def _best(image, masks):
    """Return the masks that agree with a BidsName in the most entities."""
    scores = {path: _agreement(image.entities, mask.entities) for path, mask in masks}
    scores = {path: score for path, score in scores.items() if score is not None}
    highest = max(scores.values(), default=None)
    return [path for path, score in scores.items() if score == highest]


def _agreement(image, mask):
    """Return how many entities agree, less those of the mask alone; None if one differs."""
    score = 0
    for name, value in mask.items():
        if name in _OF_KIND:
            continue
        if name not in image and name in _OF_SPACE:
            score -= 1
        elif image.get(name) != value:
            return None
        else:
            score += 1
    return score


def _begins_with(mask, image):
    """Whether a mask's name begins with that of an image, and a new word follows."""
    stem = file_stem(image)
    rest = file_stem(mask).removeprefix(stem)
    return rest != file_stem(mask) and not rest[:1].isalnum()


def _check_pairs(own, masks):
    """Refuse images without a mask or with several, and masks without an image."""
    for image, found in own.items():
        if len(found) > 1:
            raise PairingError(
                f"{image} could have the mask {found[0]} or {found[1]}: name one of them"
            )
    missing = [str(image) for image, found in own.items() if not found]
    used = {mask for found in own.values() for mask in found}
    extra = [str(mask) for mask in masks if mask not in used]
    if missing:
        pairs = [f"{image} has {found[0]}" for image, found in own.items() if found]
        example = f" ({pairs[0]})" if pairs else ""
        raise PairingError(
            f"{_several(missing)}: no mask has this name{example}; leave the image out, "
            "or give its mask (one mask for all must not have the name of one image)"
        )
    if extra:
        raise PairingError(
            f"{_several(extra)}: this mask belongs to none of the images: leave it out"
        )


def _several(paths):
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return f"{paths[0]}{more}"

"""Compare the orientations and affines of files."""

from functools import lru_cache
import itertools
import logging

from nibabel.orientations import aff2axcodes
import numpy as np

logger = logging.getLogger("dipy_vqvae")


def orientation_of(affine):
    """Return the orientation of an array's axes, such as ``"RAS"``.

    Examples
    --------
    >>> orientation_of(np.diag([-2, -2, 2, 1]))
    'LPS'
    """
    if affine is None:
        return None
    directions = np.array(affine, float)
    directions[:3, 3] = 0
    return _orientation_of(directions.tobytes())


@lru_cache(maxsize=256)
def _orientation_of(affine):
    # Cached: most files of a data set share their directions.
    letters = aff2axcodes(np.frombuffer(affine).reshape(4, 4))
    # An axis of length zero has no direction.
    return None if None in letters else "".join(letters)


def distance_apart(first, second, shape):
    """Return the largest distance between voxels under two affines, in voxel edges."""
    # The largest distance is at a corner: it is a convex function of the indices.
    corners = np.array(
        [[*corner, 1] for corner in itertools.product(*((0, n - 1) for n in shape))]
    )
    apart = np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max()
    edges = np.linalg.norm(first[:3, :3], axis=0)
    return apart / (edges[edges > 0].min() if edges.any() else 1.0)


def warn_of_spaces(files, masks):
    """Warn about differing orientations and affines; nothing is resampled."""
    known = {}
    for file in files:
        orientation = orientation_of(file.affine)
        # Slices of an anatomical plane are turned to one orientation.
        if orientation is not None and file.turn is None:
            known.setdefault(orientation, []).append(file.path)
    if len(known) > 1:
        groups = ", ".join(
            f"{orientation} ({len(paths)}, such as {paths[0]})"
            for orientation, paths in known.items()
        )
        logger.warning(
            "The files have different orientations: %s. Images are used as they are "
            "stored; take slices of a plane (slice_axis axial, coronal or sagittal), or "
            "reorient the files first",
            groups,
        )
    unknown = [
        file.path for file in files if file.turn is not None and _has_no_affine(file)
    ]
    if unknown:
        logger.warning(
            "%s%s: the header does not say which axis is which; the plane of the slices "
            "is a guess",
            unknown[0],
            f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else "",
        )
    misplaced = [
        (file, mask) for file, mask in zip(files, masks) if _is_misplaced(file, mask)
    ]
    if misplaced:
        file, mask = misplaced[0]
        n_more = len(misplaced) - 1
        logger.warning(
            "%s: its affine differs from that of %s%s. Voxels are matched by index, "
            "nothing is resampled",
            mask.path,
            file.path,
            f" (and {n_more} more)" if n_more else "",
        )


def _is_misplaced(file, mask):
    if mask is None or file.affine is None or mask.affine is None:
        return False
    if np.array_equal(file.affine, mask.affine):
        return False
    return distance_apart(file.affine, mask.affine, file.shape[:3]) > 0.5


def _has_no_affine(file):
    """Whether a header has neither of the two affines of NIfTI."""
    space = file.space or {}
    return not (space.get("sform_code") or space.get("qform_code"))

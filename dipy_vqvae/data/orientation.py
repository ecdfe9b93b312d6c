"""Where files lie in space: they are not resampled, so what differs is said."""

from functools import lru_cache
import itertools
import logging

from nibabel.orientations import aff2axcodes
import numpy as np

logger = logging.getLogger("dipy_vqvae")


def orientation_of(affine):
    """Return the orientation of an array's axes, such as ``"RAS"``.

    Parameters
    ----------
    affine : ndarray of shape (4, 4) or None
        Voxel indices to world coordinates.

    Returns
    -------
    orientation : str or None
        Such as ``"LPS"``; None where it is not known.

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
    # Of many files, most have the directions of another one, if not its origin.
    letters = aff2axcodes(np.frombuffer(affine).reshape(4, 4))
    # An axis of no size points nowhere.
    return None if None in letters else "".join(letters)


def distance_apart(first, second, shape):
    """Return the largest distance between an array's voxels under two affines.

    Examples
    --------
    >>> float(distance_apart(np.diag([2, 2, 2, 1]), np.eye(4), (3, 1, 1)))
    1.0
    """
    # The largest distance is at a corner: it is a convex function of the indices.
    corners = np.array(
        [[*corner, 1] for corner in itertools.product(*((0, n - 1) for n in shape))]
    )
    apart = np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max()
    edges = np.linalg.norm(first[:3, :3], axis=0)
    return apart / (edges[edges > 0].min() if edges.any() else 1.0)


def warn_of_spaces(files, masks):
    """Say so where axes point to different directions, or masks lie elsewhere."""
    known = {}
    for file in files:
        orientation = orientation_of(file.affine)
        if orientation is not None:
            known.setdefault(orientation, []).append(file.path)
    if len(known) > 1:
        groups = ", ".join(
            f"{orientation} ({len(paths)}, such as {paths[0]})"
            for orientation, paths in known.items()
        )
        logger.warning(
            "The axes of the files point to different directions: %s. Images are taken "
            "as they are stored; bring them to one orientation first",
            groups,
        )
    elsewhere = [
        (file, mask) for file, mask in zip(files, masks) if _is_elsewhere(file, mask)
    ]
    if elsewhere:
        file, mask = elsewhere[0]
        n_more = len(elsewhere) - 1
        logger.warning(
            "%s: lies elsewhere than %s, their affines differ%s. Voxels are paired by "
            "their indices, nothing is resampled",
            mask.path,
            file.path,
            f" (and {n_more} more)" if n_more else "",
        )


def _is_elsewhere(file, mask):
    if mask is None or file.affine is None or mask.affine is None:
        return False
    if np.array_equal(file.affine, mask.affine):
        return False
    return distance_apart(file.affine, mask.affine, file.shape[:3]) > 0.5

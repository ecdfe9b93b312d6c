"""What the two workflows of anomaly detection share: subjects from files, masks."""

from contextlib import contextmanager
import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dipy_vqvae.data import PLANES, Turn, file_stem
from dipy_vqvae.settings import Real, Setting
from dipy_vqvae.workflows.command import UsageError

logger = logging.getLogger("dipy_vqvae")

ERODE = Setting(
    0.0,
    Real(0),
    "Width in mm of the rim of each mask that does not count, such as scalp or the edge "
    "of the brain; for a 2D model within the slices.",
)
# Entry of the VQ-VAE's description in a detector: what the calibration was done with.
_ENTRY = "calibration"
# Voxel sizes that differ by more from those of the training are warned of.
_SAME_SIZE = 0.1


def check_conditions(prior, path):
    """Refuse a prior that needs to know more of a file than where its slices are."""
    names = {covariate.name for covariate in prior.config.covariates}
    names -= {"slice_position"}
    if prior.n_classes:
        names.add("labels")
    if names:
        raise ValueError(
            f"{path} is conditioned on {', '.join(sorted(names))}, which this command "
            "does not know of a file; in Python, AnomalyModel takes labels and covariates"
        )


def keep_calibration(vqvae, *, erode, has_masks):
    """Note in a fit what masks a calibration had; it is saved with the detector."""
    vqvae.description[_ENTRY] = {"erode": erode, "has_masks": has_masks}


def check_rim(erode, masks):
    """Refuse to take a rim away where there are no masks."""
    if erode and (not masks or masks[0] is None):
        raise UsageError("--erode requires --mask_files")


def rim_of(vqvae, erode, *, has_masks):
    """Return the rim to take away, in mm: that of the calibration if none is given.

    Warns where the masks are not as those of the calibration.
    """
    known = vqvae.description.get(_ENTRY)
    if not isinstance(known, dict):
        return erode or 0.0
    if bool(known.get("has_masks")) != has_masks:
        logger.warning(
            "The detector was calibrated %s masks: without the same kind of masks here, "
            "its rates of errors do not hold",
            "with" if known.get("has_masks") else "without",
        )
    usual = float(known.get("erode") or 0.0)
    if erode is not None and erode != usual:
        logger.warning(
            "--erode %g: the detector was calibrated with %g mm, its rates of errors do "
            "not hold",
            erode,
            usual,
        )
    if erode is None:
        return usual if has_masks else 0.0
    return erode


def warn_of_voxel_size(file, reading):
    """Warn of a file with other voxels than those of the training."""
    if file.affine is None or reading.kind != "nifti":
        return  # one of the two is not known
    size = np.linalg.norm(file.affine[:3, :3], axis=0)
    if file.turn is not None:
        size = size[list(file.turn.axes)]
    if np.abs(np.log(size / reading.voxel_size)).max() > _SAME_SIZE:
        logger.warning(
            "%s: its voxels are of %s mm, those of the training of %s mm; it is not "
            "resampled",
            file.path,
            " x ".join(f"{s:.3g}" for s in size),
            " x ".join(f"{s:.3g}" for s in reading.voxel_size),
        )


@contextmanager
def eroded(masks, mm, *, slice_axis):
    """Give the files of masks without their rim, in a temporary folder.

    `slice_axis` is the axis or the plane of a 2D model, None for volumes.
    """
    if not mm:
        yield masks
        return
    with TemporaryDirectory() as folder:
        files = {}
        for i, path in enumerate(dict.fromkeys(masks)):
            # With its own name: masks are paired with their images by it.
            files[path] = Path(folder, f"mask{i}", f"{file_stem(path)}.nii.gz")
            files[path].parent.mkdir()
            _erode_file(path, files[path], mm, slice_axis)
        yield [files[path] for path in masks]


def _erode_file(path, result, mm, slice_axis):
    """Write a mask without its rim."""
    import nibabel as nib

    image = nib.load(path)
    data = np.asanyarray(image.dataobj) != 0
    size = np.array(image.header.get_zooms()[:3], float)
    if slice_axis in PLANES:
        slice_axis = Turn.of(image.affine).axes[PLANES[slice_axis]]
    inside = erode(data, mm, size, slice_axis=slice_axis)
    if not inside.any():
        raise ValueError(f"{path}: nothing is left inside after --erode {mm:g}")
    nib.Nifti1Image(inside.astype(np.uint8), image.affine).to_filename(result)


def erode(inside, mm, voxel_size, *, slice_axis=None):
    """Return the voxels whose distance to the outside is more than some mm.

    With `slice_axis`, the distance within the slice. The edge of the array is outside.
    """
    from scipy import ndimage

    if slice_axis is None:
        parts = [(slice(None), np.asarray(voxel_size))]
    else:
        in_plane = np.delete(np.asarray(voxel_size), slice_axis)
        parts = [
            ((slice(None),) * slice_axis + (i,), in_plane)
            for i in range(inside.shape[slice_axis])
        ]
    result = np.zeros(inside.shape, bool)
    for part, sampling in parts:
        padded = np.pad(inside[part], 1)
        distance = ndimage.distance_transform_edt(padded, sampling=sampling)
        result[part] = distance[(slice(1, -1),) * distance.ndim] > mm
    return result

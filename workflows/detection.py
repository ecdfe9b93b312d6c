"""What a detector says of one file: maps, clusters, and how they agree with labels."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Planes:
    """Three planes of a volume through a voxel: image, scores and what is selected.

    Each is a picture (H, W), upright, with square pixels; a single image has one.
    """

    image: list
    z: list
    lesions: list


@dataclass(frozen=True)
class Agreement:
    """How what is selected agrees with known lesions, in voxels inside the mask."""

    n_lesion: int
    n_healthy: int
    n_found: int
    n_false: int

    @property
    def dice(self):
        """Overlap; NaN where there is nothing to overlap."""
        total = self.n_lesion + self.n_found + self.n_false
        return 2 * self.n_found / total if total else float("nan")


@dataclass(frozen=True, eq=False)
class Record:
    """What is kept of a file: its row of the table, and what the report shows."""

    path: str
    summary: object
    row: dict
    planes: Planes
    agreement: Agreement | None


@dataclass(frozen=True, eq=False)
class Detection:
    """Maps of a file, with the axes of the file, and what they say."""

    opened: object
    maps: dict
    record: Record


def detect(fit, opened, select, *, label_file=None, restored=True):
    """Make the maps of a file, and summarise them.

    `opened` is a `FileImages`, `select` the selection of the fit. Maps are by the names of
    the output options; the restored images, which take the longest, only if asked for.
    """
    (scored,) = fit.scored([opened.images], mask=_listed(opened.mask))
    lesions = select(scored)
    volume = opened.layout.to_volume
    maps = {
        "out_zmap": volume(scored.z),
        "out_log10p": volume(fit.log10p_of(scored)),
        "out_lesions": volume(lesions.astype(np.float32)),
    }
    if restored:
        images = scored.restore().mean * scored.inside[..., np.newaxis]
        if opened.images.ndim < images.ndim:
            images = images[..., 0]
        maps["out_restored"] = volume(images)
    summary = scored.summary
    affine = np.eye(4) if opened.file.affine is None else opened.file.affine
    peak, clusters = _clusters(maps["out_zmap"], maps["out_lesions"] > 0, affine)
    scores = fit.scores_of([summary])
    row = {
        "file": str(opened.file.path),
        "z": scores.z[0],
        "p": scores.p[0],
        "maximum": scores.maximum[0],
        "p_maximum": scores.p_maximum[0],
        "p_cluster": scores.p_cluster[0],
        **clusters,
    }
    agreement = None
    if label_file is not None:
        agreement = _agreement(label_file, opened, scored, lesions)
        row["dice"] = agreement.dice
    image = opened.images
    if image.ndim > scored.inside.ndim:
        image = image.mean(-1)
    planes = _planes(volume(image), maps, peak, opened.file.affine)
    return Detection(
        opened, maps, Record(str(opened.file.path), summary, row, planes, agreement)
    )


def _listed(mask):
    return None if mask is None else [mask]


def _clusters(z, lesions, affine):
    """Return the voxel of the largest score, and the columns about clusters."""
    from scipy import ndimage

    peak = np.unravel_index(np.argmax(np.abs(z)), z.shape)
    where = np.zeros(3)
    where[: min(3, z.ndim)] = peak[:3]
    world = affine[:3, :3] @ where + affine[:3, 3]
    labels, n = ndimage.label(lesions)
    sizes = np.bincount(labels.ravel())[1:]
    mm3 = abs(np.linalg.det(affine[:3, :3]))
    return peak, {
        "n_clusters": n,
        "volume_mm3": float(sizes.sum() * mm3),
        "largest_mm3": float(sizes.max() * mm3) if n else 0.0,
        **{f"peak_{axis}": value for axis, value in zip("xyz", world)},
    }


def _agreement(label_file, opened, scored, lesions):
    """Compare what is selected with the known lesions of a file."""
    from dipy_vqvae.data import open_images, plane_of

    axis = opened.layout.slice_axis
    if opened.layout.turn is not None:
        axis = plane_of(opened.file.affine, axis)
    known = open_images(
        [label_file],
        spatial_dims=opened.layout.spatial_dims,
        slice_axis=2 if axis is None else axis,
    ).read(0)
    if known.shape != lesions.shape:
        raise ValueError(
            f"{label_file}: its images are {known.shape}, those of {opened.file.path} "
            f"{lesions.shape}"
        )
    known = (known != 0) & scored.inside
    return Agreement(
        n_lesion=int(known.sum()),
        n_healthy=int((scored.inside & ~known).sum()),
        n_found=int((lesions & known).sum()),
        n_false=int((lesions & ~known).sum()),
    )


def _planes(image, maps, peak, affine):
    """Cut the planes through a voxel; of a series those of its volume."""
    from dipy_vqvae.report import View

    arrays = [image, maps["out_zmap"], maps["out_lesions"]]
    if image.ndim > 3:
        arrays = [a[(..., *peak[3:])] for a in arrays]
    if arrays[0].ndim < 3:
        view = View.of(affine, 2)
        cuts = [[(a, view)] for a in arrays]
    else:
        sections = View.of(affine, 3).sections()
        cuts = [[(a.take(peak[axis], axis), v) for axis, v in sections] for a in arrays]
    return Planes(
        *(
            [view.picture(cut.astype(np.float32), nearest=nearest) for cut, view in row]
            for row, nearest in zip(cuts, (False, False, True))
        )
    )

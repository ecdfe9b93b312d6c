"""Check the codes and conditions that a prior is trained on."""

from dataclasses import dataclass

import numpy as np

from dipy_vqvae.arrays import as_array, is_list_of_arrays
from dipy_vqvae.codes import (
    check_grids,
    check_labels,
    pad_grids,
)
from dipy_vqvae.prior.conditions import ranges_of, read_covariates


@dataclass(frozen=True, eq=False)
class CodeData:
    """Checked grids of codes.

    Attributes
    ----------
    stacks : list of int arrays, shape (n, *grid)
        Codes, K outside the masks.
    outside_code : int or None
        Most frequent code outside the masks; None without a mask.
    """

    stacks: list
    outside_code: int | None

    def __len__(self):
        return sum(map(len, self.stacks))

    @property
    def grid_shape(self):
        """The largest grid along each axis."""
        return tuple(map(max, zip(*(stack.shape[1:] for stack in self.stacks))))

    def to_array(self, conditions, *, grid_shape, n_codes):
        """Return all grids with a code inside, and their conditions."""
        padded = [
            pad_grids(stack, grid_shape, n_codes=n_codes) for stack in self.stacks
        ]
        codes = padded[0] if len(padded) == 1 else np.concatenate(padded)
        if self.outside_code is None:
            return codes, conditions
        used = (codes != n_codes).reshape(len(codes), -1).any(axis=1)
        return codes[used], conditions[used]


def training_codes(codes, mask, *, n_codes, spatial_dims):
    """Check the codes and masks of a training."""
    if spatial_dims is None:
        spatial_dims = getattr(codes, "spatial_dims", None)
    if is_list_of_arrays(codes) and spatial_dims is None:
        raise ValueError(
            "a list of codes needs spatial_dims, the number of axes of a grid: "
            f"codes[0] has shape {np.shape(codes[0])}"
        )
    stacks = check_grids(codes, mask, n_codes=n_codes, spatial_dims=spatial_dims)
    outside_code = None
    if mask is not None or len({stack.shape[1:] for stack in stacks}) > 1:
        grids = codes if is_list_of_arrays(codes) else [codes]
        inside = [stack != n_codes for stack in stacks]
        grids = [
            as_array(grid, "codes").reshape(where.shape)
            for grid, where in zip(grids, inside)
        ]
        outside_code = _most_frequent_outside(grids, inside, n_codes)
    return CodeData(stacks, outside_code)


def training_conditions(labels, covariates, n):
    """Return the number of classes and the ranges of covariates of a training."""
    n_classes = 0
    if labels is not None:
        n_classes = int(check_labels(labels, n=n).max()) + 1
    if covariates is None:
        return n_classes, ()
    return n_classes, ranges_of(read_covariates(covariates, n))


def validation_codes(codes, mask, *, n_codes, training):
    """Check the codes and masks to validate on."""
    spatial_dims = len(training.grid_shape)
    stacks = check_grids(
        codes,
        mask,
        n_codes=n_codes,
        spatial_dims=spatial_dims,
        name="validation_codes",
    )
    shapes = {stack.shape[1:] for stack in [*training.stacks, *stacks]}
    has_outside = mask is not None or len(shapes) > 1
    if has_outside and training.outside_code is None:
        raise ValueError(
            "validation_codes have a mask or another grid than codes, which have none: "
            "give codes a mask, all True where all of them count"
        )
    return CodeData(stacks, training.outside_code)


def variant_codes(variants, mask, *, n_codes, training):
    """Check the codes of changed copies of the training images, CodeData of each."""
    if variants is None:
        return []
    if not isinstance(variants, (list, tuple)):
        raise TypeError(
            "variants must be a list of codes, one entry for each kind of changed "
            f"copies, got {type(variants).__name__}"
        )
    checked = []
    for index, codes in enumerate(variants):
        name = f"variants[{index}]"
        stacks = check_grids(
            codes,
            mask,
            n_codes=n_codes,
            spatial_dims=len(training.grid_shape),
            name=name,
        )
        shapes, expected = (
            [stack.shape for stack in s] for s in (stacks, training.stacks)
        )
        if shapes != expected:
            raise ValueError(
                f"{name} must have the shape of codes, {_as_text(expected)}, got "
                f"{_as_text(shapes)}"
            )
        checked.append(CodeData(stacks, training.outside_code))
    return checked


def _as_text(shapes):
    """Write the shape of an array, or those of a list of arrays."""
    return str(shapes[0] if len(shapes) == 1 else shapes)


def _most_frequent_outside(codes, inside, n_codes):
    """Find the most frequent code outside of masks, 0 if there is none.

    What is outside may be anything, but new grids are to be decoded.
    """
    outside = np.concatenate(
        [
            grids[~np.broadcast_to(mask, grids.shape)].astype(np.int64)
            for grids, mask in zip(codes, inside)
        ]
    )
    outside = outside[(outside >= 0) & (outside < n_codes)]
    values, counts = np.unique(outside, return_counts=True)
    return int(values[counts.argmax()]) if len(values) else 0

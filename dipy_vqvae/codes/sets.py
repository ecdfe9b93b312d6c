"""The codes of the images of many files."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class CodeSet:
    """The codes of the images of many files.

    Attributes
    ----------
    paths : list of Path
        The files, without those that have nothing to encode.
    codes : list of array (n, *grid), int32
        The codes of each file.
    masks : list of array (n, *grid), bool, or None
        Positions that count.
    labels : list of array (n,), int64, or None
        Classes.
    covariates : list of dict of array (n,), float64, or None
        Continuous conditions by name.
    variants : list of list of array (n, *grid), int32
        For each kind of changed copies of the images, their codes.
    """

    paths: list
    codes: list
    masks: list | None
    labels: list | None
    covariates: list | None = None
    variants: list = ()

    def __len__(self):
        return sum(len(codes) for codes in self.codes)

    @property
    def grids(self):
        """Shapes of the grids, each once, from small to large."""
        return sorted({codes.shape[1:] for codes in self.codes})

    def most_frequent_grid(self):
        """Return the shape that most of the grids have."""
        counts = Counter()
        for codes in self.codes:
            counts[codes.shape[1:]] += len(codes)
        return counts.most_common(1)[0][0]

    def describe_grids(self):
        """Return the shapes of the grids as text, such as ``16 x 16``."""
        texts = [" x ".join(str(n) for n in grid) for grid in self.grids]
        if len(texts) == 1:
            return texts[0]
        return f"{len(texts)} shapes from {texts[0]} to {texts[-1]}"

    def split(self, held_out):
        """Hold out the codes of some files.

        Parameters
        ----------
        held_out : collection of Path
            Those files.

        Returns
        -------
        others, held_out : CodeSet

        Raises
        ------
        ValueError
            If nothing is left in one of them.
        """
        held = [i for i, path in enumerate(self.paths) if path in held_out]
        others = [i for i, path in enumerate(self.paths) if path not in held_out]
        if not held or not others:
            which = "are not held out" if held else "are held out"
            raise ValueError(
                f"the files that {which} have no image to encode: all images in them "
                "are empty"
            )
        return self._select(others), self._select(held)

    def _select(self, indices):
        def select(items):
            return None if items is None else [items[i] for i in indices]

        return CodeSet(
            select(self.paths),
            select(self.codes),
            select(self.masks),
            select(self.labels),
            select(self.covariates),
            [select(codes) for codes in self.variants],
        )

    def with_masks(self):
        """Return the same codes with masks; by default all positions count."""
        if self.masks is not None:
            return self
        return replace(self, masks=[np.ones(c.shape, bool) for c in self.codes])

    def inside(self):
        """Return the codes that count, shape (number of codes,)."""
        parts = self.codes
        if self.masks is not None:
            parts = [codes[mask] for codes, mask in zip(self.codes, self.masks)]
        return np.concatenate([part.reshape(-1) for part in parts])

    def joined_codes(self):
        """Return the codes as a prior takes them: one array if all grids are alike."""
        return self._join(self.codes)

    def joined_variants(self):
        """Return the codes of each kind of changed copies as a prior takes them."""
        return [self._join(codes) for codes in self.variants]

    def _join(self, arrays):
        return np.concatenate(arrays) if len(self.grids) == 1 else list(arrays)

    def options(self, prefix=""):
        """Return masks and conditions, if any, as arguments of a prior's methods.

        Parameters
        ----------
        prefix : str, optional
            Start of the arguments' names, such as ``"validation_"``.

        Returns
        -------
        options : dict
        """
        options = {}
        if self.masks is not None:
            options[f"{prefix}mask"] = self._join(self.masks)
        if self.labels is not None:
            options[f"{prefix}labels"] = np.concatenate(self.labels)
        if self.covariates is not None:
            options[f"{prefix}covariates"] = {
                name: np.concatenate([columns[name] for columns in self.covariates])
                for name in self.covariates[0]
            }
        return options

    def log_prob(self, prior):
        """Compute log-likelihoods under a prior, shape (number of grids,), in nats."""
        return prior.log_prob(self.joined_codes(), **self.options())

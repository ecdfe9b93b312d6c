"""The codes of the images of many files."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from dipy_vqvae.report import spread


@dataclass(frozen=True, eq=False)
class CodeSet:
    """The codes of the images of files.

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
    """

    paths: list
    codes: list
    masks: list | None
    labels: list | None

    def __len__(self):
        return sum(len(codes) for codes in self.codes)

    @property
    def grids(self):
        """The shapes of the grids, each once, from small to large."""
        return sorted({codes.shape[1:] for codes in self.codes})

    def usual_grid(self):
        """The shape that most of the grids have."""
        counts = Counter()
        for codes in self.codes:
            counts[codes.shape[1:]] += len(codes)
        return counts.most_common(1)[0][0]

    def describe_grids(self):
        """What is said of the grids, as ``16 x 16``."""
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
            what = "are not held out" if held else "are held out"
            raise ValueError(
                f"the files that {what} have no image to encode: all of theirs are empty"
            )
        return self._select(others), self._select(held)

    def knowing_outside(self):
        """The same with masks: where there are none, of all positions."""
        if self.masks is not None:
            return self
        masks = [np.ones(codes.shape, bool) for codes in self.codes]
        return replace(self, masks=masks)

    def some(self, n):
        """About n grids, of as many files as possible.

        Parameters
        ----------
        n : int
            How many are wanted.

        Returns
        -------
        codes : CodeSet
        """
        files = spread(len(self.paths), n)
        per_file = -(-n // len(files))
        chosen = {i: spread(len(self.codes[i]), per_file) for i in files}

        def pick(items):
            return None if items is None else [items[i][chosen[i]] for i in files]

        return CodeSet(
            [self.paths[i] for i in files],
            *(pick(items) for items in (self.codes, self.masks, self.labels)),
        )

    def inside(self):
        """The codes that count, array (number of codes,)."""
        parts = self.codes
        if self.masks is not None:
            parts = [c[m] for c, m in zip(self.codes, self.masks)]
        return np.concatenate([part.reshape(-1) for part in parts])

    def _select(self, indices):
        def pick(items):
            return None if items is None else [items[i] for i in indices]

        return CodeSet(
            *(pick(i) for i in (self.paths, self.codes, self.masks, self.labels))
        )

    def codes_as_given(self):
        """Codes as a prior's ``fit`` takes them: one array where grids are alike."""
        return self._together(self.codes)

    def masks_as_given(self):
        """Masks, in the same form."""
        return None if self.masks is None else self._together(self.masks)

    def labels_as_given(self):
        """Labels as one array."""
        return None if self.labels is None else np.concatenate(self.labels)

    def log_prob(self, prior):
        """Log-likelihoods under a prior, array (number of grids,), in nats."""
        return prior.log_prob(self.codes_as_given(), **self.options())

    def options(self, prefix=""):
        """What a prior is given beside the codes: masks and labels, if any."""
        options = {
            f"{prefix}mask": self.masks_as_given(),
            f"{prefix}labels": self.labels_as_given(),
        }
        return {name: value for name, value in options.items() if value is not None}

    def _together(self, arrays):
        return np.concatenate(arrays) if len(self.grids) == 1 else list(arrays)

"""Where in the image each code lives, and what it looks like."""

import numpy as np

# Places that are told apart along an axis.
_MOST_PLACES = {2: 64, 3: 24}


class CodeAtlas:
    """How often each code occurs at each place of images of any size.

    Places are relative: the same fraction of the way along each axis.

    Parameters
    ----------
    n_codes : int
        Size K of the codebook.
    grid : tuple of int
        A typical grid of codes; long axes are told apart less finely.

    Attributes
    ----------
    counts : array (K, *places), int64
        How often each code was seen at each place.
    """

    def __init__(self, n_codes, grid):
        most = _MOST_PLACES[len(grid)]
        self.counts = np.zeros((n_codes, *(min(n, most) for n in grid)), np.int64)

    def add(self, codes, inside=None):
        """Count codes.

        Parameters
        ----------
        codes : array (n, *grid), int
            Codes.
        inside : array (n, *grid), bool, optional
            Those that count.
        """
        places = self.counts.shape[1:]
        index = [
            np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(int)
            for n, m in zip(codes.shape[1:], places)
        ]
        index = np.ravel_multi_index(np.ix_(*index), places)
        index = np.broadcast_to(index, codes.shape) + codes.astype(np.int64) * np.prod(
            places
        )
        if inside is not None:
            index = index[np.broadcast_to(inside, codes.shape)]
        counts = np.bincount(index.ravel(), minlength=self.counts.size)
        self.counts += counts.reshape(self.counts.shape)

    @property
    def histogram(self):
        """How often each code was seen, array (K,)."""
        return self.counts.reshape(len(self.counts), -1).sum(1)

    def shares(self, axis=None):
        """The share of each code among all that were seen at a place.

        Parameters
        ----------
        axis : int, optional
            Axis of the places to sum over first, for a map of a volume.

        Returns
        -------
        shares : array (K, *places), float64
            0 where nothing was seen.
        """
        counts = self.counts if axis is None else self.counts.sum(axis=1 + axis)
        total = counts.sum(axis=0)
        return np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)


def code_blocks(fit):
    """What each code looks like among its own kind.

    Parameters
    ----------
    fit : VQVAEFit
        The model.

    Returns
    -------
    blocks : array (K, *downsampling), float32
        The middle block of an image all of whose codes are that code, in the
        network's units where each image has a scaling of its own.
    """
    n_around = 1
    n = 2 * n_around + 1
    shape = (n,) * fit.spatial_dims
    blocks = []
    for k in range(fit.n_codes):
        image = fit.decode(np.full((1, *shape), k, np.int32))[0]
        if image.ndim > fit.spatial_dims:
            image = image.mean(axis=-1)
        middle = [slice(n_around * f, (n_around + 1) * f) for f in _factors(fit)]
        blocks.append(image[tuple(middle)])
    return np.stack(blocks)


def _factors(fit):
    return fit.config.downsampling

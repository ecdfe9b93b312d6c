"""Images as they would be if they were like the training images.

Codes that are unlikely are drawn anew, given the others :footcite:p:`NavalMarimont2021`. With a
prior for both directions, one half of the draws is conditioned on the codes before, the
other half on those after.

References
----------
.. footbibliography::
"""

from dataclasses import dataclass

import numpy as np

# A code is drawn anew if codes that are no likelier have this probability in all.
UNLIKELY = 0.05


@dataclass(frozen=True, eq=False)
class Restored:
    """Images as they would be if they were like the training images.

    Attributes
    ----------
    mean, deviation : array, shape (N, *spatial[, C]), float32
        Over the draws, in the units of the images.
    redrawn : array, shape (N, *grid), bool
        Codes that were drawn anew.
    """

    mean: np.ndarray
    deviation: np.ndarray
    redrawn: np.ndarray


def unlikely_codes(surprisals):
    """Tell which codes are unlikely, by the surprisal in one or both directions."""
    p = len(surprisals) * np.minimum.reduce([s.p for s in surprisals])
    return (p < UNLIKELY) & surprisals[0].inside


def redraw(prior, codes, redrawn, *, n, random_seed, **of_codes):
    """Yield codes ``(N, *grid)`` n times, drawn anew where it is said.

    `of_codes` are ``mask``, ``labels`` and ``covariates``, as for `sample`.
    """
    (some,) = np.nonzero(redrawn.reshape(len(codes), -1).any(1))
    results = np.repeat(codes[np.newaxis], n, axis=0)
    n_ways = 2 if prior.config.both_directions else 1
    for way in range(n_ways):
        draws = range(way, n, n_ways)
        if not (len(some) and draws):
            continue
        # All images of the first draw, then all of the second.
        rows = np.tile(some, len(draws))
        drawn = prior.sample(
            len(rows),
            codes=codes[rows],
            keep=~redrawn[rows],
            random_seed=random_seed + way,
            reverse=bool(way),
            **{name: _rows_of(values, rows) for name, values in of_codes.items()},
        )
        results[np.ix_(draws, some)] = drawn.reshape(
            len(draws), len(some), *codes.shape[1:]
        )
    yield from results


def _rows_of(values, rows):
    """Take rows of an array, of a table, or of None."""
    if isinstance(values, dict):
        return {name: column[rows] for name, column in values.items()}
    return None if values is None else values[rows]


def restore(prior, codes, redrawn, *, decode, **options):
    """Decode redrawn codes; mean and standard deviation over the draws."""
    n, mean, squares = 0, 0.0, 0.0
    for drawn in redraw(prior, codes, redrawn, **options):
        images = decode(drawn).astype(np.float64)
        n += 1
        step = images - mean
        mean = mean + step / n
        squares = squares + step * (images - mean)
    deviation = np.sqrt(squares / max(1, n - 1))
    return Restored(mean.astype(np.float32), deviation.astype(np.float32), redrawn)

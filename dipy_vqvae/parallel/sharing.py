"""Work that the processes of a job share."""

from dataclasses import dataclass

from dipy_vqvae.parallel.collectives import gather, rank, world_size


@dataclass(frozen=True)
class Share:
    """One process's share of a sequence."""

    items: object  # consecutive items, an array or a sequence
    first: int  # position of the first of them in the whole sequence


def share_of(items):
    """Return this process's share of a sequence.

    The shares of all processes, one after the other, are the whole sequence. Their
    sizes differ by at most one.

    Parameters
    ----------
    items : array or sequence
        The same in all processes.

    Returns
    -------
    share : Share

    Examples
    --------
    >>> share_of([5, 6, 7])
    Share(items=[5, 6, 7], first=0)
    """
    first = rank() * len(items) // world_size()
    last = (rank() + 1) * len(items) // world_size()
    return Share(items=items[first:last], first=first)


def map_parts(function, n, *, size):
    """Apply a function to parts of `n` items; the processes share the parts.

    Parts and results do not depend on the number of processes.

    Parameters
    ----------
    function : callable
        Called with the slice of the items of a part; its result is pickled.
    n : int
        Number of items.
    size : int
        Items per part; the last part may have fewer.

    Returns
    -------
    results : list
        Results for all parts in order, the same in all processes.

    Examples
    --------
    >>> map_parts(lambda part: list(range(5))[part], 5, size=2)
    [[0, 1], [2, 3], [4]]
    """
    starts = share_of(range(0, n, size)).items
    return gather([function(slice(start, min(n, start + size))) for start in starts])

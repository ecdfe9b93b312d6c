"""Some of many."""


def spread(n, n_wanted):
    """Up to `n_wanted` indices out of n, evenly, none at the very ends.

    Examples
    --------
    >>> spread(9, 3), spread(2, 3)
    ([1, 4, 7], [0, 1])
    """
    n_wanted = min(n, n_wanted)
    return [int((i + 0.5) * n / n_wanted) for i in range(n_wanted)]

"""Numbers as text."""

MISSING = "–"


def number(value, digits):
    """A number with so many digits after the point; a dash for None.

    Examples
    --------
    >>> number(1234.567, 1), number(None, 2)
    ('1,234.6', '–')
    """
    return MISSING if value is None else f"{value:,.{digits}f}"


def percent(share, digits=1):
    """A share as a percentage that says 0 or 100 only where that is exact.

    Examples
    --------
    >>> percent(1), percent(0.99999), percent(0.5), percent(1e-9)
    ('100%', '> 99.9%', '50.0%', '< 0.1%')
    """
    if share is None:
        return MISSING
    if share in (0, 1):
        return f"{100 * share:.0f}%"
    smallest = 10.0**-digits
    if 100 * share < smallest / 2:
        return f"< {smallest:.{digits}f}%"
    if 100 - 100 * share < smallest / 2:
        return f"> {100 - smallest:.{digits}f}%"
    return f"{100 * share:.{digits}f}%"


def threads(n):
    """How many threads.

    Examples
    --------
    >>> threads(1), threads(2)
    ('1 thread', '2 threads')
    """
    return f"{n} thread{'s' * (n > 1)}"


def seconds(value):
    """A time.

    Examples
    --------
    >>> seconds(3.21), seconds(125)
    ('3.2 s', '2 min 5 s')
    """
    if value is None:
        return MISSING
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"

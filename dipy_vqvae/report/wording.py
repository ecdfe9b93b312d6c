"""Format numbers as text."""

from dipy_vqvae.display import count

MISSING = "–"


def number(value, digits):
    """Format a number with a fixed number of decimals; a dash for None.

    Examples
    --------
    >>> number(1234.567, 1), number(None, 2)
    ('1,234.6', '–')
    """
    return MISSING if value is None else f"{value:,.{digits}f}"


def percent(share, digits=1):
    """Format a fraction as a percentage; 0% and 100% are exact.

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
    """Format a number of threads.

    Examples
    --------
    >>> threads(1), threads(2)
    ('1 thread', '2 threads')
    """
    return f"{n} thread{'s' * (n > 1)}"


def seconds(value):
    """Format a time.

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


def describe_training(history):
    """Describe the length of a training, and the epoch that was kept."""
    text = (
        f"Trained for {count(history.epochs[-1], 'epoch')} "
        f"({count(history.n_steps, 'step')}, "
        f"{seconds(history.seconds[-1])})."
    )
    if history.best_epoch is not None and history.best_epoch != history.epochs[-1]:
        text += f" Lowest loss on held-out images after epoch {history.best_epoch:g}."
    return text

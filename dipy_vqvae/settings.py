"""Checks of settings, and those that count."""

from collections.abc import Iterable
from math import inf
import numbers


def settings_of(model):
    """Return the settings of a model that say what comes out of a training.

    Not where it is computed: a training may go on elsewhere.

    Parameters
    ----------
    model : VQVAEModel or PixelCNNModel

    Returns
    -------
    settings : dict
    """
    return {name: value for name, value in vars(model).items() if name != "use_cuda"}


def check_number(name, value, *, at_least, at_most=None, whole=False):
    """Refuse a setting that is not a number in its range.

    Parameters
    ----------
    name : str
        Name of the setting.
    value : object
        What the user gave.
    at_least : float
        Smallest value allowed.
    at_most : float, optional
        Largest value allowed.
    whole : bool, optional
        Whether it must be an integer.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    kind = numbers.Integral if whole else numbers.Real
    is_right = isinstance(value, kind) and not isinstance(value, bool)
    limit = inf if at_most is None else at_most
    # A NaN fails both comparisons.
    if is_right and at_least <= value <= limit and value != inf:
        return
    needed = f"{'a whole number' if whole else 'a number'} of at least {at_least}"
    if at_most is not None:
        needed += f" and at most {at_most}"
    raise ValueError(f"{name}={value!r}: {needed} is needed")


def check_choice(name, value, choices):
    """Refuse a setting that is not one of `choices`.

    Raises
    ------
    ValueError
        If it is not.
    """
    # A list, because a dictionary would stumble over what has no hash.
    if value not in list(choices):
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name}={value!r}: one of {listed} is needed")


def per_axis(name, value, n_axes, *, at_least=1):
    """One whole number for each axis, from one for all or one for each.

    Parameters
    ----------
    name : str
        Name of the setting.
    value : int or sequence of int
        What the user gave.
    n_axes : int
        How many numbers are needed.
    at_least : int, optional
        Smallest value allowed.

    Returns
    -------
    values : tuple of int, length `n_axes`

    Raises
    ------
    ValueError
        For a wrong number of values, or values out of range.

    Examples
    --------
    >>> per_axis("downsampling", 4, 2)
    (4, 4)
    """
    values = tuple(value) if isinstance(value, Iterable) else (value,) * n_axes
    if len(values) != n_axes:
        raise ValueError(f"{name}={value!r}: {n_axes} numbers are needed, or one")
    for v in values:
        check_number(name, v, at_least=at_least, whole=True)
    return tuple(int(v) for v in values)

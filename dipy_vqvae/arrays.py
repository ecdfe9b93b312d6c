"""What users pass, as NumPy arrays."""

import os

import numpy as np

# What NumPy takes for an array: its own, torch's tensors, pandas, h5py, Pillow, ...
_PROTOCOLS = ("__array__", "__array_interface__")


def is_array(value):
    """Return whether a value counts as an array: anything that NumPy makes one of.

    Examples
    --------
    >>> is_array(np.zeros(3)), is_array([0, 0, 0]), is_array(np.float64(0))
    (True, False, False)
    """
    has_protocol = any(hasattr(value, name) for name in _PROTOCOLS)
    return has_protocol and not isinstance(value, (np.generic, type))


def is_list_of_arrays(values):
    """Return whether values are a list with an array for each of several subjects.

    A subject may be a list of arrays itself, such as those of its slices: its first
    entry tells, as lists of numbers may be long.
    """
    return isinstance(values, (list, tuple)) and any(
        is_array(value)
        or (isinstance(value, (list, tuple)) and is_list_of_arrays(value[:1]))
        for value in values
    )


def as_mask(values, name):
    """Return a mask as bool: True where it is not zero.

    Parameters
    ----------
    values : array_like
        Numbers or bool.
    name : str
        What messages call it.

    Returns
    -------
    mask : ndarray of bool

    Raises
    ------
    TypeError, ValueError
        For something else, or NaN.
    """
    mask = as_array(values, name)
    if mask.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be boolean or numbers, got {mask.dtype}")
    n_nan = np.isnan(mask).sum() if mask.dtype.kind == "f" else 0
    if n_nan:
        raise ValueError(
            f"{name} has {n_nan} NaN: make them 0 (outside) or 1 (inside) first"
        )
    return mask.astype(bool, copy=False)


def as_array(values, name, *, in_files=True):
    """Return what a user passed as an array, or say why it is none.

    Parameters
    ----------
    values : array_like
        An array of any library, or (nested) lists of numbers or arrays.
    name : str
        What messages call it.
    in_files : bool, optional
        Whether it may be in files, which are then to be opened first.

    Returns
    -------
    array : ndarray
        No copy, where none is needed.

    Raises
    ------
    TypeError
        For names of files, images of nibabel and other objects.
    ValueError
        For a masked array with masked values, or lists that are no regular array.
    """
    if is_list_of_arrays(values):
        values = [as_array(value, f"{name}[{i}]") for i, value in enumerate(values)]
    else:
        _refuse_masked(values, name)
        if in_files:
            _refuse_files(values, name)
    try:
        array = np.asarray(_without_torch(values))
    except ValueError as error:
        reason = str(error).split(". The")[0]
        raise ValueError(f"{name} cannot be made one array ({reason})") from error
    if array.dtype == object:
        raise TypeError(
            f"{name} must be real numbers, an array or a list of arrays, got "
            + ("an array of objects" if is_array(values) else repr(type(values)))
        )
    return array


def _refuse_masked(values, name):
    """Refuse masked values: as an array they would count like all others."""
    if not isinstance(values, np.ma.MaskedArray):
        return
    n_masked = np.ma.count_masked(values)
    if n_masked:
        raise ValueError(
            f"{name}: {n_masked} values of this masked array are masked; pass its "
            "values (.data), and as mask where they count (~numpy.ma.getmaskarray)"
        )


def _refuse_files(values, name):
    """Refuse names of files and images of nibabel, alone or in a list."""
    entries = values if isinstance(values, (list, tuple)) else [values]
    for entry in entries[:1]:
        if isinstance(entry, (str, bytes, os.PathLike)) or hasattr(entry, "dataobj"):
            shown = entry if isinstance(entry, (str, os.PathLike)) else type(entry)
            raise TypeError(
                f"{name} must be numbers, got {str(shown)!r}: open files of images "
                "with dipy_vqvae.open_images, of codes with dipy_vqvae.codes.load_codes"
            )
    if hasattr(values, "images") and hasattr(values, "sources"):
        raise TypeError(f"{name} must be numbers: pass the .images of what was loaded")


def _without_torch(values):
    """Return a tensor of torch without its graph, on the CPU, in a type of NumPy."""
    if not (hasattr(values, "detach") and hasattr(values, "cpu")):
        return values
    values = values.detach().cpu()
    return values.float() if str(values.dtype) == "torch.bfloat16" else values

"""What a file says of its images besides their codes, in few bytes.

It is the record of codes files as JSON, without what is as in the training. The header's
fields of space and time are a list, in which float32 numbers have as few digits as they
need, and the affine is left out where it is that of the header.
"""

from dataclasses import replace
import json

import numpy as np

from dipy_vqvae.codes import from_record, to_record

# The order of the header's fields, and bytes that are likely to occur, are a part of the
# format.
_FIELDS = (
    *("pixdim", "xyzt_units", "toffset", "dim_info"),
    *("slice_code", "slice_start", "slice_end", "slice_duration"),
    *("qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
DICTIONARY = (
    b'"downsampling":[4,4],"scalings":[{"method":"volume","offset":0.0,"scale":1},'
    b'{"method":"volume","offset":"n":1"slice_axis":2,"n_volumes":null},"affine":'
    b"[[2.0,0.0,0.0,0.0],[0.0,2.0,0.0,0.0],[0.0,0.0,2.0,0.0],[0.0,0.0,0.0,1.0]],"
    b"[[1.0,0.0,0.0,0.0],[0.0,1.0,0.0,0.0],[0.0,0.0,1.0,0.0],[0.0,0.0,0.0,1.0]]}]"
    b'[0,{"image_shape":[64,64],"layout":{"spatial_dims":2,"slice_axis":2,'
    b'"n_volumes":null},"space":[1,[1,1,1,1,0,0,0,0],2,0,0,0,0,0,0,0,0,0,0,0,0,0,2,'
    b"[-1,0,0,0],[0,1,0,0],[0,0,1,0]]}]"
)


def records_to_text(coded, usual, *, is_list):
    """Return what is known of the images of each subject.

    Parameters
    ----------
    coded : list of CodedImages
        The images.
    usual : CodedImages
        What is as in these is left out.
    is_list : bool
        Kept for the reader.

    Returns
    -------
    text : bytes
    """
    usual = to_record(usual)
    records = []
    for entry in coded:
        # Masks are coded by themselves.
        record = to_record(replace(entry, mask=None))
        if entry.space is not None and set(entry.space) == set(_FIELDS):
            if _affine_of(entry.space) == record["affine"]:
                record["affine"] = usual["affine"]
            record["space"] = _to_list(entry.space)
        record = {k: v for k, v in record.items() if v != usual[k]}
        if entry.mask is not None:
            record["n"] = len(entry.codes)
        records.append(record)
    text = json.dumps([int(is_list), *records], separators=(",", ":"))
    return text.encode("ascii")


def records_from_text(text, usual):
    """Return the images of :func:`records_to_text`, without codes.

    Parameters
    ----------
    text : bytes
        From :func:`records_to_text`.
    usual : CodedImages
        As it was for the writer.

    Returns
    -------
    coded : list of CodedImages
        Without masks.
    is_list : bool
    mask_shapes : list of tuple of int, or None
        Of the mask of each subject.

    Raises
    ------
    Exception
        Anything of `RECORD_ERRORS` for nonsense.
    """
    is_list, *records = json.loads(text)
    usual, coded, shapes = to_record(usual), [], []
    for record in records:
        coded.append(_from_record({**usual, **record}))
        n = record.get("n")
        shapes.append(None if n is None else (_number(n), *coded[-1].image_shape))
    return coded, bool(is_list), shapes


def _from_record(record):
    if isinstance(record["space"], list):
        record["space"] = _from_list(record["space"])
        if record["affine"] is None:
            record["affine"] = _affine_of(record["space"])
    return from_record({**record, "mask": None})


def _number(n):
    """Return a number of images, or raise ValueError."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"{n!r} images")
    return n


def _affine_of(space):
    """Return the affine that a header says, or None where it has none as numbers."""
    if not space["sform_code"]:
        return None
    return [*(space[f"srow_{axis}"] for axis in "xyz"), [0.0, 0.0, 0.0, 1.0]]


def _to_list(space):
    """Return the fields of a header without their names, and if they are float32."""
    values = [space[name] for name in _FIELDS]
    numbers = np.concatenate([np.ravel(value) for value in values]).astype(float)
    is_single = np.array_equal(numbers, numbers.astype(np.float32), equal_nan=True)
    shorten = _shortened if is_single else _as_it_is
    return [int(is_single), *(_each(value, shorten) for value in values)]


def _from_list(values):
    is_single, *values = values
    lengthen = _lengthened if is_single else _as_it_is
    return {name: _each(v, lengthen) for name, v in zip(_FIELDS, values, strict=True)}


def _each(value, function):
    return [function(v) for v in value] if isinstance(value, list) else function(value)


def _as_it_is(number):
    return number


def _shortened(number):
    """Return a number with as many digits as a float32 needs."""
    short = float(str(np.float32(number)))
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


def _lengthened(number):
    """Return the float32 that digits stand for; whole numbers stay."""
    return number if isinstance(number, int) else float(np.float32(number))

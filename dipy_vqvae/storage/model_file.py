"""Model files: one safetensors file is all that is needed to use a model."""

from dataclasses import dataclass

from dipy_vqvae.storage.tensor_file import read_tensor_file, write_tensor_file


@dataclass(frozen=True, eq=False)
class ModelFile:
    """Content of a model file.

    Attributes
    ----------
    kind : str
        "vqvae", "pixelcnn" or "digit_classifier".
    config : dict
        What the model is built from. JSON, so tuples have become lists.
    arrays : dict
        Names to numpy arrays.
    description : dict or None
        The training data: number, shape, scaling.
    package_version : str
        Version of this package that wrote the file.
    format_version : int
        Version of the file format.
    """

    kind: str
    config: dict
    arrays: dict
    description: dict | None
    package_version: str
    format_version: int


def save_model(path, *, kind, config, arrays, description=None):
    """Write a model file, atomically and with a checksum.

    Parameters
    ----------
    path : str or Path
        The file to write; it holds the same bytes for the same content.
    kind : str
        Which model it is, such as "vqvae".
    config : dict
        What the model is built from; anything JSON can hold.
    arrays : dict
        Names to numpy arrays (bool, integer or float).
    description : dict, optional
        The training data: number, shape, scaling.

    Raises
    ------
    TypeError
        An array or a setting that cannot be stored.
    OSError
        The file cannot be written; what was there before is untouched.
    """
    write_tensor_file(
        path,
        kind=kind,
        arrays=arrays,
        entries={"config": config, "description": description},
    )


def load_model(path, *, kind):
    """Read a model file. Nothing in it is executed.

    Parameters
    ----------
    path : str or Path
    kind : str
        The kind that is needed.

    Returns
    -------
    content : ModelFile

    Raises
    ------
    OSError
        The file is missing, a folder or unreadable.
    ValueError
        The file is no model file of this package, of another kind, damaged,
        or written by a newer version. One line that names the file.

    Notes
    -----
    The checksum finds damage; it does not say who made the file. Build the
    model from `config` and check that `arrays` fit it before use.
    """
    content = read_tensor_file(path, kind=kind)
    config = content.entries.get("config")
    description = content.entries.get("description")
    readable = isinstance(config, dict) and isinstance(description, (dict, type(None)))
    if not readable:
        raise ValueError(f"{path} is a {kind} model with no readable settings")
    return ModelFile(
        kind=content.kind,
        config=config,
        arrays=content.arrays,
        description=description,
        package_version=content.package_version,
        format_version=content.format_version,
    )

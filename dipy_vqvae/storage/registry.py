"""Models by name: those in the package, and others at an address.

A registry is a JSON file. That of the package is ``weights/registry.json``; a further one
may be put into DIPY's folder, as ``vqvae/models.json``::

    {"name": {"license": "CC0-1.0", "description": "T1-weighted heads, 1 mm",
              "vqvae": {"address": "https://...", "size": 653120, "sha256": "..."},
              "pixelcnn": {"address": "https://...", "size": 1975808, "sha256": "..."}}}

Files are downloaded once, to ``vqvae/name`` in DIPY's folder. Their size and SHA-256 are
checked whenever they are used.
"""

from dataclasses import dataclass
import hashlib
import json
import logging
from pathlib import Path
import re

import dipy_vqvae
from dipy_vqvae.storage.atomic import atomic_write
from dipy_vqvae.storage.download import (
    NotServed,
    Unreachable,
    dipy_home,
    open_url,
    save_response,
)
from dipy_vqvae.storage.model_file import MODELS

logger = logging.getLogger("dipy_vqvae")

# Neither a dot nor a slash: a name is never a path that somebody would type.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class NamedFile:
    """One file of a named model.

    Attributes
    ----------
    sha256 : str
        Hash of its content, hexadecimal.
    size : int
        In bytes.
    address : str or None
        URL; None for a file that comes with the package.
    """

    sha256: str
    size: int
    address: str | None = None

    def check(self):
        """Raise ValueError for what cannot be used."""
        if not (isinstance(self.sha256, str) and _SHA256.fullmatch(self.sha256)):
            raise ValueError(f"sha256 {self.sha256!r} is not 64 hexadecimal digits")
        if type(self.size) is not int or self.size < 1:
            raise ValueError(f"size {self.size!r} is not a number of bytes")


@dataclass(frozen=True)
class NamedModel:
    """A VQ-VAE, a prior, or both, that have a name.

    Attributes
    ----------
    name : str
        Small letters, digits, hyphens and underscores.
    license : str
        Licence of the weights.
    description : str
        What they were trained on.
    files : dict of NamedFile
        By kind, ``"vqvae"`` and ``"pixelcnn"``.
    """

    name: str
    license: str
    description: str
    files: dict


def named_models():
    """List the models that have a name.

    Returns
    -------
    models : dict of NamedModel
        By name.

    Raises
    ------
    ValueError
        If the registry in DIPY's folder cannot be used.
    OSError
        If it cannot be read.
    """
    models = _read(_weights() / "registry.json")
    own = dipy_home() / "vqvae" / "models.json"
    if own.exists():
        further = _read(own)
        twice = sorted(set(models) & set(further))
        if twice:
            raise ValueError(
                f"{own}: {twice[0]!r} is the name of a model of the package; choose "
                "another"
            )
        models.update(further)
    return models


def fetch_model(name, *, folder=None, verbose=False):
    """Find the files of a named model; download them if they are not there.

    Parameters
    ----------
    name : str
        One of `named_models`.
    folder : str or Path, optional
        Folder with the files, such as ``vqvae.safetensors``, for use without a
        network: nothing is downloaded.
    verbose : bool, optional
        Show the progress of downloads.

    Returns
    -------
    paths : dict of Path
        By kind, ``"vqvae"`` and ``"pixelcnn"``; checked.

    Raises
    ------
    ValueError
        If there is no model of this name, or a file has another content than the
        registry says.
    OSError
        If a file is missing or cannot be downloaded.
    """
    models = named_models()
    if name not in models:
        raise ValueError(
            f"there is no model named {name!r}; there are {', '.join(sorted(models))}"
        )
    paths = {}
    for kind, file in models[name].files.items():
        own = _weights() / name if file.address is None else None
        place = own or dipy_home() / "vqvae" / name
        path = Path(place if folder is None else folder) / f"{kind}.safetensors"
        if not path.exists():
            if folder is not None or own is not None:
                raise FileNotFoundError(f"{path}: no such file, for the model {name!r}")
            _download(file, path, verbose=verbose)
        _verify(path, file, f"{path}: is not the {kind} file of the model {name!r}")
        paths[kind] = path
    return paths


def _weights():
    """Return the folder of the weights that come with the package."""
    return Path(dipy_vqvae.__file__).parent / "weights"


def _read(path):
    """Read a registry, a dict of NamedModel."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: _model(name, dict(entry)) for name, entry in entries.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{path}: no registry of models ({error})") from error


def _model(name, entry):
    """Return the model of an entry; raise for what cannot be used."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"the name {name!r} is not of small letters, digits, - and _ alone"
        )
    files = {}
    for kind in MODELS:
        if kind in entry:
            files[kind] = NamedFile(**entry.pop(kind))
            files[kind].check()
    if not files:
        raise ValueError(f"{name!r} has neither of {', '.join(MODELS)}")
    return NamedModel(name=name, files=files, **entry)


def _download(file, path, *, verbose):
    """Download a file to its place in DIPY's folder, checked before it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open_url(file.address) as response, atomic_write(path) as temporary:
            save_response(response, temporary, file.address, verbose=verbose)
            _verify(temporary, file, f"{file.address}: sent another file")
    except (Unreachable, NotServed) as error:
        raise OSError(
            f"{error}. Put the file there by hand, as {path}, to use it without a "
            "network"
        ) from error
    logger.info("Wrote %s", path)


def _verify(path, file, problem):
    """Refuse a file of another size or SHA-256."""
    size = path.stat().st_size
    if size != file.size:
        raise ValueError(f"{problem}: {size:,} bytes, expected {file.size:,}")
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != file.sha256:
        raise ValueError(f"{problem}: SHA-256 {digest}, expected {file.sha256}")

"""Outputs as a derivatives dataset of the Brain Imaging Data Structure (BIDS).

An output keeps the entities of its input, lies in the folders of its subject, and has a
JSON sidecar; a ``dataset_description.json`` describes all of them.
"""

from dataclasses import dataclass
import json
import os
from pathlib import Path, PurePosixPath
import re

from dipy_vqvae._version import __version__
from dipy_vqvae.data import bids_name, file_stem, image_kind
from dipy_vqvae.storage import atomic_write
from dipy_vqvae.workflows.command.errors import UsageError

DESCRIPTION = "dataset_description.json"
_VERSION = "1.10.0"
_PACKAGE = "dipy_vqvae"
_DATATYPES = ("anat", "dwi", "fmap", "func", "perf", "pet", "micr")
_DATATYPE_OF_SUFFIX = {"dwi": "dwi", "bold": "func", "sbref": "func", "asl": "perf"}


@dataclass(frozen=True)
class Derivatives:
    """The dataset that a command writes to.

    Parameters
    ----------
    root : Path
        Its folder.
    command : str
        The command, such as ``"dipy_encode_vqvae"``.
    docs : dict of str
        What each output is, by option.
    """

    root: Path
    command: str
    docs: dict

    def path(self, source, name):
        """Return the path of an output of a source file.

        `name` is the file name of the option: its stem is the entity ``desc``.

        Examples
        --------
        >>> derivatives = Derivatives(Path("out"), "dipy_encode_vqvae", {})
        >>> path = derivatives.path("sub-01_ses-1_T1w.nii.gz", "codes.nii.gz")
        >>> path.as_posix()
        'out/sub-01/ses-1/anat/sub-01_ses-1_desc-codes_T1w.nii.gz'
        """
        source, parsed, name = Path(source), bids_name(source), Path(name).name
        if parsed is None:
            raise UsageError(
                f"--bids: {source} has no BIDS name such as sub-01_ses-1_T1w.nii.gz"
            )
        entities = {k: v for k, v in parsed.entities.items() if k != "desc"}
        entities["desc"] = _label(name)
        words = [f"{key}-{value}" for key, value in entities.items()]
        extension = name[len(file_stem(name)) :]
        folders = [word for word in words[:2] if word.startswith(("sub-", "ses-"))]
        datatype = source.parent.name
        if datatype not in _DATATYPES:
            datatype = _DATATYPE_OF_SUFFIX.get(parsed.suffix, "anat")
        file_name = "_".join([*words, f"{parsed.suffix}{extension}"])
        return self.root.joinpath(*folders, datatype, file_name)

    def describe(self, outputs, sources, model, *, is_masked):
        """Write a sidecar for each output of some source files.

        Parameters
        ----------
        outputs : dict of Path or None
            By option.
        sources : list of Path
            The input, and its mask.
        model : dict
            What identifies the model.
        is_masked : bool
            Whether voxels outside of a mask are left out.
        """
        links = _read_links(self.root)
        for option, path in outputs.items():
            if path is None:
                continue
            record = {
                "Description": self.docs.get(option, ""),
                "Sources": [_uri(source, self.root, links) for source in sources],
                "Model": model,
                "SkullStripped": is_masked,
                "GeneratedBy": self._generated_by(),
            }
            _write_json(sidecar_of(path), record)

    def start(self, inputs, others, names):
        """Write the description of the dataset; name the files that are not of BIDS.

        Parameters
        ----------
        inputs : iterable of Path
            All source files: the description links to their datasets.
        others : iterable of Path
            Outputs of the whole command, such as tables.
        names : iterable of str or None
            File names of the outputs of each input.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / DESCRIPTION
        record = {"Name": "VQ-VAE derivatives", "BIDSVersion": _VERSION}
        if path.exists():
            record = _read_json(path)
            if record.get("DatasetType") != "derivative":
                raise UsageError(
                    f"--bids: {self.root} is a dataset that is no derivative: give "
                    "another --out_dir, such as derivatives/dipy_vqvae"
                )
        record["DatasetType"] = "derivative"
        known = record.setdefault("GeneratedBy", [])
        ours = self._generated_by()
        if ours not in known:
            known.append(ours)
        links = record.setdefault("DatasetLinks", {})
        for source in inputs:
            _add_link(links, dataset_of(source), self.root)
        if not links:
            del record["DatasetLinks"]
        _write_json(path, record)
        self._ignore(others, names)

    def _ignore(self, others, names):
        """List what BIDS does not know: tables, mosaics, and compressed images."""
        path = self.root / ".bidsignore"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for name in names:
            if name is not None and not image_kind(name):
                lines += [f"*_desc-{_label(name)}_*"]
        root = self.root.resolve()
        for other in others:
            if root in Path(other).resolve().parents:
                lines.append(Path(other).resolve().relative_to(root).as_posix())
        if lines:
            with atomic_write(path) as temporary:
                text = "\n".join(dict.fromkeys(lines)) + "\n"
                temporary.write_text(text, encoding="utf-8")

    def _generated_by(self):
        return {"Name": _PACKAGE, "Version": __version__, "Description": self.command}


def _label(name):
    """Return the entity ``desc`` of an output, from its file name."""
    return re.sub(r"[^A-Za-z0-9]", "", file_stem(name)) or "output"


def sidecar_of(path):
    """Return the path of the JSON file beside an image.

    >>> sidecar_of(Path("sub-01_desc-codes_T1w.nii.gz")).name
    'sub-01_desc-codes_T1w.json'
    """
    return path.with_name(f"{file_stem(path)}.json")


def dataset_of(path):
    """Return the root of the BIDS dataset that a file is in, or its folder."""
    path = Path(os.path.abspath(path))
    for folder in path.parents:
        if (folder / DESCRIPTION).exists():
            return folder
    for folder in path.parents:
        if folder.name.startswith("sub-"):
            return folder.parent
    return path.parent


def _add_link(links, dataset, root):
    """Give a dataset a name, unless it is that of the derivatives or has one."""
    target = _relative(dataset, root)
    if target == "." or target in links.values():
        return
    name, n = "raw", 1
    while name in links:
        n += 1
        name = f"raw{n}"
    links[name] = target


def _uri(source, root, links):
    """Return the BIDS URI of a source file."""
    dataset = dataset_of(source)
    inside = Path(os.path.abspath(source)).relative_to(dataset).as_posix()
    target = _relative(dataset, root)
    names = {path: name for name, path in links.items()}
    return f"bids:{names.get(target, '')}:{inside}"


def _relative(dataset, root):
    try:
        relative = os.path.relpath(dataset, os.path.abspath(root))
    except ValueError:  # on another drive
        return Path(dataset).as_uri()
    return PurePosixPath(*Path(relative).parts).as_posix()


def _read_links(root):
    return _read_json(root / DESCRIPTION).get("DatasetLinks", {})


def _read_json(path):
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is not valid JSON ({error})") from error
    if not isinstance(record, dict):
        raise TypeError(f"{path}: is not the description of a dataset")
    return record


def _write_json(path, record):
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

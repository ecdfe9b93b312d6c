"""Names of files: stems, BIDS entities, and what tells the files of a list apart."""

from dataclasses import dataclass
from pathlib import Path
import re

_EXTENSIONS = (".gz", ".nii", ".npy", ".mgz", ".mgh", ".hdr", ".img", ".vqz")
_ENTITY = re.compile(r"([A-Za-z]+)-([A-Za-z0-9+]+)")
_SUFFIX = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_SUBJECT_FOLDER = re.compile(r"sub-[A-Za-z0-9+]+")


def file_stem(path):
    """Return the name of a file without its folder and image extension.

    >>> file_stem("data/sub-01.T1w.nii.gz")
    'sub-01.T1w'
    >>> file_stem("t10k-images-idx3-ubyte.gz")
    't10k-images-idx3-ubyte'
    """
    name = Path(path).name
    for extension in _EXTENSIONS:
        if name.lower().endswith(extension) and len(name) > len(extension):
            name = name[: -len(extension)]
    return name


@dataclass(frozen=True)
class BidsName:
    """Entities and suffix of a file name of the Brain Imaging Data Structure.

    Parameters
    ----------
    entities : dict of str
        Such as ``{"sub": "01", "ses": "1"}``, in the order of the name.
    suffix : str
        Such as ``"T1w"``.
    """

    entities: dict
    suffix: str

    @property
    def kind(self):
        """What the file shows: ``"T1w"``, or ``"desc-preproc_T1w"`` of a derivative."""
        desc = self.entities.get("desc")
        return self.suffix if desc is None else f"desc-{desc}_{self.suffix}"


def bids_name(path):
    """Return the entities and the suffix of a file's name, or None without a subject.

    Examples
    --------
    >>> bids_name("sub-01/anat/sub-01_ses-1_T1w.nii.gz")
    BidsName(entities={'sub': '01', 'ses': '1'}, suffix='T1w')
    >>> bids_name("IXI012-HH-1211_T1.nii.gz") is None
    True
    """
    *pairs, suffix = file_stem(path).split("_")
    matches = [_ENTITY.fullmatch(pair) for pair in pairs]
    if None in matches or not _SUFFIX.fullmatch(suffix):
        return None
    entities = dict(match.groups() for match in matches)
    if next(iter(entities), None) != "sub" or len(entities) != len(pairs):
        return None
    return BidsName(entities, suffix)


def subject_of(path):
    """Return what the files of one subject share: ``sub-01``, or the file's own path.

    The subject stands in the name of the file, or in that of a folder.

    Examples
    --------
    >>> subject_of("bids/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz")
    'sub-01'
    >>> subject_of("data/IXI012_T1.nii.gz")
    'data/IXI012_T1.nii.gz'
    """
    path = Path(path)
    words = file_stem(path).split("_")
    for word in (words[0], *reversed(path.parts[:-1])):
        if _SUBJECT_FOLDER.fullmatch(word):
            return word
    return path.as_posix()


def distinct_words(paths, *, folders=True):
    """Return for each path the words that not all of the paths have.

    Parameters
    ----------
    paths : sequence of str or Path
        The files.
    folders : bool, optional
        Whether the names of their folders count as well.

    Returns
    -------
    words : list of tuple of str
        One for each file, in the order of the path.

    Examples
    --------
    >>> distinct_words(["img/s1_T1.nii", "img/s2_T1.nii"])
    [('s1',), ('s2',)]
    """
    names = [
        "/".join([*(Path(path).parts[:-1] if folders else ()), file_stem(path)])
        for path in paths
    ]
    words = [re.findall(r"[^\W_]+", name) for name in names]
    common = set.intersection(*map(set, words)) if words else set()
    return [tuple(word for word in row if word not in common) for row in words]


def short_names(paths):
    """Return the parts of files' names in which they differ, for titles.

    Examples
    --------
    >>> short_names(["sub-01_ses-1_T1w.nii", "sub-02_ses-1_T1w.nii"])
    ['sub-01', 'sub-02']
    >>> short_names(["s1/t1.nii", "s2/t1.nii"])
    ['s1', 's2']
    >>> short_names(["sub-01_T1w.nii.gz"])
    ['sub-01_T1w']
    """
    stems = [file_stem(path) for path in paths]
    if len(stems) < 2:
        return stems
    names = [
        [*Path(path).parts[:-1], *stem.split("_")] for path, stem in zip(paths, stems)
    ]
    for words in ([stem.split("_") for stem in stems], names):
        common = set.intersection(*map(set, words))
        short = [" ".join(w for w in row if w not in common) for row in words]
        if all(short) and len(set(short)) == len(short):
            return short
    return stems

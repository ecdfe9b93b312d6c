"""The scripts of the gallery, listed as DIPY lists its own.

``examples/_valid_examples.toml`` names sections and files in order. sphinx-gallery wants
a folder for each section, with a header: copies are made in ``_build/examples``.
"""

import logging
from pathlib import Path
import shutil
import tomllib
import warnings

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def listing():
    """Read the sections of the gallery, in their order.

    Returns
    -------
    sections : dict of dict
        ``readme`` and ``files`` by the name of the section.
    """
    text = (EXAMPLES / "_valid_examples.toml").read_text(encoding="utf-8")
    sections = sorted(tomllib.loads(text).items(), key=lambda item: item[1]["position"])
    return {name: section for name, section in sections if section["enable"]}


def listed(name):
    """Sort key of a script: its place in the list."""
    files = [file for section in listing().values() for file in section["files"]]
    return files.index(Path(name).name)


def sections(folder):
    """Sort key of a section: its place in the list."""
    return list(listing()).index(Path(folder).name)


def copy(target):
    """Copy the scripts into folders of their sections.

    Parameters
    ----------
    target : Path
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    # Title and introduction stand in the page that lists the sections.
    (target / "GALLERY_HEADER.rst").write_text(
        "Gallery\n=======\n\n"
        "Each example runs from start to end without a network, on images that come\n"
        "with DIPY, scikit-learn or this package, in less than a minute.\n"
    )
    for name, section in listing().items():
        (target / name).mkdir()
        header = target / name / "GALLERY_HEADER.rst"
        header.write_text(section["readme"].lstrip(), encoding="utf-8")
        for file in section["files"]:
            # With its time, by which sphinx-gallery knows a script that it has run.
            shutil.copy2(EXAMPLES / file, target / name / file)


def quiet(_gallery_conf, _name):
    """Leave the machine's own messages out of the pages."""
    warnings.simplefilter("ignore")
    logging.getLogger("dipy_vqvae").setLevel(logging.ERROR)


def setup(app):
    """Register with Sphinx."""
    target = Path(app.srcdir) / "_build" / "examples"
    app.connect("config-inited", lambda *_: copy(target), priority=1)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

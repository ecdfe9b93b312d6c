"""The pages of the reference, from the faces of the folders.

A face is the ``__all__`` of a folder: the names that users and other folders may call.
"""

from importlib import import_module
import inspect
from pathlib import Path
import pkgutil

# In the order in which a reader meets them.
FOR_USERS = (
    *("data", "vqvae", "codes", "prior", "sampling", "compression", "anomaly"),
    *("models", "metrics", "plotting", "report"),
)


def folders():
    """List the folders of the package that have a face, those for users first.

    Returns
    -------
    names : list of str
    """
    package = import_module("dipy_vqvae")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    faces = [
        name
        for name in names
        if hasattr(import_module(f"dipy_vqvae.{name}"), "__all__")
    ]
    others = [name for name in faces if name not in FOR_USERS]
    return [*FOR_USERS, *others]


def face(module_name):
    """Sort the public names of a module.

    Parameters
    ----------
    module_name : str

    Returns
    -------
    documented, constants : list of str
        Classes and functions, which have docstrings, and all else.
    """
    module = import_module(module_name)
    documented, constants = [], []
    for name in sorted(module.__all__):
        value = getattr(module, name)
        is_code = inspect.isclass(value) or inspect.isroutine(value)
        (documented if is_code else constants).append(name)
    return documented, constants


def page(module_name, *, title=None):
    """Write the page of a module's face.

    Parameters
    ----------
    module_name : str
    title : str, optional
        Heading; by default the name of the module.

    Returns
    -------
    text : str
    """
    documented, constants = face(module_name)
    title = title or module_name
    lines = [title, "=" * len(title), "", f".. py:module:: {module_name}", ""]
    # For autosummary, which does not know the directive above.
    lines += [f".. currentmodule:: {module_name}", ""]
    lines += [inspect.getdoc(import_module(module_name)), ""]
    home = import_module("dipy_vqvae")
    # What the package itself shows has its page there.
    repeated = [n for n in documented if n in home.__all__ and title != "dipy_vqvae"]
    own = [name for name in documented if name not in repeated]
    if repeated:
        links = ", ".join(f":py:obj:`dipy_vqvae.{name}`" for name in repeated)
        lines += [f"In the package's own namespace: {links}.", ""]
    if own:
        lines += [".. autosummary::", "   :toctree: generated", ""]
        lines += [f"   {name}" for name in own]
    for name in constants:
        lines += [
            "",
            f".. py:data:: {name}",
            f"   :type: {_type_of(module_name, name)}",
        ]
    return "\n".join([*lines, ""])


def _type_of(module_name, name):
    return type(getattr(import_module(module_name), name)).__name__


def index():
    """Write the contents of the reference.

    Returns
    -------
    text : str
    """
    names = folders()
    users = [name for name in names if name in FOR_USERS]
    lines = [
        *("Reference", "=========", ""),
        "``import dipy_vqvae as dv`` gives the names of the first page, which are enough",
        "for most uses. Each folder of the package shows a few more.",
        *("", ".. toctree::", "   :maxdepth: 1", "", "   dipy_vqvae"),
        *(f"   {name}" for name in users),
        *("", ".. toctree::", "   :maxdepth: 1", "   :caption: For developers", ""),
        *(f"   {name}" for name in names if name not in users),
    ]
    return "\n".join([*lines, ""])


def write(folder):
    """Write all pages, and change no file that is as it should be.

    Parameters
    ----------
    folder : Path
    """
    folder.mkdir(exist_ok=True)
    pages = {"index": index(), "dipy_vqvae": page("dipy_vqvae")}
    for name in folders():
        pages[name] = page(f"dipy_vqvae.{name}")
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", lambda app, _: write(Path(app.srcdir) / "reference"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

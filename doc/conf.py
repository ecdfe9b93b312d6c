"""Settings of the documentation site: ``make -C doc html``.

The pages, the README and the docstrings are the sources. The modules in ``_ext`` write
what follows from the code: the reference, and the scripts of the gallery in order.
"""

import os
from pathlib import Path
import sys

DOC = Path(__file__).resolve().parent
sys.path[:0] = [str(DOC / "_ext"), str(DOC.parent)]

# In the order of use: the extensions of this folder write pages that Sphinx's read.
extensions = [
    "reference",
    "gallery_order",
    "pages",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "docstrings",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinxcontrib.bibtex",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
]

project = "dipy_vqvae"
author = "The dipy_vqvae developers"
project_copyright = f"2026, {author}"
from dipy_vqvae import __version__ as release

version = release

exclude_patterns = ["_build", "_ext", "_templates", "examples", "gallery/**/*.ipynb"]
# A page of a class has all of its members: numpydoc's summary would link to pages of
# their own.
autosummary_generate = True
# Without what classes inherit from Python and torch.
autodoc_default_options = {
    "members": True,
    "inherited-members": "Module,Exception,list,tuple,dict",
}
templates_path = ["_templates"]
numpydoc_show_class_members = False

bibtex_bibfiles = ["references.bib"]
bibtex_footbibliography_header = ""

# The links in the pages are those of Markdown on a file server.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

sphinx_gallery_conf = {
    "examples_dirs": "_build/examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "gallery_order.listed",
    "subsection_order": "gallery_order.sections",
    "abort_on_example_error": True,
    # The same figure in each build, and no times of the machine in the pages.
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "remove_config_comments": True,
    # The data that the examples use comes with the package, DIPY and scikit-learn.
    "download_all_examples": False,
    "reset_modules": ("matplotlib", "gallery_order.quiet"),
}

html_theme = "grg_sphinx_theme"
html_title = f"dipy_vqvae {release}"
html_copy_source = False
html_sidebars = {"index": []}
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_copyright": project_copyright,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}

# Links into other documentations need the network: SPHINX_INTERSPHINX=1 turns them on.
if os.environ.get("SPHINX_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "dipy": ("https://docs.dipy.org/stable", None),
    }

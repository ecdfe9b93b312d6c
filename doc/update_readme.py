"""Copy the results of a validation run into the README, and its figures into doc.

    python doc/update_readme.py validation

The tables of the run's results.md replace the text between the two markers of the
README. Figures of the run are copied if the README or a page of doc shows them.
"""

import argparse
from pathlib import Path
import re
import sys

from dipy_vqvae.experiment import OUTPUT_FILES

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
# A figure in a page: ![text](path)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "validation", type=Path, help="folder of results of dipy_validate_vqvae"
    )
    try:
        changed = update(parser.parse_args().validation)
    except (OSError, ValueError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    print("\n".join(f"updated {path}" for path in changed) or "nothing to update")


def update(validation, *, root=ROOT):
    """Update the README and the figures in doc with the results of a run.

    Parameters
    ----------
    validation : Path
        Folder of the run.
    root : Path, optional
        Folder of the README and of doc.

    Returns
    -------
    changed : list of Path
        Files that have changed.

    Raises
    ------
    OSError
        If the run is not complete, or lacks a figure that a page shows.
    ValueError
        If the README lacks the markers.
    """
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    tables = (validation / "results.md").read_text(encoding="utf-8")
    contents = {readme: with_results(text, tables).encode()}
    for page in (readme, *sorted((root / "doc").glob("*.md"))):
        for name in PICTURE.findall(page.read_text(encoding="utf-8")):
            # Other figures show other data.
            if "://" not in name and Path(name).name in OUTPUT_FILES:
                picture = page.parent / name
                contents[picture] = (validation / picture.name).read_bytes()
    # All is read before anything is written: an incomplete run changes nothing.
    changed = []
    for path, content in contents.items():
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            changed.append(path)
    return changed


def with_results(text, tables):
    """Replace the text between the markers of a page."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the README needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables.strip()}\n\n{END}{after}"


if __name__ == "__main__":
    main()

"""Put the results of a validation run into the README, and its pictures into doc.

    python doc/update_readme.py validation

The tables of the run's results.md take the place of what lies between the two
markers of the README. Of the run's pictures, those are copied that the README or a
page of doc shows.
"""

import argparse
from pathlib import Path
import re
import sys

from dipy_vqvae.experiment import OUTPUT_FILES

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
# A picture of a page: ![text](path)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "validation", type=Path, help="folder that dipy_validate_vqvae wrote"
    )
    try:
        changed = update(parser.parse_args().validation)
    except (OSError, ValueError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    print("\n".join(f"updated {path}" for path in changed) or "nothing to update")


def update(validation, *, root=ROOT):
    """Take the results of a run over.

    Parameters
    ----------
    validation : Path
        Folder of the run.
    root : Path, optional
        Folder of the README, which has the pages in doc.

    Returns
    -------
    changed : list of Path
        Files that are not what they were.

    Raises
    ------
    OSError
        If the run is not complete, or lacks a picture that a page shows.
    ValueError
        If the README lacks the markers.
    """
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    tables = (validation / "results.md").read_text(encoding="utf-8")
    contents = {readme: with_results(text, tables).encode()}
    for page in (readme, *sorted((root / "doc").glob("*.md"))):
        for name in PICTURE.findall(page.read_text(encoding="utf-8")):
            # Other pictures are of other data.
            if "://" not in name and Path(name).name in OUTPUT_FILES:
                picture = page.parent / name
                contents[picture] = (validation / picture.name).read_bytes()
    # Everything is read by now: a run that lacks something changes nothing.
    changed = []
    for path, content in contents.items():
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            changed.append(path)
    return changed


def with_results(text, tables):
    """A page with other text between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the README needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables.strip()}\n\n{END}{after}"


if __name__ == "__main__":
    main()

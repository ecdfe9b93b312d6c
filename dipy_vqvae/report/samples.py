"""Samples of a prior in the report of its VQ-VAE, once there is a prior."""

import logging
from pathlib import Path

from dipy_vqvae.storage import atomic_write

logger = logging.getLogger("dipy_vqvae")

_NONE_YET = (
    '<p class="note">No prior yet: dipy_fit_pixelcnn puts the samples of one here.</p>'
)
_END = "<!-- end of samples -->"


def _start(codebook):
    return f"<!-- samples from the codebook {codebook} -->"


def samples_section(codebook, content=_NONE_YET):
    """The part of a report that holds samples, between two marks."""
    return f"{_start(codebook)}\n<h2>Samples</h2>\n{content}\n{_END}"


def put_samples(folder, codebook, content):
    """Put samples into the reports of a VQ-VAE that lie in a folder.

    Each is replaced whole or not at all; one that cannot be written is left with a
    warning, as the prior itself is not in danger.
    """
    start = _start(codebook)
    done = []
    for path in sorted(Path(folder).glob("*.html")):
        try:
            # As bytes: line ends stay what they are.
            text = path.read_bytes().decode("utf-8", errors="surrogateescape")
            before, found, rest = text.partition(start)
            _, ended, after = rest.partition(_END)
            if not found or not ended:
                continue
            text = before + samples_section(codebook, content) + after
            with atomic_write(path) as temporary:
                temporary.write_bytes(text.encode("utf-8", errors="surrogateescape"))
        except OSError as error:
            logger.warning("%s has been left without samples: %s", path, error)
            continue
        done.append(path)
    return done

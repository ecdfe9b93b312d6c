"""Fetch and load the MNIST digits."""

from dataclasses import dataclass
import hashlib
import logging
import os
from pathlib import Path

import numpy as np

from dipy_vqvae.data.formats.content import DamagedFileError, open_content
from dipy_vqvae.data.formats.idx import read_idx
from dipy_vqvae.display import one_line
from dipy_vqvae.storage import (
    NotServed,
    Unreachable,
    atomic_write,
    dipy_home,
    open_url,
    save_response,
)

logger = logging.getLogger("dipy_vqvae")

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# Field of `MNIST` -> (name of the original file, md5 of its decompressed content).
# gzip wrappings differ from mirror to mirror, the content does not.
FILES = {
    "train_images": ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
    "train_labels": ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
    "test_images": ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
    "test_labels": ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
}

_CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class MNIST:
    """Hold the MNIST images and labels for training and testing.

    Parameters
    ----------
    train_images, test_images : ndarray of shape (N, 28, 28), uint8
        Images, 0 (background) to 255.
    train_labels, test_labels : ndarray of shape (N,), uint8
        Digits 0 to 9.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def mnist_folder():
    """Return the folder of the MNIST files: ``mnist`` under ``DIPY_HOME``."""
    return dipy_home() / "mnist"


def fetch_mnist(*, mirrors=None, verbose=False):
    """Download the four MNIST files to ``DIPY_HOME/mnist`` unless they exist.

    A file exists if the md5 of its decompressed content is that of the original. It
    may be gzip or plain, and named ``train-images-idx3-ubyte`` or
    ``train-images.idx3-ubyte``, with or without ``.gz``.

    Parameters
    ----------
    mirrors : sequence of str, optional
        URLs of folders with the files, tried in turn; by default two public ones. A
        mirror that cannot be reached is not tried again.
    verbose : bool, optional
        Show the progress of downloads.

    Returns
    -------
    folder : Path
        The folder of the files.

    Raises
    ------
    OSError
        If a file cannot be downloaded, or if a file of that name has other content;
        it is kept. A damaged file is downloaded again.
    """
    folder = mnist_folder()
    # Check all four first: report conflicts before any download.
    missing = [key for key in FILES if _find(folder, key) is None]
    if not missing:
        logger.info("MNIST is in %s", folder)
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder}: cannot be made ({one_line(error)})") from error
    mirrors = list(MIRRORS if mirrors is None else mirrors)
    for key in missing:
        _fetch_file(folder, key, mirrors, verbose)
    return folder


def load_mnist(folder=None):
    """Load the MNIST digits from their four files.

    Parameters
    ----------
    folder : str or Path, optional
        Folder with the files; by default that of `fetch_mnist`. Nothing is
        downloaded.

    Returns
    -------
    mnist : MNIST
        60,000 images to train on and 10,000 to test, with their labels.

    Raises
    ------
    OSError
        If files are missing or have other content than the original MNIST.
    """
    folder = mnist_folder() if folder is None else Path(folder).expanduser()
    arrays = {}
    for key, (name, _) in FILES.items():
        path = _find(folder, key)
        if path is None:
            raise FileNotFoundError(
                f"{folder}: has no whole {name}.gz (or {name}); fetch_mnist() or "
                "dipy_fetch_mnist gets the MNIST files"
            )
        arrays[key] = read_idx(path, n_axes=3 if key.endswith("images") else 1)
    return MNIST(**arrays)


def _candidates(folder, key):
    """List the paths that a file may have, the one of a download first."""
    name, _ = FILES[key]
    dotted = name.replace("-idx", ".idx")
    return [folder / n for n in (f"{name}.gz", name, f"{dotted}.gz", dotted)]


def _content_md5(path):
    """Return the md5 of the decompressed content of a file."""
    digest = hashlib.md5(usedforsecurity=False)
    with open_content(path) as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _find(folder, key):
    """Return the file that holds the original content, or None.

    A file with other content is an error, if there is no right one beside it.
    """
    name, md5 = FILES[key]
    other = None
    for path in _candidates(folder, key):
        if not os.path.lexists(path):
            continue
        try:
            digest = _content_md5(path)
        except DamagedFileError as error:
            logger.warning("%s", error)
            continue
        if digest == md5:
            return path
        other = other or (path, digest)
    if other is not None:
        path, digest = other
        raise OSError(
            f"{path}: is not the MNIST file {name} (md5 of the content {digest}, "
            f"expected {md5}); it is left as it is: move it away or replace it"
        )
    return None


def _fetch_file(folder, key, mirrors, verbose):
    """Download one file; remove unreachable mirrors from the list."""
    name, md5 = FILES[key]
    target = folder / f"{name}.gz"
    reasons = []
    for mirror in list(mirrors):
        url = f"{mirror.rstrip('/')}/{name}.gz"
        try:
            with open_url(url) as response, atomic_write(target) as temporary:
                save_response(response, temporary, url, verbose=verbose)
                _verify(temporary, md5, url)
        except (Unreachable, NotServed) as error:
            if isinstance(error, Unreachable):
                mirrors.remove(mirror)
            reasons.append(str(error))
            continue
        logger.info("fetched %s", target)
        return
    names = ", ".join(f"{stem}.gz" for stem, _ in FILES.values())
    raise OSError(
        f"MNIST cannot be fetched: {'; '.join(reasons) or 'no mirror is reachable'}. "
        f"Put the files {names} into {folder} (gzip or not), or set DIPY_HOME to "
        "the folder that has them in its folder mnist"
    )


def _verify(path, md5, url):
    """Refuse a download with other content than the original."""
    try:
        digest = _content_md5(path)
    except DamagedFileError as error:
        raise NotServed(f"{url}: what it sent is damaged or cut short") from error
    if digest != md5:
        raise NotServed(f"{url}: sent other content (md5 {digest}, expected {md5})")

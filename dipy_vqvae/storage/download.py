"""Get files from the network, with errors that say whether to ask elsewhere."""

import http.client
import os
from pathlib import Path
import threading
import urllib.error
import urllib.request

from dipy_vqvae.display import one_line

# Seconds for a server to answer, and for which a transfer may stall.
CONNECT_TIMEOUT = 5
READ_TIMEOUT = 30
_CHUNK = 1 << 18


class Unreachable(OSError):
    """A server does not answer, or breaks off."""


class NotServed(OSError):
    """A server answers, but not with the file."""


def dipy_home():
    """Return DIPY's folder for data: ``DIPY_HOME``, by default ``~/.dipy``.

    Returns
    -------
    folder : Path
    """
    return Path(os.environ.get("DIPY_HOME") or Path("~").expanduser() / ".dipy")


def open_url(url):
    """Open an address, within the time that a server is given.

    Name resolution has no timeout of its own, and a host with eight addresses
    is tried eight times: hence a thread, left behind when the time is over.

    Parameters
    ----------
    url : str
        The address.

    Returns
    -------
    response : file-like
        To be closed.

    Raises
    ------
    Unreachable, NotServed
        An OSError that names the address.
    """
    outcome = []

    def work():
        try:
            outcome.append(urllib.request.urlopen(url, timeout=READ_TIMEOUT))
        except (OSError, ValueError, http.client.HTTPException) as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT)
    if not outcome:
        raise Unreachable(f"{url}: no answer within {CONNECT_TIMEOUT} s")
    (result,) = outcome
    if isinstance(result, urllib.error.HTTPError):
        with result:
            raise NotServed(f"{url}: {result.code} {result.reason}") from result
    if isinstance(result, urllib.error.URLError):
        raise Unreachable(f"{url}: {result.reason}") from result
    if isinstance(result, Exception):
        raise Unreachable(f"{url}: {one_line(result)}") from result
    return result


def save_response(response, path, url, *, verbose=False):
    """Write a response to a file.

    Parameters
    ----------
    response : file-like
        Of `open_url`.
    path : str or Path
        File to write.
    url : str
        Address, for messages.
    verbose : bool, optional
        Show a progress bar.

    Raises
    ------
    Unreachable
        If the server breaks off.
    OSError
        If the file cannot be written.
    """
    from tqdm.auto import tqdm

    size = response.headers.get("Content-Length")
    total = int(size) if size and size.isdigit() else None
    progress = tqdm(
        total=total, unit="B", unit_scale=True, desc=Path(url).name, disable=not verbose
    )
    with open(path, "wb") as file, progress:
        while block := _receive(response, url):
            file.write(block)
            progress.update(len(block))


def _receive(response, url):
    # Separate from writing: a full disk is not an error of the server.
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{url}: broke off ({one_line(error)})") from error

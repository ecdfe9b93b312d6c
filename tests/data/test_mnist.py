"""Fetching MNIST from mirrors on this machine, and the digits beside it."""

import gzip
import logging
import os
import socket
import threading
import time

import numpy as np
import numpy.testing as npt
import pytest
from small_mnist import gzipped, idx_bytes, small_arrays, small_files

import dipy_vqvae.data.mnist as mnist_module
from dipy_vqvae.data.mnist import fetch_mnist, load_mnist, mnist_folder
from dipy_vqvae.experiment.data import load_digits
from dipy_vqvae.storage import download


@pytest.fixture
def originals(monkeypatch):
    """Tiny files that take the place of the original four: name -> content."""
    contents, files = small_files(mnist_module.FILES)
    monkeypatch.setattr(mnist_module, "FILES", files)
    return contents


@pytest.fixture
def folder(monkeypatch, tmp_path):
    # Set after import: the variable is read at the call.
    monkeypatch.setenv("DIPY_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "mnist"


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    # The machine that runs the tests may be busy; the mirrors are not far.
    monkeypatch.setattr(download, "CONNECT_TIMEOUT", 60)


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def put(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def test_download_and_load(originals, folder, serve, capsys):
    url, requests = serve(gzipped(originals))
    assert fetch_mnist(mirrors=[url]) == folder
    assert sorted(os.listdir(folder)) == sorted(gzipped(originals)), "nothing else"
    mnist = load_mnist()
    for key, array in small_arrays().items():
        npt.assert_array_equal(getattr(mnist, key), array)
        assert getattr(mnist, key).dtype == np.uint8
    assert len(requests) == 4
    fetch_mnist(mirrors=[url])
    assert len(requests) == 4, "what is there is not fetched again"
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_progress(originals, folder, serve, capsys):
    url, _ = serve(gzipped(originals))
    fetch_mnist(mirrors=[url], verbose=True)
    assert "train-images-idx3-ubyte.gz: 100%" in capsys.readouterr().err


def test_default_mirrors(monkeypatch, originals, folder, serve):
    assert len(mnist_module.MIRRORS) >= 2
    url, _ = serve(gzipped(originals))
    monkeypatch.setattr(mnist_module, "MIRRORS", (url,))
    assert fetch_mnist() == folder


@pytest.mark.parametrize(
    "name",
    ["{}.gz", "{}", "{dotted}", "{dotted}.gz"],
)
@pytest.mark.parametrize("level", [1, 9, None])
def test_files_put_by_hand(originals, folder, name, level):
    contents = {}
    for stem, content in originals.items():
        packed = (
            content if level is None else gzip.compress(content, level, mtime=level)
        )
        contents[name.format(stem, dotted=stem.replace("-idx", ".idx"))] = packed
    put(folder, contents)
    assert fetch_mnist(mirrors=[]) == folder
    npt.assert_array_equal(load_mnist().test_images, small_arrays()["test_images"])
    npt.assert_array_equal(load_mnist(folder).test_labels, load_mnist().test_labels)


def test_only_what_is_missing(originals, folder, serve):
    url, requests = serve(gzipped(originals))
    put(folder, {"train-images.idx3-ubyte": originals["train-images-idx3-ubyte"]})
    fetch_mnist(mirrors=[url])
    assert len(requests) == 3
    assert not any("train-images" in path for path in requests)
    assert len(load_mnist().train_images) == 30


def test_next_mirror(originals, folder, serve):
    """One refuses connections, one lacks files, one sends rubbish, one works."""
    good = gzipped(originals)
    names = list(good)
    dead = f"http://127.0.0.1:{closed_port()}/"
    poor, poor_requests = serve({names[0]: good[names[0]], names[1]: 503})
    rubbish, _ = serve(
        {
            names[1]: b"<html>Please log in</html>",
            names[2]: good[names[2]][:-30],
            names[3]: gzip.compress(b"other content"),
        }
    )
    full, full_requests = serve(good)
    fetch_mnist(mirrors=[dead, poor, rubbish, full])
    assert len(poor_requests) == 4, "a mirror that answers is asked for every file"
    assert len(full_requests) == 3
    assert sorted(os.listdir(folder)) == sorted(names)
    load_mnist()


def test_unreachable_mirror_is_not_tried_again(monkeypatch, originals, folder, serve):
    tried = []
    open_url = mnist_module.open_url

    def count(url):
        tried.append(url)
        return open_url(url)

    monkeypatch.setattr(mnist_module, "open_url", count)
    dead = f"http://127.0.0.1:{closed_port()}/"
    full, _ = serve(gzipped(originals))
    fetch_mnist(mirrors=[dead, full])
    assert [url.startswith(dead) for url in tried] == [True] + [False] * 4


def test_mirror_that_breaks_off(originals, folder, serve):
    """A transfer cut by the connection leaves nothing behind."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer():
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\npart")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(OSError, match="damaged or cut short|broke off|sent other"):
            fetch_mnist(mirrors=[f"http://127.0.0.1:{listener.getsockname()[1]}"])
    assert os.listdir(folder) == []
    full, _ = serve(gzipped(originals))
    fetch_mnist(mirrors=[full])


def test_without_a_network(monkeypatch, originals, folder):
    """Names that do not resolve, and one that takes forever to."""

    end = threading.Event()

    def slow(host, *args, **kwargs):
        if host.startswith("slow"):
            end.wait(60)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(download, "CONNECT_TIMEOUT", 2)
    start = time.monotonic()
    with pytest.raises(OSError) as caught:
        fetch_mnist(mirrors=["http://none.invalid/", "http://slow.invalid/x/"])
    assert time.monotonic() - start < 15
    end.set()
    text = str(caught.value)
    assert "Name or service not known" in text
    assert "no answer within 2 s" in text
    assert str(folder) in text
    for name in originals:
        assert f"{name}.gz" in text
    assert "\n" not in text


def test_other_content_is_reported_and_kept(originals, folder, serve):
    url, requests = serve(gzipped(originals))
    fashion = gzip.compress(idx_bytes(np.ones((10, 28, 28), np.uint8)))
    put(folder, {"t10k-images-idx3-ubyte.gz": fashion})
    with pytest.raises(OSError, match="t10k-images-idx3-ubyte.gz: is not the MNIST"):
        fetch_mnist(mirrors=[url])
    assert requests == [], "nothing is fetched before the conflict is solved"
    assert (folder / "t10k-images-idx3-ubyte.gz").read_bytes() == fashion
    # The right file beside it will do.
    put(folder, originals)
    fetch_mnist(mirrors=[url])
    npt.assert_array_equal(load_mnist().test_images, small_arrays()["test_images"])


def test_damaged_file_is_replaced(originals, folder, serve, caplog):
    good = gzipped(originals)
    name = "train-images-idx3-ubyte.gz"
    url, requests = serve(good)
    put(folder, {**good, name: good[name][:-100]})
    with pytest.raises(OSError, match="cannot be fetched"):
        fetch_mnist(mirrors=[])
    assert (folder / name).read_bytes() == good[name][:-100], "until there is better"
    with caplog.at_level(logging.WARNING, logger="dipy_vqvae"):
        fetch_mnist(mirrors=[url])
    assert f"{name}: the gzip data are damaged" in caplog.text
    assert len(requests) == 1
    assert (folder / name).read_bytes() == good[name]


def test_folder_that_cannot_be_made(monkeypatch, originals, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DIPY_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match="file/mnist: cannot be made"):
        fetch_mnist(mirrors=[])


def test_where(monkeypatch, tmp_path):
    monkeypatch.delenv("DIPY_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mnist_folder() == tmp_path / ".dipy" / "mnist"


def test_load_without_files(originals, folder):
    with pytest.raises(OSError, match=r"train-images-idx3-ubyte.gz .*dipy_fetch_mnist"):
        load_mnist()


@pytest.fixture(scope="module")
def digits():
    return load_digits()


class TestDigits:
    def test_split(self, digits):
        assert digits.train_images.shape == (1437, 28, 28)
        assert digits.test_images.shape == (360, 28, 28)
        assert digits.train_images.dtype == digits.train_labels.dtype == np.uint8
        share = np.bincount(digits.test_labels) / 360
        npt.assert_allclose(share, np.bincount(digits.train_labels) / 1437, atol=0.003)

    def test_split_is_the_same_each_time_and_without_overlap(self, digits):
        again = load_digits()
        npt.assert_array_equal(again.test_images, digits.test_images)
        npt.assert_array_equal(again.train_labels, digits.train_labels)
        train = {image.tobytes() for image in digits.train_images}
        assert not any(image.tobytes() in train for image in digits.test_images)

    def test_strokes_are_bright_on_empty_paper(self, digits):
        images = digits.train_images
        assert images.max(axis=(1, 2)).min() >= 220
        assert images[:, :4].max() == images[:, :, -4:].max() == 0
        assert 0.1 < (images > 127).mean() < 0.25

    def test_they_are_the_small_digits(self, digits):
        """Averages over the area of each small pixel give it back."""
        from sklearn.datasets import load_digits as load_small

        small = load_small()
        first = np.argmax(np.arange(1797) == np.flatnonzero(small.target == 0)[1])
        index = np.flatnonzero(digits.train_labels == 0)[0]
        large = digits.train_images[index][4:-4, 4:-4].astype(float)
        # 20 pixels in 8 areas: areas of 2.5 pixels, by repetition.
        means = np.kron(large, np.ones((2, 2))).reshape(8, 5, 8, 5).mean(axis=(1, 3))
        expected = small.images[first] * 255 / 16
        assert np.corrcoef(means.ravel(), expected.ravel())[0, 1] > 0.98

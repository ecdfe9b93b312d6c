"""Models by name: what is in the package, downloads, folders, wrong checksums."""

import hashlib
import json

import pytest

from dipy_vqvae.storage import download, fetch_model, named_models, write_tensor_file
from dipy_vqvae.workflows.command import model_file


@pytest.fixture
def content(tmp_path):
    """Bytes of the file of a prior."""
    path = tmp_path / "prior"
    write_tensor_file(path, kind="pixelcnn", arrays={}, entries={"config": {}})
    return path.read_bytes()


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DIPY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download, "CONNECT_TIMEOUT", 60)
    folder = tmp_path / "home" / "vqvae"
    folder.mkdir(parents=True)
    return folder


def entry(content, address, **changes):
    file = {
        "address": address,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **changes,
    }
    return {"license": "CC0-1.0", "description": "noise", "pixelcnn": file}


def write_registry(home, **entries):
    (home / "models.json").write_text(json.dumps(entries))


def test_what_comes_with_the_package(home):
    model = named_models()["mnist"]
    assert model.license == "CC-BY-SA-3.0"
    paths = fetch_model("mnist")
    assert set(paths) == {"vqvae", "pixelcnn"}
    sizes = [path.stat().st_size for path in paths.values()]
    assert sum(sizes) <= 2_500_000
    assert sizes == [file.size for file in model.files.values()]
    assert not any(home.iterdir())


def test_a_model_is_downloaded_once(home, content, serve):
    url, requests = serve({"prior": content})
    write_registry(home, noise=entry(content, f"{url}prior"))
    for _ in range(2):
        (path,) = fetch_model("noise").values()
        assert path == home / "noise" / "pixelcnn.safetensors"
        assert path.read_bytes() == content
    assert len(requests) == 1
    assert model_file("noise", kind="pixelcnn") == path


def test_a_wrong_file_is_refused(home, content, serve):
    url, _ = serve({"prior": content, "other": content[:-1] + b"!"})
    write_registry(
        home,
        long=entry(content, f"{url}prior", size=len(content) + 1),
        other=entry(content, f"{url}other"),
    )
    with pytest.raises(ValueError, match=rf"{url}prior.*{len(content):,} bytes"):
        fetch_model("long")
    with pytest.raises(ValueError, match=rf"{url}other.*SHA-256.*expected"):
        fetch_model("other")
    assert not list(home.glob("*/*")), "nothing wrong is kept"


def test_what_was_damaged_later_is_refused(home, content, serve):
    url, _ = serve({"prior": content})
    write_registry(home, noise=entry(content, f"{url}prior"))
    (path,) = fetch_model("noise").values()
    path.write_bytes(content[:-1] + b"!")
    with pytest.raises(ValueError, match=f"{path}.*SHA-256"):
        fetch_model("noise")


def test_without_a_network(home, content, tmp_path):
    write_registry(home, noise=entry(content, "http://127.0.0.1:9/prior"))
    folder = tmp_path / "stick"
    folder.mkdir()
    with pytest.raises(OSError, match=r"127.0.0.1:9/prior.*Put the file there"):
        fetch_model("noise")
    with pytest.raises(FileNotFoundError, match="stick"):
        fetch_model("noise", folder=folder)
    (folder / "pixelcnn.safetensors").write_bytes(content)
    assert fetch_model("noise", folder=folder)["pixelcnn"].parent == folder
    assert not (home / "noise").exists() or not any((home / "noise").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "abc"}, "64 hexadecimal"),
        ({"size": "12"}, "number of bytes"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_registry_that_cannot_be_used(home, content, change, message):
    write_registry(home, noise=entry(content, "http://127.0.0.1:9/", **change))
    with pytest.raises(ValueError, match=f"models.json.*{message}"):
        named_models()


def test_names(home, content):
    write_registry(home, mnist=entry(content, "http://127.0.0.1:9/"))
    with pytest.raises(ValueError, match="'mnist' is the name of a model"):
        named_models()
    write_registry(home, **{"a/b": entry(content, "http://127.0.0.1:9/")})
    with pytest.raises(ValueError, match="'a/b'"):
        named_models()
    (home / "models.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"models\.json"):
        named_models()
    (home / "models.json").unlink()
    with pytest.raises(ValueError, match="no model named 'mnits'; there are mnist"):
        fetch_model("mnits")

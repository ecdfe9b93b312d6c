import json
import os
import pickle
import random
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

from dipy_vqvae.storage import model_file
from dipy_vqvae.storage.model_file import load_model, save_model

ARRAYS = {
    "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    "codes": np.array([3, -1, 2], dtype=np.int64),
    "started": np.array(True),
    "half": np.array([1.5, -2.0], dtype=np.float16),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "nothing_yet": np.zeros(5, dtype=np.uint8),
}
CONFIG = {"n_codes": 16, "shape": (28, 28), "rate": 0.1, "mask": None, "µ": "größe"}
DESCRIPTION = {"n_images": 3, "scaling": [0.0, 255.0]}


@pytest.fixture
def model_path(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(
        path, kind="vqvae", config=CONFIG, arrays=ARRAYS, description=DESCRIPTION
    )
    return path


def save_with_version(path, version, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(model_file, "FORMAT_VERSION", version)
        save_model(path, kind="vqvae", config={}, arrays={})


def one_line(error):
    text = str(error)
    return text and "\n" not in text


def test_round_trip(model_path):
    model = load_model(model_path, kind="vqvae")
    assert set(model.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert model.arrays[name].dtype == array.dtype
        assert model.arrays[name].shape == array.shape
        np.testing.assert_array_equal(model.arrays[name], array)
        assert model.arrays[name].flags.writeable
    assert model.config == {**CONFIG, "shape": [28, 28]}
    assert model.description == DESCRIPTION
    assert model.package_version


def test_other_programs_can_read_it(model_path):
    arrays = safetensors.numpy.load_file(model_path)
    np.testing.assert_array_equal(arrays["weight"], ARRAYS["weight"])


def test_unusual_memory_layouts(tmp_path):
    arrays = {
        "transposed": ARRAYS["weight"].transpose(2, 0, 1),
        "every_other": np.arange(10)[::2],
        "big_endian": np.arange(4, dtype=">f4"),
    }
    path = tmp_path / "m.safetensors"
    save_model(path, kind="vqvae", config={}, arrays=arrays)
    model = load_model(path, kind="vqvae")
    for name, array in arrays.items():
        np.testing.assert_array_equal(model.arrays[name], array)


def test_numpy_numbers_in_settings(tmp_path):
    path = tmp_path / "m.safetensors"
    config = {"n": np.int64(3), "x": np.float32(0.5), "shape": np.array([2, 3])}
    save_model(path, kind="vqvae", config=config, arrays={})
    model = load_model(path, kind="vqvae")
    assert model.config == {"n": 3, "x": 0.5, "shape": [2, 3]}
    assert model.description is None


def test_same_content_same_bytes(tmp_path, model_path):
    again = tmp_path / "again.safetensors"
    save_model(
        again,
        kind="vqvae",
        config=dict(reversed(CONFIG.items())),
        arrays=dict(reversed(ARRAYS.items())),
        description=DESCRIPTION,
    )
    assert again.read_bytes() == model_path.read_bytes()


@pytest.mark.parametrize(
    "arrays, config",
    [({"x": np.array(["text"])}, {}), ({"x": np.array([1j])}, {}), ({}, {"x": {1}})],
)
def test_what_cannot_be_stored(tmp_path, arrays, config):
    with pytest.raises(TypeError, match="cannot be stored"):
        save_model(tmp_path / "m", kind="vqvae", config=config, arrays=arrays)
    assert not list(tmp_path.iterdir())


def test_another_kind(model_path):
    with pytest.raises(
        ValueError, match=r"model\.safetensors is a vqvae model, a pixelcnn model is"
    ):
        load_model(model_path, kind="pixelcnn")


def test_newer_format(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_with_version(path, 2, monkeypatch)
    with pytest.raises(ValueError, match="m.safetensors has format version 2, .*newer"):
        load_model(path, kind="vqvae")


@pytest.mark.parametrize("version", [-1, 0, "٣", 10**400])
def test_impossible_format_version(tmp_path, monkeypatch, version):
    path = tmp_path / "m.safetensors"
    save_with_version(path, version, monkeypatch)
    with pytest.raises(ValueError, match="damaged: format version"):
        load_model(path, kind="vqvae")


def test_another_program(tmp_path):
    path = tmp_path / "m.safetensors"
    for metadata in (None, {"format": "pt"}):
        safetensors.numpy.save_file({"x": np.ones(3)}, path, metadata=metadata)
        with pytest.raises(ValueError, match="not written by dipy_vqvae"):
            load_model(path, kind="vqvae")


@pytest.mark.parametrize("content", [b"", b"short", b"no model at all " * 40])
def test_not_safetensors(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.safetensors is not a safetensors file"):
        load_model(path, kind="vqvae")


def test_missing_folder_and_pipe(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        load_model(tmp_path / "none", kind="vqvae")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        load_model(tmp_path, kind="vqvae")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="Not a regular file"):
            load_model(tmp_path / "pipe", kind="vqvae")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all"
)
def test_unreadable(model_path):
    model_path.chmod(0)
    with pytest.raises(PermissionError, match="model.safetensors"):
        load_model(model_path, kind="vqvae")


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickles_execute_nothing(tmp_path):
    mark = tmp_path / "executed"
    path = tmp_path / "m.safetensors"
    pickled = pickle.dumps(Payload(mark))
    pickle.loads(pickled).close()
    assert mark.exists(), "the payload works"
    mark.unlink()
    contents = [pickled, len(pickled).to_bytes(8, "little") + pickled]
    saved = tmp_path / "object.npy"
    np.save(saved, np.array([Payload(mark)], dtype=object), allow_pickle=True)
    contents.append(saved.read_bytes())
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a safetensors file"):
            load_model(path, kind="vqvae")
        assert not mark.exists()


def test_settings_that_only_a_forger_writes(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    for entries in ({}, {"config": []}, {"config": {}, "description": 3}):
        model_file.write_tensor_file(path, kind="vqvae", arrays={}, entries=entries)
        with pytest.raises(ValueError, match="no readable settings"):
            load_model(path, kind="vqvae")
    monkeypatch.setattr(model_file, "to_json", lambda value, *, name: value)
    for text in ("[" * 100_000, "not json", "1" * 5000):
        model_file.write_tensor_file(
            path, kind="vqvae", arrays={}, entries={"config": text}
        )
        with pytest.raises(ValueError, match="settings that cannot be read"):
            load_model(path, kind="vqvae")


def mutations(content, generator, n):
    """Yield damaged copies; the header, where bits mean most, gets half of them."""
    header_end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(n):
        damaged = bytearray(content)
        end = generator.choice([header_end, len(content)])
        position = generator.randrange(end)
        kind = generator.choice(["bit", "bit", "bits", "cut", "insert", "zero", "swap"])
        if kind == "bit":
            damaged[position] ^= 1 << generator.randrange(8)
        elif kind == "bits":
            for _ in range(generator.randrange(2, 9)):
                damaged[generator.randrange(end)] ^= 1 << generator.randrange(8)
        elif kind == "cut":
            del damaged[position:]
        elif kind == "insert":
            extra = generator.randbytes(generator.choice([1, 8, 200]))
            damaged[position:position] = extra
        elif kind == "zero":
            stop = min(len(damaged), position + generator.choice([4, 64]))
            damaged[position:stop] = bytes(stop - position)
        else:
            digits = [i for i in range(8, header_end) if chr(content[i]).isdigit()]
            damaged[generator.choice(digits)] = ord(generator.choice("0123456789"))
        if bytes(damaged) != content:
            yield bytes(damaged)


def assert_damage_is_noticed(path, content, generator, n):
    start, peak = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_tried = 0
    for damaged in mutations(content, generator, n):
        path.write_bytes(damaged)
        with pytest.raises((ValueError, OSError)) as caught:
            load_model(path, kind="vqvae")
        assert one_line(caught.value) and path.name in str(caught.value)
        n_tried += 1
    assert n_tried > 0.9 * n
    assert time.monotonic() - start < 30
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < 200 * 1024, "declared sizes must not be believed"


def test_damage_is_noticed(model_path):
    content = model_path.read_bytes()
    assert_damage_is_noticed(model_path, content, random.Random(0), 1500)


def test_every_single_bit_of_the_header(model_path):
    content = model_path.read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    for position in range(header_end):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position * 5 % 8)
        model_path.write_bytes(damaged)
        with pytest.raises((ValueError, OSError)):
            load_model(model_path, kind="vqvae")


def test_huge_declared_sizes(tmp_path):
    path = tmp_path / "m.safetensors"
    for shape, end in [([2**62], 8), ([2**31, 2**31, 2**31], 8), ([1], 2**63)]:
        header = json.dumps(
            {"x": {"dtype": "F64", "shape": shape, "data_offsets": [0, end]}}
        ).encode()
        for length in (len(header), 2**40, 2**64 - 1):
            path.write_bytes(length.to_bytes(8, "little") + header + bytes(8))
            with pytest.raises(ValueError, match="not a safetensors file"):
                load_model(path, kind="vqvae")


def test_does_not_import_torch():
    script = (
        "import sys, dipy_vqvae.storage.model_file; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

"""Damaged and forged files; `benchmarks/fuzz_files.py` tries many more."""

import importlib.util
import json
import logging
from pathlib import Path
import pickle
import random

import nibabel as nib
import numpy as np
import pytest

from dipy_vqvae import PixelCNNFit, VQVAEFit, VQVAEModel, load_images
from dipy_vqvae.storage.model_file import load_model, write_tensor_file
from dipy_vqvae.workflows.inputs import read_labels
from dipy_vqvae.workflows.reading import reading_of

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz_files.py"
_spec = importlib.util.spec_from_file_location("fuzz_files", _SCRIPT)
fuzz = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzz)

NAMES = ["VQ-VAE", "prior", "VQ-VAE, forged", "prior, forged", "checkpoint", "`.nii`"]
NAMES += ["codes, `.nii`", "`.nii.gz`", "`.nii.gz`, damaged and then compressed"]
NAMES += ["`.vqz`", "`.vqz`, forged"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def cases(folder):
    return {case.name: case for case in fuzz.make_cases(folder)}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
def test_damage(cases, tmp_path, name):
    case, n = cases[name], 100
    path = tmp_path / ("damaged" + "".join(case.path.suffixes))
    contents = case.damaged(random.Random(1), n)
    outcome = fuzz.try_all(contents, case.reader.read, path)
    assert outcome.failures == []
    assert sum(outcome.counts.values()) == n
    # What was not damaged is read: the reader does not refuse everything.
    path.write_bytes(case.path.read_bytes())
    assert case.reader.read(path) in ("the same", "another model")


def test_a_wrong_result_would_be_found(cases, tmp_path):
    def accept(path):
        raise fuzz.Wrong("another image was accepted")

    def loop(path):
        while True:
            pass

    outcome = fuzz.try_all([b"", b""], accept, tmp_path / "x")
    assert len(outcome.failures) == 2
    fuzz.LONGEST, longest = 0.05, fuzz.LONGEST
    try:
        outcome = fuzz.try_all([b""], loop, tmp_path / "x")
    finally:
        fuzz.LONGEST = longest
    assert outcome.failures == ["TooLong: "]
    image = nib.load(cases["`.nii`"].path)
    other = np.asanyarray(image.dataobj) + 1
    nib.save(nib.Nifti1Image(other, image.affine), tmp_path / "other.nii.gz")
    with pytest.raises(fuzz.Wrong, match="another image"):
        cases["`.nii.gz`"].reader.read(tmp_path / "other.nii.gz")


# Settings that ask for more than the file holds.


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_codes", 2**40, "quantiser.codebook has shape"),
        ("n_codes", 2**62, "no network can be built"),
        ("n_blocks", [2**31, 0], "its settings need 2147483648 layers"),
        ("n_blocks", 1, "holds no VQ-VAE"),
        ("downsampling", [2**40, 4], "an integer from 1 to 4096, or 2 of them, got"),
        ("n_channels", 10**30, "no network can be built"),
        ("code_dim", 7, "has shape"),
        ("bounds", [0, 1e300], "scaled bounds must be .*, got"),
    ],
)
def test_settings_are_believed_as_far_as_the_arrays_go(
    cases, tmp_path, name, value, message
):
    content = load_model(cases["VQ-VAE"].path, kind="vqvae")
    path = tmp_path / "forged"
    write_tensor_file(
        path,
        kind="vqvae",
        arrays=content.arrays,
        entries={
            "config": {**content.config, name: value},
            "description": content.description,
        },
    )
    with fuzz.time_limit(), pytest.raises(ValueError, match=f"forged.*{message}"):
        VQVAEFit.load(path)


def test_a_forged_prior(cases, tmp_path):
    content = load_model(cases["prior"].path, kind="pixelcnn")
    path = tmp_path / "forged"
    for name, value in (
        ("n_layers", 2**31),
        ("n_attention", 2**31),
        ("n_attention", 10**30),
        ("n_codes", 2**40),
        ("kind", "rnn"),
        ("dropout", 1e300),
    ):
        write_tensor_file(
            path,
            kind="pixelcnn",
            arrays=content.arrays,
            entries={
                "config": {**content.config, name: value},
                "description": content.description,
            },
        )
        with fuzz.time_limit(), pytest.raises(ValueError, match="forged"):
            PixelCNNFit.load(path)


@pytest.mark.parametrize(
    "entry", [3, {"x": 1}, {"slice_axis": 7}, {"voxel_size": [1, 2]}, {"kind": []}]
)
def test_forged_descriptions(cases, entry):
    fit = VQVAEFit.load(cases["VQ-VAE"].path)
    assert reading_of(fit).slice_axis == 2
    fit.description["reading"] = entry
    if entry != {"kind": []}:
        with pytest.raises(ValueError, match="invalid description"):
            reading_of(fit)


# Odd headers.


def test_what_nibabel_repairs_is_said(tmp_path, caplog):
    path = tmp_path / "odd.nii"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), path)
    load_images([path])
    assert not caplog.messages
    content = bytearray(path.read_bytes())
    content[252:254] = (77).to_bytes(2, "little")  # qform_code
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="dipy_vqvae"):
        load_images([path])
    assert any(
        "odd.nii: its header" in m and "qform_code" in m for m in caplog.messages
    )


# Pickles.


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def pickles(tmp_path):
    """Files with a malicious pickle in all dresses, and the file they would make."""
    import torch

    mark, folder = tmp_path / "executed", tmp_path / "pickles"
    folder.mkdir()
    payload = Payload(mark)
    (folder / "plain").write_bytes(pickle.dumps(payload))
    torch.save({"state": payload}, folder / "torch")
    with open(folder / "objects", "wb") as stream:
        np.save(stream, np.array([payload], dtype=object), allow_pickle=True)
    np.savez(folder / "archive.npz", x=np.array([payload], dtype=object))
    for path in sorted(folder.iterdir()):
        if path.name == "torch":
            torch.load(path, weights_only=False)["state"].close()
            assert mark.exists(), "the payload works"
            mark.unlink()
    return sorted(folder.iterdir()), mark


def test_no_reader_runs_a_pickle(tmp_path, pickles):
    files, mark = pickles
    images = np.random.default_rng(0).random((8, 8, 8), np.float32)
    model = VQVAEModel(4, 2, n_channels=8)
    readers = {
        "x.safetensors": (VQVAEFit.load, PixelCNNFit.load),
        "x.checkpoint": (lambda path: model.fit(images, n_epochs=1, checkpoint=path),),
        "x.npy": (lambda path: load_images([path]), read_labels),
        "x.nii.gz": (lambda path: load_images([path]),),
        "x-idx3-ubyte": (lambda path: load_images([path]),),
        "labels.txt": (read_labels,),
    }
    for file in files:
        for name, functions in readers.items():
            path = tmp_path / name
            path.write_bytes(file.read_bytes())
            for function in functions:
                with pytest.raises(ValueError, match=name):
                    function(path)
                assert not mark.exists()


def test_metadata_is_json_and_nothing_else(cases):
    from safetensors import safe_open

    with safe_open(cases["VQ-VAE"].path, framework="numpy") as stream:
        metadata = stream.metadata()
    config, description = (json.loads(metadata[k]) for k in ("config", "description"))
    assert config["n_codes"] == 6 and metadata["format_version"] == "1"
    assert metadata["package_version"] and len(metadata["sha256"]) == 64
    training = description["training_images"]
    assert training["number"] == 48 and training["shape"] == [12, 10, 1]
    assert config["scaling"]["scale"] > 0

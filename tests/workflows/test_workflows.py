"""The workflows, run in this process on small data."""

import csv
import json
import logging
import os
from pathlib import Path
import signal
import struct

from dipy.workflows.base import IntrospectiveArgumentParser
import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.data import Reading
from dipy_vqvae.workflows import coding
from dipy_vqvae.workflows.coding import encode_files
from dipy_vqvae.workflows.command import outputs
from dipy_vqvae.workflows.command.errors import (
    SomeFilesFailed,
    UsageError,
    explain,
    one_line,
)
from dipy_vqvae.workflows.compress import CompressVQVAEFlow
from dipy_vqvae.workflows.decode import DecodeVQVAEFlow
from dipy_vqvae.workflows.decompress import DecompressVQVAEFlow
from dipy_vqvae.workflows.detect_anomaly import DetectAnomalyFlow
from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.fetch import FetchMnistFlow
from dipy_vqvae.workflows.fit_anomaly import FitAnomalyFlow
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.inputs import read_labels
from dipy_vqvae.workflows.reading import reading_of
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow
from dipy_vqvae.workflows.sample import SampleVQVAEFlow
from dipy_vqvae.workflows.validate import ValidateVQVAEFlow

FLOWS = [
    FetchMnistFlow,
    FitVQVAEFlow,
    FitPixelCNNFlow,
    EncodeVQVAEFlow,
    DecodeVQVAEFlow,
    CompressVQVAEFlow,
    DecompressVQVAEFlow,
    ReconstructVQVAEFlow,
    SampleVQVAEFlow,
    ValidateVQVAEFlow,
    FitAnomalyFlow,
    DetectAnomalyFlow,
]
TINY = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1, "n_epochs": 1.0}
TINY = {**TINY, "out_report": None}
TINY_PRIOR = {"n_channels": 8, "n_layers": 1, "n_epochs": 1.0, "out_report": None}
OBLIQUE = np.array(
    [
        [1.8, 0.3, 0.0, -90.0],
        [-0.3, 1.8, 0.2, 12.5],
        [0.0, -0.2, 5.0, 7.0],
        [0, 0, 0, 1],
    ]
)


def blobs(n, shape, seed=0):
    """Blurred dots at random places, 0 to about 200, as float64 (n, *shape)."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    images = []
    for _ in range(n):
        centre = rng.uniform(0.2, 0.8, len(shape)) * shape
        distance = sum((g - c) ** 2 for g, c in zip(grid, centre))
        images.append(200 * np.exp(-distance / rng.uniform(4, 16)))
    return np.stack(images)


def write_idx(path, values):
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(
        f">{values.ndim}I", *values.shape
    )
    Path(path).write_bytes(header + values.astype(np.uint8).tobytes())


def write_nifti(path, data, affine=OBLIQUE):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)


def read_table(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Folder with a VQ-VAE, priors with and without labels, and their images."""
    folder = tmp_path_factory.mktemp("fitted")
    np.save(folder / "train.npy", blobs(48, (12, 10)).astype(np.uint8))
    np.save(folder / "labels.npy", np.arange(48) % 3)
    FitVQVAEFlow().run([str(folder / "train.npy")], **TINY, out_dir=str(folder))
    vqvae = str(folder / "vqvae.safetensors")
    images = [str(folder / "train.npy")]
    FitPixelCNNFlow().run(vqvae, images, **TINY_PRIOR, out_dir=str(folder))
    FitPixelCNNFlow().run(
        vqvae,
        images,
        **TINY_PRIOR,
        label_file=str(folder / "labels.npy"),
        out_dir=str(folder),
        out_pixelcnn="classes.safetensors",
        out_history=None,
    )
    return folder


# The command line that DIPY derives from a run method.


@pytest.mark.parametrize("flow_class", FLOWS)
def test_docstring_gives_every_parameter_its_type(flow_class):
    import inspect

    parser = IntrospectiveArgumentParser(prog="command")
    parser.add_workflow(flow_class())
    actions = {action.dest: action for action in parser._actions}
    documented = [name for name, _, _ in parser.doc]
    parameters = inspect.signature(flow_class().run).parameters
    assert documented == list(parameters)
    for name, parameter in parameters.items():
        action = actions[name]
        has_default = parameter.default is not inspect.Parameter.empty
        assert bool(action.option_strings) == has_default, name
        assert len(action.help) > 10 and ":" not in action.help.split("(default")[0][-1]
        assert "``" not in action.help and "`" not in action.help
        if not has_default:
            continue
        if isinstance(parameter.default, bool):
            # argparse knows only flags that are off by default.
            assert parameter.default is False and action.const is True
            continue
        metavar = action.metavar
        if parameter.default is not None:
            types = {"float", "int"} if metavar == "float" else {metavar}
            if name == "slice_axis":  # a number, or the name of a plane
                types = {"int"}
            assert type(parameter.default).__name__ in types, name
        if name != "out_dir":
            assert f"(default: {parameter.default})" in action.help, name
    positional = [a for a in parser._actions if not a.option_strings]
    assert sum(a.nargs == "+" for a in positional) <= 1
    assert "footcite" not in parser.format_help()


@pytest.mark.parametrize("flow_class", FLOWS)
def test_short_names_are_those_of_the_commands(flow_class):
    from importlib.metadata import entry_points

    commands = {entry.name for entry in entry_points(group="console_scripts")}
    assert f"dipy_{flow_class.get_short_name()}" in commands


def test_defaults_are_those_of_the_library():
    import inspect

    from dipy_vqvae import PixelCNNModel, VQVAEModel

    for flow, model in ((FitVQVAEFlow, VQVAEModel), (FitPixelCNNFlow, PixelCNNModel)):
        ours = inspect.signature(flow.run).parameters
        shared = set()
        for function in (model, model.fit):
            for name, parameter in inspect.signature(function).parameters.items():
                if name in ours and name != "self":
                    assert ours[name].default == parameter.default, name
                    shared.add(name)
        assert {"n_epochs", "batch_size", "learning_rate", "n_channels"} <= shared


# Names of outputs.


def test_one_input_keeps_the_plain_names():
    (row,) = outputs.place_outputs({"out_a": "a.nii"}, out_dir="o", inputs=["d/t1.nii"])
    assert row == {"out_a": Path("o/a.nii")}


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["t1.nii.gz", "t2.nii"], ["t1", "t2"]),
        (["s1/t1.nii", "s2/t1.nii"], ["s1_t1", "s2_t1"]),
        (["s1/anat/t1.nii", "s2/anat/t1.nii"], ["s1_t1", "s2_t1"]),
        (
            ["s1/a/t1.nii", "s1/b/t1.nii", "s2/a/t1.nii"],
            ["s1_a_t1", "s1_b_t1", "s2_a_t1"],
        ),
        (["d/t1.nii", "d/x/t1.nii"], ["t1", "x_t1"]),
        (["t1.nii", "t1.nii.gz", "t1.npy"], ["t1.nii", "t1.nii.gz", "t1.npy"]),
        (["T1.nii", "t1.nii"], ["T1.nii_1", "t1.nii_2"]),
        (["a/b_c/t1.nii", "a_b/c/t1.nii"], ["a_b_c_t1.nii_1", "a_b_c_t1.nii_2"]),
    ],
)
def test_several_inputs_have_names_of_their_own(inputs, names):
    found = outputs.subject_names(inputs)
    assert found == names or len({n.casefold() for n in found}) == len(inputs)
    if "a_b" not in inputs[-1]:
        assert found == names
    rows = outputs.place_outputs({"out_a": "r.nii"}, out_dir="o", inputs=inputs)
    paths = [str(row["out_a"]) for row in rows]
    assert paths == [str(Path("o", f"{name}_r.nii")) for name in found]


def test_output_strategies():
    place = {"names": {"out_a": "r.nii"}, "inputs": ["d/s1/t1.nii", "d/s2/t1.nii"]}
    rows = outputs.place_outputs(**place, out_dir="o", strategy="append")
    assert [str(row["out_a"]) for row in rows] == ["d/s1/o/r.nii", "d/s2/o/r.nii"]
    rows = outputs.place_outputs(**place, out_dir="o", strategy="prepend")
    assert [str(row["out_a"]) for row in rows] == ["o/d/s1/r.nii", "o/d/s2/r.nii"]
    rows = outputs.place_outputs(**place, out_dir="o", mix_names=True)
    assert [str(row["out_a"]) for row in rows] == ["o/s1_t1_r.nii", "o/s2_t1_r.nii"]
    # Nothing leaves the folder asked for.
    (row,) = outputs.place_outputs(
        {"out_a": "r.nii"}, out_dir="o", inputs=["../x/t1.nii"], strategy="prepend"
    )
    assert ".." not in row["out_a"].parts and row["out_a"].parts[0] == "o"


def test_outputs_that_would_collide_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--out_a and --out_b would both write"):
        outputs.check_distinct(
            [("out_a", Path("x/r.nii")), ("out_b", Path("x/./r.nii"))]
        )


def test_existing_outputs_are_refused(tmp_path):
    there, folder = tmp_path / "there", tmp_path / "folder"
    there.write_text("kept")
    folder.mkdir()
    with pytest.raises(FileExistsError, match="there exists already: add --force"):
        outputs.check_existing([("out_a", there), ("out_b", tmp_path / "new")])
    outputs.check_existing([("out_a", there)], force=True)
    with pytest.raises(OSError, match="is a folder"):
        outputs.check_existing([("out_a", folder)], force=True)
    with pytest.raises(UsageError, match="overwrite the input"):
        outputs.check_inputs_stay([("out_a", there)], [there])
    with pytest.raises(OSError, match="not a regular file"):
        outputs.check_existing([("out_a", Path(os.devnull))], force=True)
    assert there.read_text() == "kept"


def test_a_file_in_the_way_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "deep" / "a"):
        with pytest.raises(NotADirectoryError, match="file is a file"):
            outputs.make_folders([("out_a", path)])


# Fitting.


def test_fit_writes_a_model_that_knows_how_its_images_were_read(tmp_path):
    from dipy_vqvae import VQVAEFit

    volume = np.moveaxis(blobs(6, (9, 11)), 0, 1).astype(np.int16)  # (9, 6, 11)
    write_nifti(tmp_path / "v.nii.gz", volume)
    flow = FitVQVAEFlow()
    flow.run([str(tmp_path / "v.nii.gz")], **TINY, slice_axis=1, out_dir=str(tmp_path))
    fit = VQVAEFit.load(flow.last_generated_outputs["out_vqvae"])
    assert fit.image_shape == (9, 11)
    reading = reading_of(fit)
    assert (reading.kind, reading.slice_axis) == ("nifti", 1)
    assert reading.orientation == "RAS"
    npt.assert_allclose(reading.voxel_size, np.linalg.norm(OBLIQUE[:3, :3], axis=0))
    # Slices are stacked along the third axis, and point where they did.
    affine = reading.affine(2)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    npt.assert_allclose(sizes, np.array(reading.voxel_size)[[0, 2, 1]])
    assert nib.aff2axcodes(affine) == ("R", "S", "A")
    flipped = Reading(orientation="LIP", voxel_size=(1.0, 2.0, 3.0)).affine(3)
    assert nib.aff2axcodes(flipped) == ("L", "I", "P")
    npt.assert_array_equal(np.linalg.norm(flipped[:3, :3], axis=0), [1, 2, 3])
    history = json.loads((tmp_path / "vqvae_history.json").read_text())
    assert len(history["train"]["loss"]) == 1
    assert not list(tmp_path.glob("*.checkpoint"))

    # Reconstructing takes the same axis without being told.
    ReconstructVQVAEFlow().run(
        str(tmp_path / "vqvae.safetensors"),
        [str(tmp_path / "v.nii.gz")],
        out_dir=str(tmp_path),
    )
    found = nib.load(tmp_path / "reconstruction.nii.gz").get_fdata()
    expected = np.moveaxis(fit.predict(np.moveaxis(volume, 1, 0)), 0, 1)
    npt.assert_array_equal(found, expected)


def test_fit_of_volumes(tmp_path):
    np.save(tmp_path / "a.npy", blobs(4, (8, 6, 7)))
    FitVQVAEFlow().run(
        [str(tmp_path / "a.npy")],
        **TINY,
        spatial_dims=3,
        downsampling=[4, 2, 4],
        batch_size=2,
        validation_files=[str(tmp_path / "a.npy")],
        out_dir=str(tmp_path / "m"),
    )
    vqvae = str(tmp_path / "m" / "vqvae.safetensors")
    write_nifti(tmp_path / "v.nii", blobs(1, (8, 6, 7))[0].astype(np.float32))
    ReconstructVQVAEFlow().run(
        vqvae,
        [str(tmp_path / "a.npy"), str(tmp_path / "v.nii")],
        out_dir=str(tmp_path / "r"),
    )
    shapes = {
        path.name: nib.load(path).shape
        for path in (tmp_path / "r").glob("*_reconstruction.nii.gz")
    }
    assert shapes == {
        "a_reconstruction.nii.gz": (8, 6, 7, 4),
        "v_reconstruction.nii.gz": (8, 6, 7),
    }
    FitPixelCNNFlow().run(
        vqvae, [str(tmp_path / "a.npy")], **TINY_PRIOR, out_dir=str(tmp_path / "m")
    )
    SampleVQVAEFlow().run(
        vqvae,
        str(tmp_path / "m" / "pixelcnn.safetensors"),
        n_samples=2,
        out_dir=str(tmp_path / "s"),
    )
    assert nib.load(tmp_path / "s" / "samples.nii.gz").shape == (8, 6, 7, 2)
    assert (tmp_path / "s" / "samples.png").stat().st_size > 0


def test_the_volumes_of_a_series_as_channels(tmp_path):
    series = np.moveaxis(blobs(3, (8, 9, 4)), 0, -1).astype(np.float32)
    write_nifti(tmp_path / "dwi.nii.gz", series)
    paths = [str(tmp_path / "dwi.nii.gz")]
    FitVQVAEFlow().run(paths, **TINY, volumes_as="channels", out_dir=str(tmp_path))
    vqvae = str(tmp_path / "vqvae.safetensors")
    ReconstructVQVAEFlow().run(vqvae, paths, out_dir=str(tmp_path))
    image = nib.load(tmp_path / "reconstruction.nii.gz")
    assert image.shape == series.shape
    assert read_table(tmp_path / "metrics.csv")[0]["n_images"] == "4"


@pytest.mark.parametrize("prior", [False, True])
def test_an_interrupted_fit_resumes_to_the_same_model(fitted, tmp_path, prior):
    from dipy_vqvae.training.loop import TrainingInterrupted

    images = [str(fitted / "train.npy")]
    if prior:
        flow_class, name = FitPixelCNNFlow, "pixelcnn.safetensors"
        arguments = (str(fitted / "vqvae.safetensors"), images)
        options = {**TINY_PRIOR, "n_epochs": 3.0}
    else:
        flow_class, name = FitVQVAEFlow, "vqvae.safetensors"
        arguments, options = (images,), {**TINY, "n_epochs": 3.0}
    flow_class().run(*arguments, **options, out_dir=str(tmp_path / "whole"))

    class Interrupt(logging.Handler):
        def emit(self, record):
            if "epoch 1" in record.getMessage():
                os.kill(os.getpid(), signal.SIGINT)

    handler, logger = Interrupt(), logging.getLogger("dipy_vqvae")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # In a process started in the background the signal may be ignored.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(TrainingInterrupted):
            flow_class().run(*arguments, **options, out_dir=str(tmp_path / "cut"))
    finally:
        signal.signal(signal.SIGINT, previous)
        logger.removeHandler(handler)
        logger.setLevel(level)
    cut = tmp_path / "cut"
    assert [path.name for path in cut.iterdir()] == [f"{name}.checkpoint"]
    with pytest.raises(FileExistsError, match="--resume to continue"):
        flow_class().run(*arguments, **options, out_dir=str(cut))
    with pytest.raises(ValueError, match="n_epochs"):
        flow_class().run(
            *arguments, **{**options, "n_epochs": 4.0}, resume=True, out_dir=str(cut)
        )
    flow_class().run(*arguments, **options, resume=True, out_dir=str(cut))
    assert not (cut / f"{name}.checkpoint").exists()
    whole, resumed = (load_arrays(tmp_path / f / name) for f in ("whole", "cut"))
    for key, array in whole.items():
        npt.assert_array_equal(array, resumed[key])


def load_arrays(path):
    from safetensors.numpy import load_file

    return load_file(path)


def test_bad_data_leaves_an_old_checkpoint_alone(fitted, tmp_path):
    checkpoint = tmp_path / "vqvae.safetensors.checkpoint"
    checkpoint.write_text("precious")
    (tmp_path / "bad.nii").write_text("no image")
    with pytest.raises(ValueError, match="bad.nii"):
        FitVQVAEFlow(force=True).run([str(tmp_path / "bad.nii")], out_dir=str(tmp_path))
    assert checkpoint.read_text() == "precious"


@pytest.mark.parametrize(
    "options",
    [
        {"n_codes": 1},
        {"n_epochs": 0.0},
        {"n_epochs": float("nan")},
        {"learning_rate": -1.0},
        {"spatial_dims": 4},
        {"slice_axis": 3},
        {"downsampling": [2, 2, 2]},
        {"downsampling": [0]},
        {"codebook": "emma"},
        {"architecture": "deep"},
        {"scaling": "log"},
        {"volumes_as": "slices"},
        {"random_seed": -1},
        {"patience": 3},
        {"loss": "huber"},
        {"max_minutes": 0.0},
        {"commitment": -1.0},
        {"validation_fraction": 1.0},
        {"validation_fraction": 0.5},  # of one file
        {"validation_fraction": 0.5, "validation_files": ["x.npy"]},
        {"validation_mask_files": ["m.nii"]},
        {"patch_shape": [8, 8, 8]},
        {"patch_shape": [8], "rate_weight": 0.1},
        {"out_report": "report.png"},
        {"out_vqvae": None},
        {"out_vqvae": "None"},
        {"out_vqvae": ""},
        {"out_history": "vqvae.safetensors"},
        {"out_history": "vqvae.safetensors.checkpoint"},
    ],
)
def test_wrong_settings_are_refused_before_any_work(fitted, tmp_path, options):
    with pytest.raises(UsageError) as caught:
        FitVQVAEFlow().run(
            [str(fitted / "train.npy")], out_dir=str(tmp_path / "o"), **options
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "o" / "vqvae.safetensors").exists()


# The prior.


def test_files_are_encoded_one_at_a_time(fitted, tmp_path, monkeypatch):
    from dipy_vqvae import VQVAEFit

    fit = VQVAEFit.load(fitted / "vqvae.safetensors")
    data = np.load(fitted / "train.npy")
    data[[1, 30]] = 0
    paths = [tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "c.npy"]
    np.save(paths[0], data[:20])
    np.save(paths[1], data[20:])
    np.save(paths[2], np.zeros((2, 12, 10), np.uint8))
    np.savetxt(tmp_path / "labels.txt", np.arange(50) % 5, fmt="%d")
    opened = []
    read_file = coding.read_file

    def watched(fit, path, **options):
        opened.append(path)
        return read_file(fit, path, **options)

    monkeypatch.setattr(coding, "read_file", watched)
    codes = encode_files(
        fit,
        paths,
        reading=Reading(),
        label_file=tmp_path / "labels.txt",
        skip_empty=True,
    )
    assert opened == paths and codes.paths == paths[:2]
    keep = ~np.isin(np.arange(48), [1, 30])
    npt.assert_array_equal(codes.joined_codes(), fit.encode(data[keep]))
    assert list(codes.options()) == ["labels"]
    npt.assert_array_equal(codes.options()["labels"], (np.arange(48) % 5)[keep])
    with pytest.raises(ValueError, match="50 labels, there are 48 images"):
        encode_files(
            fit, paths[:2], reading=Reading(), label_file=tmp_path / "labels.txt"
        )
    np.save(paths[2], np.ones((2, 20, 10)))
    codes = encode_files(fit, paths, reading=Reading())
    assert codes.describe_grids() == "2 shapes from 3 x 3 to 5 x 3"
    assert [c.shape for c in codes.joined_codes()] == [
        (20, 3, 3),
        (28, 3, 3),
        (2, 5, 3),
    ]


def test_labels_are_read_from_idx_npy_and_text(tmp_path):
    labels = np.array([3, 0, 2])
    write_idx(tmp_path / "x-labels-idx1-ubyte", labels)
    np.save(tmp_path / "x.npy", labels)
    (tmp_path / "x.txt").write_text("3\n0\n2\n")
    (tmp_path / "x.csv").write_text("3,0,2")
    for name in ("x-labels-idx1-ubyte", "x.npy", "x.txt", "x.csv"):
        npt.assert_array_equal(read_labels(tmp_path / name), labels)
    np.save(tmp_path / "float.npy", np.array([0.5, 1.0]))
    (tmp_path / "words.txt").write_text("three zero")
    (tmp_path / "negative.txt").write_text("-1 0")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("float.npy", "words.txt", "negative.txt", "empty.txt", "bytes.txt"):
        with pytest.raises(ValueError, match=name):
            read_labels(tmp_path / name)


# Reconstructing.


def test_reconstruction_has_the_inputs_grid_affine_and_units(fitted, tmp_path):
    from dipy_vqvae import VQVAEFit, metrics

    volume = np.moveaxis(blobs(5, (13, 9), seed=2), 0, 2).astype(np.int16)
    write_nifti(tmp_path / "v.nii.gz", volume)
    flow = ReconstructVQVAEFlow()
    flow.run(
        str(fitted / "vqvae.safetensors"),
        str(tmp_path / "v.nii.gz"),
        batch_size=2,
        out_dir=str(tmp_path / "o"),
    )
    image = nib.load(flow.last_generated_outputs["out_reconstruction"])
    residual = nib.load(flow.last_generated_outputs["out_residual"])
    for result in (image, residual):
        assert result.get_data_dtype() == np.float32
        npt.assert_allclose(result.affine, OBLIQUE, atol=1e-6)
    fit = VQVAEFit.load(fitted / "vqvae.safetensors")
    slices = np.moveaxis(volume, 2, 0)
    predicted = fit.predict(slices)
    npt.assert_allclose(
        image.get_fdata(), np.moveaxis(predicted, 0, 2), rtol=1e-5, atol=1e-3
    )
    npt.assert_allclose(
        image.get_fdata() + residual.get_fdata(), volume, rtol=1e-6, atol=1e-4
    )
    (row,) = read_table(tmp_path / "o" / "metrics.csv")
    usage = fit.usage(slices)
    expected = {
        "n_images": 5,
        "mse": metrics.mean_squared_error(slices, predicted).mean(),
        "mae": metrics.mean_absolute_error(slices, predicted).mean(),
        "data_range": np.ptp(volume),
        "ssim": metrics.ssim(slices, predicted, data_range=np.ptp(volume)).mean(),
        "codes_used": usage.n_used,
        "perplexity": usage.perplexity,
    }
    for name, value in expected.items():
        npt.assert_allclose(float(row[name]), value, rtol=1e-4)
    npt.assert_allclose(
        float(row["psnr"]),
        10 * np.log10(float(row["data_range"]) ** 2 / float(row["mse"])),
        rtol=1e-4,
    )


def test_images_without_an_affine_are_stacked(fitted, tmp_path):
    images = blobs(4, (12, 10), seed=3)
    write_idx(tmp_path / "a-idx3-ubyte", images)
    np.save(tmp_path / "one.npy", images[0])
    vqvae = str(fitted / "vqvae.safetensors")
    ReconstructVQVAEFlow().run(
        vqvae,
        [str(tmp_path / "a-idx3-ubyte"), str(tmp_path / "one.npy")],
        out_dir=str(tmp_path),
    )
    stack = nib.load(tmp_path / "a-idx3-ubyte_reconstruction.nii.gz")
    assert stack.shape == (12, 10, 4)
    npt.assert_array_equal(stack.affine, np.eye(4))
    assert nib.load(tmp_path / "one_residual.nii.gz").shape == (12, 10, 1)
    ReconstructVQVAEFlow().run(
        vqvae,
        [str(tmp_path / "a-idx3-ubyte")],
        slice_axis=0,
        out_dir=str(tmp_path / "axis0"),
    )
    assert nib.load(tmp_path / "axis0" / "reconstruction.nii.gz").shape == (4, 12, 10)


def test_more_images_than_nifti1_counts(tmp_path):
    from dipy_vqvae.workflows.results import save_image

    data = np.arange(2 * 40_000, dtype=np.float32).reshape(2, 1, 40_000)
    save_image(tmp_path / "long.nii.gz", data)
    npt.assert_array_equal(nib.load(tmp_path / "long.nii.gz").get_fdata(), data)


def test_one_bad_file_among_several(fitted, tmp_path, caplog):
    write_nifti(tmp_path / "s1" / "t1.nii.gz", blobs(3, (12, 10)).astype(np.float32))
    write_nifti(tmp_path / "s2" / "t1.nii.gz", np.ones((8, 8, 2), np.float32))
    (tmp_path / "s3").mkdir()
    (tmp_path / "s3" / "t1.nii.gz").write_text("no image")
    with (
        caplog.at_level(logging.ERROR, logger="dipy_vqvae"),
        pytest.raises(SomeFilesFailed, match="1 of 3 files failed: .*s3"),
    ):
        ReconstructVQVAEFlow().run(
            str(fitted / "vqvae.safetensors"),
            str(tmp_path / "s*" / "t1.nii.gz"),
            out_dir=str(tmp_path / "o"),
        )
    assert "s3" in caplog.text and "not a NIfTI file" in caplog.text
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert names == {
        "metrics.csv",
        "mosaic.png",
        *(
            f"s{i}_t1_{w}.nii.gz"
            for i in (1, 2)
            for w in ("reconstruction", "residual")
        ),
    }
    rows = read_table(tmp_path / "o" / "metrics.csv")
    # A constant image has no range to relate an error to.
    assert len(rows) == 2 and rows[1]["psnr"] == "nan"


def test_outputs_can_be_left_out(fitted, tmp_path):
    ReconstructVQVAEFlow().run(
        str(fitted / "vqvae.safetensors"),
        str(fitted / "train.npy"),
        out_dir=str(tmp_path),
        out_residual="None",
        out_metrics=None,
        out_mosaic="none",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["reconstruction.nii.gz"]
    with pytest.raises(UsageError, match="that ends in .nii or .nii.gz"):
        ReconstructVQVAEFlow().run(
            str(fitted / "vqvae.safetensors"),
            str(fitted / "train.npy"),
            out_reconstruction="r.png",
        )


def test_a_failed_write_leaves_nothing_behind(fitted, tmp_path, monkeypatch):
    def full(image, stream):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib.Nifti1Image, "to_stream", full)
    with pytest.raises(OSError, match="No space left"):
        ReconstructVQVAEFlow().run(
            str(fitted / "vqvae.safetensors"),
            str(fitted / "train.npy"),
            out_dir=str(tmp_path),
        )
    assert list(tmp_path.iterdir()) == []


# Sampling.


def test_samples_depend_on_the_seed_only(fitted, tmp_path):
    def sample(folder, **options):
        options = {"n_samples": 5, **options}
        SampleVQVAEFlow().run(
            str(fitted / "vqvae.safetensors"),
            str(fitted / "pixelcnn.safetensors"),
            **options,
            out_dir=str(tmp_path / folder),
            out_mosaic=None,
        )
        return nib.load(tmp_path / folder / "samples.nii.gz").get_fdata()

    first = sample("a")
    assert first.shape == (12, 10, 5)
    npt.assert_allclose(sample("b", batch_size=2), first, atol=1e-3)
    npt.assert_allclose(sample("c", n_samples=3), first[..., :3], atol=1e-3)
    assert not np.array_equal(sample("d", random_seed=1), first)
    likeliest = sample("e", temperature=0.0)
    npt.assert_array_equal(likeliest, likeliest[..., :1].repeat(5, axis=-1))


def test_samples_of_a_class(fitted, tmp_path):
    from PIL import Image

    vqvae, prior = fitted / "vqvae.safetensors", fitted / "classes.safetensors"
    for folder, label in (("all", None), ("one", 1), ("turns", [0, 1, 2])):
        SampleVQVAEFlow().run(
            str(vqvae),
            str(prior),
            n_samples=4,
            label=label,
            out_dir=str(tmp_path / folder),
        )
        with Image.open(tmp_path / folder / "samples.png") as picture:
            assert picture.mode == "L" and min(picture.size) > 56
    with pytest.raises(UsageError, match="0..2"):
        SampleVQVAEFlow().run(
            str(vqvae), str(prior), label=[3], out_dir=str(tmp_path / "x")
        )
    with pytest.raises(UsageError, match="without labels"):
        SampleVQVAEFlow().run(
            str(vqvae),
            str(fitted / "pixelcnn.safetensors"),
            label=1,
            out_dir=str(tmp_path / "x"),
        )


def test_a_prior_of_another_vqvae_is_refused(fitted, tmp_path):
    from dipy_vqvae import PixelCNNModel

    for n_codes, grid, match in ((5, (3, 3), "5 codes"), (6, (4, 4), "grid")):
        codes = np.zeros((2, *grid), int)
        prior = PixelCNNModel(n_codes=n_codes, n_channels=4, n_layers=1)
        prior.fit(codes, n_epochs=1).save(tmp_path / f"{n_codes}.safetensors")
        with pytest.raises(ValueError, match=match):
            SampleVQVAEFlow().run(
                str(fitted / "vqvae.safetensors"),
                str(tmp_path / f"{n_codes}.safetensors"),
                out_dir=str(tmp_path / "o"),
            )
    # The files the wrong way round.
    with pytest.raises(ValueError, match="vqvae"):
        SampleVQVAEFlow().run(
            str(fitted / "pixelcnn.safetensors"),
            str(fitted / "vqvae.safetensors"),
            out_dir=str(tmp_path / "o"),
        )


# The others.


def test_validation_hands_its_options_on(tmp_path, monkeypatch):
    from dipy_vqvae import experiment

    calls = []
    monkeypatch.setattr(
        experiment, "run_validation", lambda **options: calls.append(options)
    )
    ValidateVQVAEFlow().run(digits=True, quick=True, out_dir=str(tmp_path / "v"))
    (options,) = calls
    assert options["digits"] and options["quick"] and options["mnist_dir"] is None
    assert options["random_seed"] == 0 and Path(options["out_dir"]) == tmp_path / "v"
    (tmp_path / "v" / "results.json").write_text("{}")
    with pytest.raises(FileExistsError, match="results.json exists already"):
        ValidateVQVAEFlow().run(digits=True, out_dir=str(tmp_path / "v"))
    ValidateVQVAEFlow(force=True).run(digits=True, out_dir=str(tmp_path / "v"))
    assert len(calls) == 2
    (tmp_path / "v" / "results.json").unlink()
    # Whatever the run would write, not only the numbers.
    (tmp_path / "v" / "arms.png").write_text("somebody's own")
    with pytest.raises(FileExistsError, match="arms.png exists already"):
        ValidateVQVAEFlow().run(digits=True, out_dir=str(tmp_path / "v"))
    # A run that was stopped while it put its results into place can go on.
    unfinished = tmp_path / "v" / "unfinished"
    unfinished.mkdir()
    (unfinished / "results.json").write_text("{}")
    ValidateVQVAEFlow().run(digits=True, out_dir=str(tmp_path / "v"))
    assert len(calls) == 3
    (unfinished / "arms.png").write_text("the run's")
    with pytest.raises(FileExistsError, match="arms.png exists already"):
        ValidateVQVAEFlow().run(digits=True, out_dir=str(tmp_path / "v"))
    with pytest.raises(UsageError, match="exclude each other"):
        ValidateVQVAEFlow().run(digits=True, mnist_dir="x", out_dir=str(tmp_path / "w"))


def test_fetching_hands_the_mirrors_on(tmp_path, monkeypatch):
    from dipy_vqvae import data

    calls = []
    monkeypatch.setattr(
        data, "fetch_mnist", lambda **options: calls.append(options) or tmp_path
    )
    FetchMnistFlow().run()
    FetchMnistFlow().run(mirrors=["https://example.org/mnist"])
    assert [c["mirrors"] for c in calls] == [None, ["https://example.org/mnist"]]


def test_errors_are_one_line():
    assert one_line(OSError(28, "No space left on device")) == "No space left on device"
    assert one_line(ValueError("a\n b")) == "a b"
    assert "untouched" in explain(OSError(28, "No space left on device", "x"))
    assert "--batch_size" in explain(MemoryError())
    try:
        np.zeros(3).reshape(2)  # a fault of the program, not of its input
    except ValueError as error:
        assert "unexpected ValueError" in explain(error)
        assert "--log_level DEBUG" in explain(error)

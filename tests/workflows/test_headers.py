"""What a NIfTI header says of space and time goes from an image to all its results."""

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import fit_to

from dipy_vqvae.workflows.decode import DecodeVQVAEFlow
from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow

TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, -1.0]])
SCANNER = np.eye(4)
SCANNER[:3, :3], SCANNER[:3, 3] = TURN * [2.0, 1.5, 3.0], [-90, 126.5, 41]
SHEARED = np.array(
    [[1.9, 0.3, 0, -80], [0.1, 1.4, 0.2, 7], [0, 0.1, 3, 9], [0, 0, 0, 1.0]]
)
# (affine and code) of the sform and of the qform.
PLACES = {
    "4 and 4": ((SHEARED, 4), (SCANNER, 4)),
    "scanner and MNI": ((SHEARED, 4), (SCANNER, 1)),
    "sform alone": ((SHEARED, 2), (SCANNER, 0)),
    "qform alone": ((SHEARED, 0), (SCANNER, 3)),
    "neither": ((SHEARED, 0), (SCANNER, 0)),
}
SHAPES = {2: (13, 9, 5), 3: (13, 9, 5, 2)}
PLACED = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
          "srow_x", "srow_y", "srow_z", "qform_code", "sform_code", "pixdim")  # fmt: skip
TIMED = ("xyzt_units", "toffset", "dim_info")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    for d in SHAPES:
        images = rng.integers(0, 255, (6, *(12, 10, 8)[:d]), np.uint8)
        fit = fit_to(images, model={"spatial_dims": d}, n_epochs=1)
        fit.save(folder / f"{d}.safetensors")
    return folder


def save_image(path, shape, place, *, version=1):
    (sform, sform_code), (qform, qform_code) = place
    data = np.random.default_rng(1).integers(0, 255, shape, np.int16)
    image = {1: nib.Nifti1Image, 2: nib.Nifti2Image}[version](data, None)
    header = image.header
    header.set_qform(qform, qform_code)
    header.set_sform(sform, sform_code)
    if not (qform_code or sform_code):
        header["pixdim"][1:4] = 2, 1.5, 3
    header["pixdim"][4] = 2.2
    header.set_xyzt_units("mm", "sec")
    header["toffset"] = 0.5
    header.set_dim_info(freq=0, phase=1, slice=2)
    header["slice_code"], header["slice_end"], header["slice_duration"] = 3, 4, 0.44
    header.set_slope_inter(0.5, 3)
    nib.save(image, path)
    return nib.load(path)


def run_all(models, d, path):
    model, folder = str(models / f"{d}.safetensors"), str(path.with_suffix(".out"))
    EncodeVQVAEFlow().run(model, str(path), out_dir=folder)
    codes = path.with_suffix(".out") / "codes.nii.gz"
    DecodeVQVAEFlow().run(model, str(codes), out_dir=folder)
    ReconstructVQVAEFlow().run(model, str(path), out_dir=folder)
    names = ("reconstruction", "residual", "decoded", "codes")
    return {name: nib.load(f"{folder}/{name}.nii.gz") for name in names}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("d", SHAPES)
def test_results_are_where_the_image_is(models, tmp_path, d, place):
    version = 2 if place[0][1] == 2 else 1
    image = save_image(tmp_path / "i.nii.gz", SHAPES[d], place, version=version)
    results = run_all(models, d, tmp_path / "i.nii.gz")
    codes = results.pop("codes")
    for name, found in results.items():
        assert found.shape == image.shape and found.get_data_dtype() == np.float32
        # NIfTI-2 has more digits.
        npt.assert_allclose(found.affine, image.affine, rtol=(version - 1) * 1e-7)
        for field in (*PLACED, *TIMED, "slice_code", "slice_end", "slice_duration"):
            npt.assert_allclose(
                found.header[field],
                image.header[field],
                rtol=(version - 1) * 1e-7,
                err_msg=f"{name} {field}",
            )
        assert found.header.get_slope_inter() == (None, None)
    for field in TIMED:
        assert codes.header[field] == image.header[field]
    npt.assert_allclose(codes.header["pixdim"][4], 2.2, rtol=1e-7)
    assert codes.header["slice_code"] == 0
    factors = np.array([4, 4, 4 if d == 3 else 1])
    to_image = np.diag([*factors, 1.0])
    to_image[:3, 3] = (factors - 1) / 2
    npt.assert_allclose(codes.affine, image.affine @ to_image, rtol=1e-6, atol=1e-5)
    for kind in ("qform", "sform"):
        there, code = getattr(image.header, f"get_{kind}")(coded=True)
        found, found_code = getattr(codes.header, f"get_{kind}")(coded=True)
        if code:
            assert found_code == code
            npt.assert_allclose(found, there @ to_image, rtol=1e-5, atol=1e-4)
    sizes = np.linalg.norm(codes.affine[:3, :3], axis=0)
    if not place[1][1]:
        npt.assert_allclose(codes.header["pixdim"][1:4], sizes, rtol=1e-6)


def test_a_single_slice(models, tmp_path):
    image = save_image(tmp_path / "i.nii", (13, 9), PLACES["scanner and MNI"])
    thick = save_image(tmp_path / "t.nii", (13, 9, 1), PLACES["scanner and MNI"])
    npt.assert_array_equal(image.dataobj, np.asarray(thick.dataobj)[..., 0])
    results = run_all(models, 2, tmp_path / "i.nii")
    thick = run_all(models, 2, tmp_path / "t.nii")
    for name, found in results.items():
        assert found.shape == ((4, 3) if name == "codes" else (13, 9))
        npt.assert_array_equal(found.affine, thick[name].affine)
        npt.assert_array_equal(found.dataobj, np.asarray(thick[name].dataobj)[..., 0])


def test_a_qform_that_is_no_rotation(models, tmp_path):
    image = save_image(tmp_path / "i.nii", SHAPES[2], PLACES["4 and 4"])
    header = image.header.copy()
    header["quatern_b"] = header["quatern_c"] = 0.9
    nib.save(
        nib.Nifti1Image(np.asarray(image.dataobj), None, header), tmp_path / "i.nii"
    )
    results = run_all(models, 2, tmp_path / "i.nii")
    npt.assert_array_equal(results["decoded"].affine, image.affine)
    assert results["codes"].header["qform_code"] == 0
    assert results["codes"].header["sform_code"] == 4


TURNS = {
    "closest canonical": nib.as_closest_canonical,
    "mirrored": lambda image: image.as_reoriented(np.array([[0, -1], [1, 1], [2, 1]])),
    "axes swapped": lambda image: image.as_reoriented(
        np.array([[2, -1], [0, 1], [1, -1]])
    ),
}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("d", SHAPES)
def test_codes_that_were_turned_are_decoded_at_their_place(models, tmp_path, d, turn):
    save_image(tmp_path / "i.nii.gz", SHAPES[d], ((SCANNER, 4), (SCANNER, 1)))
    expected = run_all(models, d, tmp_path / "i.nii.gz")
    turned = turn(expected["codes"])
    assert not np.allclose(turned.affine, expected["codes"].affine)
    nib.save(turned, tmp_path / "turned.nii")
    DecodeVQVAEFlow().run(
        str(models / f"{d}.safetensors"),
        str(tmp_path / "turned.nii"),
        out_dir=str(tmp_path / "again"),
    )
    found = nib.load(tmp_path / "again/decoded.nii.gz")
    npt.assert_array_equal(found.affine, expected["decoded"].affine)
    npt.assert_array_equal(found.dataobj, expected["decoded"].dataobj)


def moved(image):
    affine = image.affine.copy()
    affine[0, 3] += 1
    image.header.set_sform(affine, 4)
    return nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)


def cut(image):
    return image.slicer[:, :, 1:]


def cut_in_time(image):
    return image.slicer[..., :1]


def coarser(image):
    image.header.set_sform(image.affine @ np.diag([2, 2, 2, 1]), 4)
    return nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)


def one_volume(image):
    return image.slicer[..., 0]


def flipped(image):
    """As a program does that knows no affines."""
    data = np.ascontiguousarray(np.asarray(image.dataobj)[::-1])
    return nib.Nifti1Image(data, None, image.header)


@pytest.mark.parametrize(
    "change", [moved, cut, cut_in_time, coarser, one_volume, flipped]
)
def test_codes_that_were_moved_or_cut_are_refused(models, tmp_path, command, change):
    d = 3 if change in (cut_in_time, one_volume) else 2
    save_image(tmp_path / "i.nii.gz", SHAPES[d], PLACES["4 and 4"])
    codes = run_all(models, d, tmp_path / "i.nii.gz")["codes"]
    nib.save(change(codes), tmp_path / "c.nii")
    model = models / f"{d}.safetensors"
    code, _, err = command(
        "dipy_decode_vqvae", model, "c.nii", "--out_decoded", "d.nii"
    )
    assert code == 1 and "c.nii: " in err
    assert "no longer where they were written" in err or "the file was changed" in err
    assert "unexpected" not in err
    assert not (tmp_path / "d.nii").exists()


NAMES = ["c.Nii", "c.NII", "c.nii.GZ", "c.NII.gz", "c.Nii.Gz"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_the_name_that_was_asked_for(models, tmp_path, command, name):
    """Also where nibabel would choose another one, and what was there is replaced."""
    save_image(tmp_path / "i.nii", SHAPES[2], PLACES["4 and 4"])
    model = models / "2.safetensors"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"older")
    where = ("--out_dir", "out", "--force")
    assert (
        command("dipy_encode_vqvae", model, "i.nii", *where, "--out_codes", name)[0]
        == 0
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    inputs = ("dipy_decode_vqvae", model, f"out/{name}", "--out_dir", "images")
    assert command(*inputs, "--out_decoded", f"d{name}")[0] == 0
    # The result is read under that name as well, whole and in parts.
    inputs = ("dipy_encode_vqvae", model, f"images/d{name}", "--out_dir", "codes")
    assert command(*inputs, "--out_codes", name)[0] == 0
    content = (tmp_path / "out" / name).read_bytes()
    assert (content[:2] == b"\x1f\x8b") == name.lower().endswith("gz")


def test_compression_is_told_by_the_content(models, tmp_path, command):
    save_image(tmp_path / "i.nii", SHAPES[2], PLACES["4 and 4"])
    expected = run_all(models, 2, tmp_path / "i.nii")["decoded"]
    content = (tmp_path / "i.out/codes.nii.gz").read_bytes()
    (tmp_path / "z.nii").write_bytes(content)
    model = models / "2.safetensors"
    assert (
        command("dipy_decode_vqvae", model, "z.nii", "--out_decoded", "d.nii")[0] == 0
    )
    npt.assert_array_equal(nib.load(tmp_path / "d.nii").dataobj, expected.dataobj)
    code, _, err = command("dipy_encode_vqvae", model, "z.nii")
    assert code == 1 and "contains codes of dipy_encode_vqvae" in err

"""Volumes of other formats that nibabel reads: FreeSurfer's and Analyze's."""

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

import dipy_vqvae as dv
from dipy_vqvae.data import image_kind, read_image

AFFINE = np.array([[-2.0, 0, 0, 9], [0, 0, 2, -8], [0, -2, 0, 7], [0, 0, 0, 1]])


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 900, (6, 7, 5)).astype(np.int16)


def write(path, volume):
    if path.suffix == ".img":
        nib.save(nib.Spm99AnalyzeImage(volume, AFFINE), path)
    else:
        nib.save(nib.MGHImage(volume.astype(np.float32), AFFINE), path)


@pytest.mark.parametrize("name", ["a.mgz", "b.mgh", "c.img"])
def test_values_and_affine_are_nibabels(tmp_path, volume, name):
    path = tmp_path / name
    write(path, volume)
    image = read_image(path)
    npt.assert_array_equal(image.data, volume)
    npt.assert_array_equal(image.affine, nib.load(path).affine)
    collection = dv.open_images(tmp_path, slice_axis=1)
    assert len(collection.files) == 1, "the .hdr is no image of its own"
    assert collection.shapes == ((6, 5),)
    npt.assert_array_equal(collection.read(0), np.moveaxis(volume, 1, 0))
    npt.assert_array_equal(collection.files[0].affine, image.affine)


def test_a_series(tmp_path, volume):
    series = np.stack([volume, volume + 1], axis=-1).astype(np.float32)
    nib.save(nib.MGHImage(series, AFFINE), tmp_path / "s.mgz")
    collection = dv.open_images(tmp_path, spatial_dims=3)
    npt.assert_array_equal(collection.read(0), np.moveaxis(series, -1, 0))


@pytest.mark.parametrize("name", ["a.mgz", "b.mgh", "c.img"])
def test_a_file_that_is_cut_short(tmp_path, volume, name):
    path = tmp_path / name
    write(path, volume)
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises((ValueError, OSError), match=name) as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_what_is_no_volume(tmp_path):
    for name in ("a.mgz", "c.img"):
        (tmp_path / name).write_text("not a volume")
        with pytest.raises((ValueError, OSError), match=name):
            dv.open_images(tmp_path / name)


def test_commands_read_and_name_them(command, tmp_path, volume):
    for i in range(2):
        write(tmp_path / f"sub-{i}.mgz", volume + i)
    small = ["--n_channels", 8, "--n_codes", 8, "--n_epochs", 1, "--out_report", "None"]
    code, _, err = command("dipy_fit_vqvae", "*.mgz", *small)
    assert code == 0, err
    code, _, err = command("dipy_reconstruct_vqvae", "vqvae.safetensors", "*.mgz")
    assert code == 0, err
    restored = nib.load(tmp_path / "sub-1_reconstruction.nii.gz")
    assert restored.shape == volume.shape
    npt.assert_allclose(restored.affine, AFFINE)
    code, _, err = command("dipy_encode_vqvae", "vqvae.safetensors", "sub-0.mgz")
    assert code == 0, err


def test_the_mask_helps_against_nan(tmp_path, volume):
    image = volume.astype(np.float32)
    image[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / "nan.nii")
    with pytest.raises(ValueError, match="1 NaN or Inf.* mask.*--mask_files"):
        dv.load_images(tmp_path / "nan.nii")
    assert image_kind("x.MGZ") == "mgh"

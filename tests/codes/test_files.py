"""Codes as NIfTI files, and the axes of files."""

from dataclasses import replace
import json

from hypothesis import given
from hypothesis import strategies as st
import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, fit_to

from dipy_vqvae.codes.coded import CodedImages
from dipy_vqvae.codes.files import _digest, load_codes, save_codes
from dipy_vqvae.data import Layout, layout_of, open_images
from dipy_vqvae.data.intensity import IntensityScaling
from dipy_vqvae.vqvae.coded_images import (
    check_model,
    codebook_fingerprint,
    decode_images,
    encode_images,
)

OBLIQUE = np.array(
    [
        [-1.8, 0.3, 0.0, 90.0],
        [-0.3, 1.8, 0.2, 12.5],
        [0.0, -0.2, 5.0, 1 / 3],
        [0, 0, 0, 1],
    ]
)


def coded_images(**changes):
    """Codes of a masked stack of 5 slices of 7 x 6, two of them scaled alike."""
    rng = np.random.default_rng(0)
    mask = rng.random((5, 7, 6)) > 0.5
    mask[:, :4, :2] = False  # the first block
    options = {
        "codes": rng.integers(0, 9, (5, 2, 3), dtype=np.int32),
        "layout": Layout(2, slice_axis=1),
        "image_shape": (7, 6),
        "downsampling": (4, 2),
        "n_codes": 9,
        "model": "0123456789abcdef",
        "scalings": tuple(
            IntensityScaling(i / 3, 1 + i / 7, "range") for i in range(5)
        ),
        "affine": OBLIQUE,
        "mask": mask,
    }
    return CodedImages(**{**options, **changes})


def resave(path, *, drop=False, **changes):
    """Write a file of codes again, with another record of how they were made."""
    image = nib.load(path)
    data, header = np.asarray(image.dataobj).copy(), image.header
    (extension,) = header.extensions
    entries = json.loads(extension.get_content())
    header.extensions.clear()
    if not drop:
        text = json.dumps({**entries, **changes}).encode()
        header.extensions.append(nib.nifti1.Nifti1Extension("comment", text))
    nib.Nifti1Image(data, image.affine, header).to_filename(path)


@pytest.fixture(scope="module")
def fit():
    return fit_to(blobs(16, (12, 10)))


# The axes of files


@given(
    st.sampled_from([2, 3]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
)
def test_a_layout_goes_both_ways(spatial_dims, n_volumes, slice_axis, channels):
    axis = slice_axis if spatial_dims == 2 else None
    layout = Layout(spatial_dims, slice_axis=axis, n_volumes=n_volumes)
    volumes = () if n_volumes is None else (n_volumes,)
    shape = (4, 5, 6, *volumes, *((2,) if channels else ()))
    volume = np.arange(np.prod(shape)).reshape(shape)
    stack = layout.to_stack(volume)
    assert stack.shape[1 : 1 + spatial_dims] == (
        (4, 5, 6) if spatial_dims == 3 else tuple(np.delete((4, 5, 6), slice_axis))
    )
    npt.assert_array_equal(layout.to_volume(stack), volume)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 6, 3), (4, 5, 6, 1)])
@pytest.mark.parametrize("volumes_as", ["images", "channels"])
def test_results_have_the_layout_of_their_file(
    tmp_path, spatial_dims, shape, volumes_as
):
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nib.save(nib.Nifti1Image(data, OBLIQUE), tmp_path / "v.nii")
    images = open_images(
        tmp_path, spatial_dims=spatial_dims, slice_axis=1, volumes_as=volumes_as
    )
    layout = layout_of(images.files[0], spatial_dims=spatial_dims)
    npt.assert_array_equal(layout.to_volume(images.read(0)), data)


def test_arrays_without_a_layout_are_stacked(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 7, 6)))
    slices = open_images(tmp_path / "a.npy", spatial_dims=2)
    layout = layout_of(slices.files[0], spatial_dims=2, slice_axis=0)
    assert layout.to_volume(slices.read(0)).shape == (5, 7, 6)
    volume = open_images(tmp_path / "a.npy", spatial_dims=3)
    layout = layout_of(volume.files[0], spatial_dims=3)
    assert layout.to_volume(volume.read(0)).shape == (5, 7, 6)


# Files


@pytest.mark.parametrize("name", ["c.nii", "c.nii.gz"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_file_gives_everything_back(tmp_path, name, masked):
    coded = coded_images() if masked else coded_images(mask=None, affine=None)
    save_codes(tmp_path / name, coded)
    found = load_codes(tmp_path / name)
    npt.assert_array_equal(found.codes, coded.codes)
    assert found.codes.dtype == np.int32
    if masked:
        npt.assert_array_equal(found.mask, coded.mask)
        # Not as float32, which is all that the header has room for.
        npt.assert_array_equal(found.affine, coded.affine)
    else:
        assert found.mask is None and found.affine is None
    for field in ("layout", "image_shape", "downsampling", "n_codes", "model"):
        assert getattr(found, field) == getattr(coded, field)
    assert found.scalings == coded.scalings


def test_labels_leave_0_to_the_background(tmp_path):
    mask = np.zeros((5, 7, 6), bool)
    mask[1, 5, 1] = mask[2:4] = True
    coded = coded_images(mask=mask)
    save_codes(tmp_path / "c.nii", coded)
    labels = coded.layout.to_stack(np.asarray(nib.load(tmp_path / "c.nii").dataobj))
    inside = np.zeros((5, 2, 3), bool)
    inside[1, 1, 0] = inside[2:4] = True
    npt.assert_array_equal(labels, np.where(inside, coded.codes + 1, 0))
    npt.assert_array_equal(load_codes(tmp_path / "c.nii").codes, coded.codes)


@pytest.mark.parametrize("masked", [True, False])
def test_files_of_the_first_format_are_read(tmp_path, masked):
    """Codes themselves, without a background."""
    coded = coded_images() if masked else coded_images(mask=None)
    path = tmp_path / "c.nii"
    save_codes(path, coded)
    image = nib.load(path)
    (extension,) = image.header.extensions
    record = json.loads(extension.get_content())
    codes = coded.layout.to_volume(coded.codes).astype(np.int16)
    del record["background"]
    record.update(version=1, digest=_digest(codes))
    image.header.extensions.clear()
    text = json.dumps(record).encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", text))
    nib.Nifti1Image(codes, image.affine, image.header).to_filename(path)
    npt.assert_array_equal(load_codes(path).codes, coded.codes)


def test_codes_overlay_their_image(tmp_path):
    """The corners of the grid are those of the image, padding included."""
    save_codes(tmp_path / "c.nii", coded_images())
    image = nib.load(tmp_path / "c.nii")
    assert image.get_data_dtype() == np.int16
    assert image.shape == (2, 5, 3)  # slices along the second axis
    for corner in np.ndindex(2, 2, 2):
        at = np.array(corner)
        ours = image.affine @ [*(at * (2, 5, 3) - 0.5), 1]
        theirs = OBLIQUE @ [*(at * (8, 5, 6) - 0.5), 1]
        npt.assert_allclose(ours, theirs, atol=1e-4)


def test_large_codebooks_get_wider_integers(tmp_path):
    coded = coded_images(n_codes=40_000)
    coded = replace(coded, codes=coded.codes + 39_000)
    save_codes(tmp_path / "c.nii", coded)
    assert nib.load(tmp_path / "c.nii").get_data_dtype() == np.int32
    npt.assert_array_equal(load_codes(tmp_path / "c.nii").codes, coded.codes)


def test_more_slices_than_nifti1_counts(tmp_path):
    coded = coded_images(
        codes=np.ones((40_000, 1, 1), np.int32),
        image_shape=(4, 2),
        scalings=(IntensityScaling(),),
        mask=None,
    )
    save_codes(tmp_path / "c.nii.gz", coded)
    assert len(load_codes(tmp_path / "c.nii.gz").codes) == 40_000


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"drop": True}, "no codes as dipy_encode_vqvae writes them"),
        ({"format": "something else"}, "no codes as dipy_encode_vqvae"),
        ({"version": 99}, "format 99"),
        ({"image_shape": [70, 60]}, "the file was changed"),
        ({"image_shape": None}, "cannot be used"),
        ({"layout": {"spatial_dims": 2}}, "no longer where they were written"),
        ({"layout": {"nonsense": 2}}, "cannot be used"),
        ({"scalings": []}, "the file was changed"),
        ({"scalings": [{}]}, "cannot be used"),
        ({"affine": [[1, 2]]}, "cannot be used"),
        ({"mask": "AAAA"}, "cannot be used"),
        ({"mask": 7}, "cannot be used"),
        ({"space": {"magic": "n+2"}}, "cannot be used"),
        ({"space": [1, 2]}, "cannot be used"),
        ({"space": 7}, "cannot be used"),
        ({"space": {"pixdim": [1, 2]}}, "cannot be used"),
        ({"space": {"toffset": "x"}}, "cannot be used"),
        ({"space": {"sform_code": 10**9}}, "cannot be used"),
        ({"space": {"sform_code": 1, "srow_x": [9, 0, 0, 99]}}, "cannot be used"),
        ({"layout": {"spatial_dims": 2, "slice_axis": 5}}, "cannot be used"),
        ({"layout": {"spatial_dims": 2, "slice_axis": "2"}}, "cannot be used"),
        ({"layout": {"spatial_dims": 2, "slice_axis": True}}, "cannot be used"),
        ({"layout": {"spatial_dims": 2, "slice_axis": [2]}}, "cannot be used"),
        (
            {"layout": {"spatial_dims": 2, "slice_axis": 1, "n_volumes": 3}},
            "the file was changed",
        ),
        ({"affine": np.zeros((4, 4)).tolist()}, "cannot be used"),
        ({"affine": np.full((4, 4), np.nan).tolist()}, "cannot be used"),
        ({"digest": "0123"}, "its codes are not those that were written"),
        ({"n_codes": 3}, "range from 0 to 8"),
        ({"background": None}, "its background cannot be used"),
        ({"background": "AAAA"}, "its background cannot be used"),
        ({"background": 7}, "its background cannot be used"),
    ],
)
def test_records_that_were_changed_are_refused(tmp_path, changes, match):
    path = tmp_path / "c.nii"
    save_codes(path, coded_images())
    resave(path, **changes)
    with pytest.raises(ValueError, match=match) as caught:
        load_codes(path)
    assert "c.nii" in str(caught.value) and "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    nib.save(
        nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "i.nii"
    )
    with pytest.raises(ValueError, match=r"i.nii: no codes"):
        load_codes(tmp_path / "i.nii")
    (tmp_path / "t.nii").write_text("no image")
    with pytest.raises(ValueError, match=r"t.nii: not a NIfTI file"):
        load_codes(tmp_path / "t.nii")
    save_codes(tmp_path / "c.nii", coded_images())
    content = (tmp_path / "c.nii").read_bytes()
    for length in (100, 360, len(content) - 20):
        (tmp_path / "cut.nii").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut.nii"):
            load_codes(tmp_path / "cut.nii")
    image = nib.load(tmp_path / "c.nii")
    floats = nib.Nifti1Image(image.get_fdata(), image.affine)
    floats.header.extensions.extend(image.header.extensions)
    floats.to_filename(tmp_path / "f.nii")
    with pytest.raises(ValueError, match="codes are integers"):
        load_codes(tmp_path / "f.nii")


def test_a_mask_cannot_ask_for_more_memory_than_it_needs(tmp_path):
    import base64
    import zlib

    save_codes(tmp_path / "c.nii", coded_images())
    bomb = base64.b64encode(zlib.compress(bytes(1 << 24))).decode()
    resave(tmp_path / "c.nii", mask=bomb)
    with pytest.raises(ValueError, match="a mask of 28 bytes"):
        load_codes(tmp_path / "c.nii")


@pytest.mark.parametrize("downsampling", [(640, 640, 640), (4096, 4096, 4096)])
def test_small_files_do_not_make_large_arrays(tmp_path, downsampling):
    """A few hundred bytes that say that they have a mask of 250 MiB, or of 64 GiB."""
    import base64
    import tracemalloc
    import zlib

    coded = coded_images(
        codes=np.zeros((1, 1, 1, 1), np.int32),
        layout=Layout(3),
        image_shape=downsampling,
        downsampling=downsampling,
        scalings=(IntensityScaling(),),
        mask=None,
    )
    save_codes(tmp_path / "c.nii", coded)
    mask = base64.b64encode(zlib.compress(bytes(640**3 // 8), 9)).decode()
    resave(tmp_path / "c.nii", mask=mask)
    other = fit_to(blobs(8, (8, 8)), n_epochs=1)
    tracemalloc.start()
    try:
        if downsampling[0] > 640:
            with pytest.raises(ValueError, match="its mask cannot be used"):
                load_codes(tmp_path / "c.nii")
        else:
            coded = load_codes(tmp_path / "c.nii")
            with pytest.raises(ValueError, match="voxels per code|spatial axes"):
                decode_images(other, coded)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# With a model


@pytest.mark.parametrize("masked", [False, True])
def test_codes_and_model_are_enough(fit, tmp_path, masked):
    images = blobs(5, (13, 9), seed=1)
    mask = images > 3 if masked else None
    coded = encode_images(fit, images, layout=Layout(2, slice_axis=2), mask=mask)
    save_codes(tmp_path / "c.nii.gz", coded)
    found = decode_images(fit, load_codes(tmp_path / "c.nii.gz"))
    npt.assert_array_equal(found, fit.predict(images, mask=mask))


def test_codes_of_another_model_are_refused(fit):
    coded = encode_images(fit, blobs(2, (12, 10)), layout=Layout(2, slice_axis=2))
    check_model(fit, coded)
    other = fit_to(blobs(16, (12, 10), seed=3))
    assert codebook_fingerprint(other) != codebook_fingerprint(fit)
    with pytest.raises(ValueError, match="another model: its codebook"):
        decode_images(other, coded)
    for changes, match in (
        ({"n_codes": 9}, "9 codes in the codebook, this one 8"),
        ({"downsampling": (2, 4)}, "voxels per code"),
        ({"layout": Layout(3)}, "3 spatial axes, this one 2"),
    ):
        with pytest.raises(ValueError, match=match):
            check_model(fit, replace(coded, **changes))

"""Image files that cannot be used: one line each, naming the file."""

import gzip
from pathlib import Path
import struct

import nibabel as nib
import numpy as np
import pytest

from dipy_vqvae.data import read_image


def save_nifti(path, data):
    nib.save(nib.Nifti1Image(data, np.eye(4), dtype=data.dtype), path)
    return path


def save_idx(path, data):
    header = bytes([0, 0, 8, data.ndim]) + struct.pack(f">{data.ndim}I", *data.shape)
    Path(path).write_bytes(gzip.compress(header + data.astype(np.uint8).tobytes()))
    return path


def ramp(shape, dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def nifti_bytes(data, path):
    return save_nifti(path, data).read_bytes()


class TestBadFiles:
    """Each error is one line that begins with the file."""

    def check(self, path, message, error=ValueError):
        with pytest.raises(error, match=message) as caught:
            read_image(path)
        text = str(caught.value)
        assert text.startswith(f"{path}: "), text
        assert "\n" not in text
        return caught.value

    @pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
    def test_text_named_nifti(self, tmp_path, name):
        path = tmp_path / name
        path.write_text("This is no image.\n" * 100)
        self.check(path, "not a NIfTI file")
        path.write_bytes(b"")
        self.check(path, "not a NIfTI file, it is empty")

    def test_truncated_gzip(self, tmp_path):
        data = np.random.default_rng(0).normal(size=(9, 9, 9))
        whole = nifti_bytes(data, tmp_path / "whole.nii.gz")
        path = tmp_path / "x.nii.gz"
        for size in (10, 50, len(whole) // 2, len(whole) - 20, len(whole) - 2):
            path.write_bytes(whole[:size])
            self.check(path, "gzip data are damaged or cut short")

    def test_damaged_gzip(self, tmp_path):
        data = np.random.default_rng(0).normal(size=(9, 9, 9))
        whole = bytearray(nifti_bytes(data, tmp_path / "whole.nii.gz"))
        path = tmp_path / "x.nii.gz"
        for position in range(400, len(whole), len(whole) // 9):
            damaged = whole.copy()
            damaged[position] ^= 0x10
            path.write_bytes(damaged)
            self.check(path, "gzip data are damaged")

    def test_truncated_plain(self, tmp_path):
        whole = nifti_bytes(ramp((9, 9, 9)), tmp_path / "whole.nii")
        path = tmp_path / "x.nii"
        path.write_bytes(whole[:-1])
        self.check(path, r"declares \(9, 9, 9\) voxels \(1458 bytes\), the file is too")
        path.write_bytes(whole[:200])
        self.check(path, "not a NIfTI file")
        path = tmp_path / "x.nii.gz"
        path.write_bytes(gzip.compress(whole[:-1]))
        self.check(path, "damaged or cut short.*Expected 1458 bytes, got 1457")

    def test_header_that_declares_terabytes(self, tmp_path):
        whole = bytearray(nifti_bytes(ramp((9, 9, 9)), tmp_path / "whole.nii"))
        whole[42:48] = struct.pack("<3h", 30000, 30000, 30000)
        path = tmp_path / "x.nii.gz"
        for content in (bytes(whole), gzip.compress(whole)):
            path.write_bytes(content)
            self.check(path, "the file is too short")

    def test_header_bytes_at_random(self, tmp_path):
        """Whatever the header says: an image, or an error of ours."""
        whole = nifti_bytes(ramp((3, 3, 3)), tmp_path / "whole.nii")
        rng = np.random.default_rng(0)
        path = tmp_path / "x.nii"
        for _ in range(300):
            content = bytearray(whole)
            for position in rng.integers(0, 352, size=3):
                content[position] = rng.integers(256)
            path.write_bytes(content)
            try:
                read_image(path)
            except (OSError, ValueError) as error:
                assert str(error).startswith(f"{path}: ")

    @pytest.mark.parametrize("shape", [(4,), (4, 5, 6, 2, 3), (4, 5, 6, 1, 3)])
    def test_number_of_axes(self, tmp_path, shape):
        path = save_nifti(tmp_path / "x.nii.gz", ramp(shape))
        self.check(path, f"has {len(shape)} axes")

    @pytest.mark.parametrize(
        ("dtype", "message"),
        [
            (np.complex64, "has complex64 values"),
            ([("R", "u1"), ("G", "u1"), ("B", "u1")], "has RGB values"),
        ],
    )
    def test_types(self, tmp_path, dtype, message):
        data = np.zeros((4, 5, 6), dtype)
        self.check(save_nifti(tmp_path / "x.nii", data), message)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("name", ["x.nii.gz", "x.npy"])
    def test_not_finite(self, tmp_path, value, name):
        data = np.zeros((4, 5, 6), np.float32)
        data[1, 2, 3] = data[3, 2, 1] = value
        path = tmp_path / name
        np.save(path, data) if name == "x.npy" else save_nifti(path, data)
        self.check(path, "has 2 NaN or Inf among 120 values")

    def test_affine_not_finite(self, tmp_path):
        affine = np.eye(4)
        affine[0, 3] = np.nan
        header = nib.Nifti1Header()
        header.set_sform(affine, code=1)
        nib.save(nib.Nifti1Image(ramp((3, 3, 3)), None, header), tmp_path / "x.nii")
        self.check(tmp_path / "x.nii", "affine has NaN")

    def test_affine_without_size(self, tmp_path):
        image = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
        image.to_filename(tmp_path / "x.nii")
        content = bytearray((tmp_path / "x.nii").read_bytes())
        content[280:292] = bytes(12)  # nothing of srow_x but its translation
        content[252:256] = b"\0\0\1\0"  # the sform counts
        (tmp_path / "x.nii").write_bytes(content)
        self.check(tmp_path / "x.nii", "no size along an axis")

    def test_voxels_inside_the_header(self, tmp_path):
        nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)).to_filename(
            tmp_path / "x.nii"
        )
        content = bytearray((tmp_path / "x.nii").read_bytes())
        content[108:112] = bytes(4)  # vox_offset
        (tmp_path / "x.nii").write_bytes(content)
        self.check(tmp_path / "x.nii", "begin at byte 0, inside the header")

    @pytest.mark.parametrize("shape", [(0, 28, 28), (3, 0, 4)])
    def test_empty(self, tmp_path, shape):
        np.save(tmp_path / "x.npy", np.zeros(shape))
        self.check(tmp_path / "x.npy", "is empty")
        save_idx(tmp_path / "x.idx", np.zeros(shape))
        self.check(tmp_path / "x.idx", "is empty")

    def test_empty_nifti(self, tmp_path):
        whole = bytearray(nifti_bytes(ramp((9, 9, 9)), tmp_path / "whole.nii"))
        whole[42:44] = b"\x00\x00"
        path = tmp_path / "x.nii"
        path.write_bytes(whole)
        self.check(path, "is empty")

    @pytest.mark.parametrize(
        "data",
        [
            np.array([{"a": 1}], dtype=object),
            np.array(["text"]),
            np.zeros(3, complex),
            np.zeros(3, [("a", "i4")]),
            np.zeros(3, "M8[s]"),
        ],
    )
    def test_npy_types(self, tmp_path, data):
        np.save(tmp_path / "x.npy", data, allow_pickle=True)
        self.check(tmp_path / "x.npy", "only real numbers|not a readable .npy")

    def test_npy_never_unpickles(self, tmp_path):
        path = tmp_path / "x.npy"
        path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        self.check(path, "not a readable .npy file")

    def test_npy_content(self, tmp_path):
        np.save(tmp_path / "whole.npy", ramp((9, 9, 9)))
        whole = (tmp_path / "whole.npy").read_bytes()
        path = tmp_path / "x.npy"
        huge = whole.replace(b"(9, 9, 9), }   ", b"(9999999, 9, 9)").replace(
            b"(9, 9, 9)", b"(9,9999999)"
        )
        for content in (b"", b"text", whole[:40], whole[:-1], huge):
            path.write_bytes(content)
            self.check(path, "not a readable .npy file")
        np.savez(tmp_path / "x.npz", a=ramp((9, 9)))
        (tmp_path / "x.npz").rename(path)
        self.check(path, "not a readable .npy file")

    def test_other_names(self, tmp_path):
        (tmp_path / "x.txt").write_text("text")
        self.check(tmp_path / "x.txt", "not an image file that is read here")

    def test_folder_and_missing(self, tmp_path):
        (tmp_path / "x.nii").mkdir()
        self.check(tmp_path / "x.nii", "is a folder", IsADirectoryError)
        self.check(tmp_path / "y.nii", "no such file", FileNotFoundError)

    @pytest.mark.parametrize("name", ["x.nii", "x.npy", "x.idx"])
    def test_unreadable(self, tmp_path, monkeypatch, name):
        path = tmp_path / name
        path.write_bytes(b"content")

        def refuse(file, *args, **kwargs):
            raise PermissionError(13, "Permission denied", str(file))

        # Not by chmod: who runs the tests may be allowed everything.
        monkeypatch.setattr("builtins.open", refuse)
        monkeypatch.setattr(np.lib.format, "open_memmap", refuse)
        self.check(path, r"cannot be read \(Permission denied\)", PermissionError)

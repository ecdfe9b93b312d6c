import errno
import os
import stat

import pytest

from dipy_vqvae.storage.atomic import atomic_write, remove_leftovers


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def enter(path):
    with atomic_write(path):
        pass


def test_writes_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "image.nii.gz"
    with atomic_write(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("image.nii.gz")
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["image.nii.gz"]


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1), OSError("bare")]
)
def test_failure_keeps_what_was_there(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_full_disk_names_the_target(tmp_path):
    target = tmp_path / "a.txt"
    with (
        pytest.raises(OSError, match=r"No space left.*a\.txt") as caught,
        atomic_write(str(target)) as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(caught.value).endswith("a.txt'")


def test_failed_renaming_names_the_target(tmp_path, monkeypatch):
    def forbidden(source, target):
        raise PermissionError(errno.EPERM, "Not permitted", source, None, target)

    monkeypatch.setattr(os, "replace", forbidden)
    with pytest.raises(PermissionError) as caught:
        enter(tmp_path / "a.txt")
    assert str(caught.value) == f"[Errno 1] Not permitted: '{tmp_path / 'a.txt'}'"
    assert names(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_devices_are_refused():
    with pytest.raises(OSError, match="Not a regular file: '/dev/full'"):
        enter("/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_bad_places(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere/a.txt"):
        enter(tmp_path / "nowhere" / "a.txt")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        enter(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="file/a.txt"):
        enter(tmp_path / "file" / "a.txt")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_write_protected(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    target.chmod(0o444)
    with pytest.raises(PermissionError, match="a.txt"):
        enter(target)
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match="b.txt"):
        enter(tmp_path / "b.txt")
    tmp_path.chmod(0o755)


def test_links_and_permissions_are_kept(tmp_path):
    real = tmp_path / "real.txt"
    real.write_text("old")
    real.chmod(0o640)
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink() and real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_new_files_follow_the_umask(tmp_path):
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_long_names(tmp_path):
    target = tmp_path / ("ü" * 120 + ".nii.gz")
    with atomic_write(target) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("x")
    assert target.read_text() == "x"


def test_leftovers_of_killed_writers(tmp_path):
    target = tmp_path / "run[1].ckpt"
    writer = atomic_write(target)
    leftover = writer.__enter__()
    (tmp_path / "run1.ckpt").write_text("other")
    (tmp_path / ".tmp-mine-run[1].ckpt").write_text("not ours")
    remove_leftovers(target)
    assert not leftover.exists()
    assert names(tmp_path) == [".tmp-mine-run[1].ckpt", "run1.ckpt"]
    assert not writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def test_the_temporary_name_ends_as_what_was_asked_for(tmp_path):
    # Writers go by the ending: nibabel would add one to a name without.
    (tmp_path / "real").write_text("old")
    link = tmp_path / "codes.nii.gz"
    link.symlink_to("real")
    with atomic_write(link) as temporary:
        assert temporary.name.endswith("-codes.nii.gz")
        assert temporary.parent == tmp_path
        temporary.write_text("new")
    assert link.is_symlink() and (tmp_path / "real").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes.nii.gz", "real"]


@pytest.fixture
def windows(monkeypatch):
    """Rules of Windows: a folder cannot be opened, fsync needs write access."""
    opened, flushed = {}, []
    real_open, real_fsync = os.open, os.fsync

    def open_file(path, flags, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        descriptor = real_open(path, flags, *args, **kwargs)
        opened[descriptor] = flags
        return descriptor

    def fsync(descriptor):
        if not opened[descriptor] & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flushed.append(descriptor)
        real_fsync(descriptor)

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "fsync", fsync)
    return flushed


def test_files_are_flushed_by_the_rules_of_windows(tmp_path, windows):
    target = tmp_path / "a.txt"
    for text in ("new", "newer"):
        with atomic_write(target) as temporary:
            temporary.write_text(text)
        assert target.read_text() == text
    assert len(windows) == 2
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="flushes folders")
def test_the_renaming_is_flushed_as_well(tmp_path, monkeypatch):
    is_folder = []
    monkeypatch.setattr(
        os, "fsync", lambda d: is_folder.append(stat.S_ISDIR(os.fstat(d).st_mode))
    )
    enter(tmp_path / "a.txt")
    assert is_folder == [False, True]

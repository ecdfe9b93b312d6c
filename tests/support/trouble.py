"""Making trouble for commands, and what must hold afterwards."""

PRECIOUS = "precious"


def fill(disk):
    """Use up all the space of a disk."""
    path = disk / "filler"
    size = 1 << 16
    with open(path, "ab", buffering=0) as stream:
        while size:
            try:
                stream.write(bytes(size))
            except OSError:
                size //= 2
    return path


def leave_something(folder, outputs):
    for output in outputs:
        (folder / output).write_text(PRECIOUS)


def assert_untouched(folder, outputs, *, others=()):
    found = {path.name for path in folder.iterdir()}
    assert found == {*outputs, *others}
    for output in outputs:
        assert (folder / output).read_text() == PRECIOUS


def error_line(name, err):
    (line,) = [line for line in err.splitlines() if ": error: " in line]
    assert line.startswith(f"{name}: error: ")
    assert "Traceback" not in err and "unexpected" not in err
    return line

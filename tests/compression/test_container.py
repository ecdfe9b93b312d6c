"""Files of compressed codes: fields, sections, checksum."""

import zlib

import pytest

from dipy_vqvae.compression import (
    FieldReader,
    deflate,
    inflate,
    is_packed,
    pack,
    unpack,
    write_number,
)
from dipy_vqvae.compression.container import MAGIC, VERSION


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**40, 2**62])
def test_numbers(number):
    out = bytearray()
    write_number(out, number)
    reader = FieldReader(bytes(out))
    assert reader.number() == number
    assert reader.is_at_end
    assert len(out) == max(1, -(-number.bit_length() // 7))


def test_fields_that_are_not_there():
    with pytest.raises(ValueError, match="3 bytes are missing"):
        FieldReader(b"ab").take(3)
    with pytest.raises(ValueError, match="at most 100 is allowed"):
        FieldReader(b"\x7f").number(at_most=100)
    with pytest.raises(ValueError, match="a number of"):
        FieldReader(b"\xff" * 20).number()


def test_unpacking_takes_no_more_memory_than_was_asked_for():
    content = deflate(bytes(10_000_000))
    assert inflate(content, 10_000_000) == bytes(10_000_000)
    for length in (9_999_999, 10_000_001):
        with pytest.raises(ValueError, match="are expected"):
            inflate(content, length)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        inflate(b"\xff" * 9, 5)
    assert inflate(deflate(b"a word", b"some words"), 6, b"some words") == b"a word"


def test_sections():
    sections = [b"", b"abc", bytes(300)]
    content = pack(sections)
    assert is_packed(content)
    assert unpack(content) == sections


def test_each_flipped_bit_and_each_cut_is_found():
    content = pack([b"abc", b"defg"])
    for i in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[i // 8] ^= 1 << i % 8
        with pytest.raises(ValueError, match="damaged|not compressed codes"):
            unpack(bytes(damaged))
    for stop in range(len(content)):
        with pytest.raises(ValueError, match="damaged|not compressed codes"):
            unpack(content[:stop])


def test_a_newer_version_says_so():
    body = MAGIC + bytes([VERSION + 1]) + b"what is not known yet"
    content = body + zlib.crc32(body).to_bytes(4, "little")
    with pytest.raises(ValueError, match="of format 2.*reads 1: install a newer"):
        unpack(content)

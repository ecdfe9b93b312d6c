"""Files of compressed codes: magic bytes, version, sections, checksum."""

import zlib

from dipy_vqvae._version import __version__
from dipy_vqvae.compression.fields import FieldReader, write_bytes

# A byte above 127 and a line end, as in PNG: a text transfer would show.
MAGIC = b"\x8bVQZ\n"
VERSION = 1
_CHECK = 4


def pack(sections):
    """Return sections of bytes as the content of a file."""
    out = bytearray(MAGIC)
    out.append(VERSION)
    for section in sections:
        write_bytes(out, section)
    return bytes(out + zlib.crc32(out).to_bytes(_CHECK, "little"))


def unpack(content):
    """Return the sections of a file.

    Raises
    ------
    ValueError
        If it is no such file, damaged, or of another version.
    """
    if not is_packed(content):
        raise ValueError(
            "not compressed codes: they begin with other bytes than those of "
            "dipy_compress_vqvae"
        )
    if len(content) <= len(MAGIC) + 1 + _CHECK:
        raise ValueError("damaged: the end is missing")
    body, check = content[:-_CHECK], content[-_CHECK:]
    version = content[len(MAGIC)]
    is_whole = zlib.crc32(body) == int.from_bytes(check, "little")
    if version > VERSION and is_whole:
        raise ValueError(
            f"of format {version}; this is dipy_vqvae {__version__}, which reads "
            f"{VERSION}: install a newer version"
        )
    if not is_whole or version != VERSION:
        raise ValueError("damaged: its checksum is not that of its content")
    reader = FieldReader(body[len(MAGIC) + 1 :])
    sections = []
    while not reader.is_at_end:
        sections.append(reader.bytes())
    return sections


def is_packed(content):
    """Return whether a file's first bytes are those of compressed codes."""
    return content[: len(MAGIC)] == MAGIC

"""Numbers and strings of bytes, one after the other."""

import zlib

# Seven bits a byte: more bytes are no number of a file.
_LONGEST_NUMBER = 9


def write_number(out, number):
    """Append a number to a bytearray: seven bits a byte, the lowest first."""
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def write_bytes(out, content):
    """Append the length of some bytes, and these."""
    write_number(out, len(content))
    out += content


class FieldReader:
    """Read fields from bytes; a field that is not there raises ValueError."""

    def __init__(self, content):
        self._content = content
        self._position = 0

    @property
    def is_at_end(self):
        """Whether all has been read."""
        return self._position == len(self._content)

    @property
    def rest(self):
        """What has not been read."""
        return self._content[self._position :]

    def take(self, n):
        """Return the next n bytes."""
        stop = self._position + n
        if stop > len(self._content):
            raise ValueError(f"{n} bytes are missing")
        part = self._content[self._position : stop]
        self._position = stop
        return part

    def number(self, at_most=1 << 62):
        """Read a number of :func:`write_number`."""
        number = 0
        for i in range(_LONGEST_NUMBER):
            (byte,) = self.take(1)
            number |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                break
        if byte >= 0x80 or number > at_most:
            raise ValueError(f"a number of {number}, at most {at_most} is allowed")
        return number

    def bytes(self):
        """Read bytes of :func:`write_bytes`."""
        return self.take(self.number())


def deflate(content, dictionary=b""):
    """Compress bytes, without header and checksum.

    `dictionary` are bytes that are likely to occur; those at the end are cheapest.
    """
    stream = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=dictionary)
    return stream.compress(content) + stream.flush()


def inflate(content, length, dictionary=b""):
    """Return the `length` bytes that were compressed, and ask for no more memory."""
    stream = zlib.decompressobj(-15, zdict=dictionary)
    try:
        result = stream.decompress(content, length + 1)
    except zlib.error as error:
        raise ValueError(f"bytes that cannot be unpacked ({error})") from error
    if len(result) != length or not stream.eof or stream.unused_data:
        raise ValueError(f"{len(result)} bytes or more, {length} are expected")
    return result

"""LEB128 numbers: seven bits a byte, least significant first, in the shortest form."""

from __future__ import annotations

from .errors import DamagedFileError


def varint(value: int) -> bytes:
    """The bytes of a number >= 0."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes | memoryview, offset: int, most: int) -> tuple[int, int]:
    """The number at an offset, in at most `most` bytes, and the offset after it.

    Raises DamagedFileError where it is cut short, too long, or not in its shortest form.
    """
    value = 0
    for i in range(most):
        if offset + i >= len(data):
            raise DamagedFileError("the file ends inside its header")
        byte = data[offset + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if byte == 0 and i > 0:
                raise DamagedFileError("a number in the header is not in its shortest form")
            return value, offset + i + 1
    raise DamagedFileError("a number in the header is too long")

"""Reading and writing the container of an .aei file, draft version 0 (docs/FORMAT.md).

offset  bytes  field
0       4      signature AE 61 65 69 (0xAE, then "aei" in ASCII)
4       1      version in the upper four bits, flags in the lower four
5       4      model fingerprint
9       1      gain index
10      1..3   width - 1, LEB128
..      1..3   height - 1, LEB128
..      ..     payload, to four bytes before the end
last 4  4      CRC-32 (as in zlib) of all bytes before it, little-endian
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from .errors import DamagedFileError, NotAnAeiFileError, UnsupportedError

SIGNATURE = b"\xaeaei"
VERSION = 0
MAX_SIDE = 2048  # until tiles exist
FLAG_GREY = 1
FLAG_CODE_ALL = 2
KNOWN_FLAGS = FLAG_GREY | FLAG_CODE_ALL
FIXED = 10  # bytes before the dimensions
CRC_BYTES = 4
MAX_VARINT_BYTES = 3


@dataclass(frozen=True)
class Header:
    """What a file says before its payload.

    width, height: pixels, 1..2048. gain_index: 0..255. model: 4 bytes, the fingerprint of the prior.
    grey: the image has one channel. code_all: symbols of the surest scales are coded, not skipped.
    """

    width: int
    height: int
    gain_index: int
    model: bytes
    grey: bool = False
    code_all: bool = False


def check_size(width: int, height: int) -> None:
    """Raise UnsupportedError unless both sides are 1..2048 pixels."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UnsupportedError(
            f"image of {width}x{height} pixels: this version handles 1 to {MAX_SIDE} pixels a side; "
            "scale or crop it first"
        )


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for i in range(MAX_VARINT_BYTES):
        if offset + i >= len(data):
            raise DamagedFileError("the file ends inside its header")
        byte = data[offset + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if byte == 0 and i > 0:
                raise DamagedFileError("a dimension in the header is not in its shortest form")
            return value, offset + i + 1
    raise DamagedFileError("a dimension in the header is too long")


def pack(header: Header, payload: bytes) -> bytes:
    """The bytes of a file. Raises UnsupportedError for a size out of range."""
    check_size(header.width, header.height)
    flags = FLAG_GREY * header.grey | FLAG_CODE_ALL * header.code_all
    body = b"".join(
        (
            SIGNATURE,
            bytes([VERSION << 4 | flags]),
            header.model,
            bytes([header.gain_index]),
            _varint(header.width - 1),
            _varint(header.height - 1),
            payload,
        )
    )
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


def _check_start(data: bytes) -> None:
    if not data:
        raise NotAnAeiFileError("the file is empty")
    if data[:4] != SIGNATURE[: len(data)]:
        raise NotAnAeiFileError("not an .aei file (wrong signature)")
    if len(data) < FIXED:
        raise DamagedFileError(f"the file is truncated after {len(data)} bytes")
    version = data[4] >> 4
    if version != VERSION:
        raise UnsupportedError(
            f"file format version {version}; this release reads version {VERSION}: update aei-codec"
        )


def parse_header(data: bytes) -> tuple[Header, int]:
    """Header and offset of the payload, from at least the first 16 bytes; the checksum is not looked at.

    Raises NotAnAeiFileError, DamagedFileError or UnsupportedError.
    """
    _check_start(data)
    width, offset = _read_varint(data, FIXED)
    height, offset = _read_varint(data, offset)
    check_size(width + 1, height + 1)
    flags = data[4] & 0x0F
    if flags & ~KNOWN_FLAGS:
        raise UnsupportedError(
            "the file uses features that this release does not know: update aei-codec"
        )
    header = Header(
        width=width + 1,
        height=height + 1,
        gain_index=data[9],
        model=bytes(data[5:9]),
        grey=bool(flags & FLAG_GREY),
        code_all=bool(flags & FLAG_CODE_ALL),
    )
    return header, offset


def parse(data: bytes) -> tuple[Header, bytes]:
    """Header and payload of a whole file, checked in the order signature, version, CRC, dimensions.

    Raises NotAnAeiFileError, DamagedFileError or UnsupportedError.
    """
    _check_start(data)
    crc = int.from_bytes(data[-CRC_BYTES:], "little")
    if len(data) < FIXED + CRC_BYTES or zlib.crc32(memoryview(data)[:-CRC_BYTES]) != crc:
        raise DamagedFileError("the checksum does not match: the file is truncated or damaged")
    header, offset = parse_header(data[:-CRC_BYTES])
    return header, data[offset:-CRC_BYTES]

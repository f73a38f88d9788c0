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
from dataclasses import dataclass, field

from .errors import DamagedFileError, NotAnAeiFileError, UnsupportedError
from .sections import ALPHA, pack_sections, read_sections
from .varint import read_varint, varint

SIGNATURE = b"\xaeaei"
VERSION = 0
MAX_SIDE = 2048  # until tiles exist
FLAG_GREY = 1
FLAG_CODE_ALL = 2
FLAG_SECTIONS = 4
FLAG_ALPHA = 8
FIXED = 10  # bytes before the dimensions
CRC_BYTES = 4
MAX_VARINT_BYTES = 3


@dataclass(frozen=True)
class Header:
    """What a file says before its payload.

    width, height: pixels, 1..2048. gain_index: 0..255. model: 4 bytes, the fingerprint of the prior.
    grey: the image has one colour channel. alpha: it has an alpha channel, opaque unless there is a section.
    code_all: symbols of the surest scales are coded, not skipped.
    """

    width: int
    height: int
    gain_index: int
    model: bytes
    grey: bool = False
    alpha: bool = False
    code_all: bool = False

    @property
    def mode(self) -> str:
        """Pillow's name of the image mode: L, LA, RGB or RGBA."""
        return ("L" if self.grey else "RGB") + ("A" if self.alpha else "")


@dataclass(frozen=True)
class Contents:
    """A file taken apart. sections: content by type (see sections.py)."""

    header: Header
    payload: bytes
    sections: dict[int, bytes] = field(default_factory=dict)


def check_size(width: int, height: int) -> None:
    """Raise UnsupportedError unless both sides are 1..2048 pixels."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UnsupportedError(
            f"image of {width}x{height} pixels: this version handles 1 to {MAX_SIDE} pixels a side; "
            "scale or crop it first"
        )


def pack(header: Header, payload: bytes, sections: dict[int, bytes] | None = None) -> bytes:
    """The bytes of a file. Raises UnsupportedError for a size out of range."""
    check_size(header.width, header.height)
    flags = (
        FLAG_GREY * header.grey
        | FLAG_CODE_ALL * header.code_all
        | FLAG_SECTIONS * bool(sections)
        | FLAG_ALPHA * header.alpha
    )
    body = b"".join(
        (
            SIGNATURE,
            bytes([VERSION << 4 | flags]),
            header.model,
            bytes([header.gain_index]),
            varint(header.width - 1),
            varint(header.height - 1),
            pack_sections(sections) if sections else b"",
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
    """Header, and offset of what follows it, from at least the first 16 bytes; the checksum is not
    looked at.

    Raises NotAnAeiFileError, DamagedFileError or UnsupportedError.
    """
    _check_start(data)
    width, offset = read_varint(data, FIXED, MAX_VARINT_BYTES)
    height, offset = read_varint(data, offset, MAX_VARINT_BYTES)
    check_size(width + 1, height + 1)
    flags = data[4] & 0x0F
    header = Header(
        width=width + 1,
        height=height + 1,
        gain_index=data[9],
        model=bytes(data[5:9]),
        grey=bool(flags & FLAG_GREY),
        alpha=bool(flags & FLAG_ALPHA),
        code_all=bool(flags & FLAG_CODE_ALL),
    )
    return header, offset


def parse(data: bytes) -> Contents:
    """A whole file, checked in the order signature, version, CRC, dimensions, sections.

    Raises NotAnAeiFileError, DamagedFileError or UnsupportedError.
    """
    _check_start(data)
    crc = int.from_bytes(data[-CRC_BYTES:], "little")
    if len(data) < FIXED + CRC_BYTES or zlib.crc32(memoryview(data)[:-CRC_BYTES]) != crc:
        raise DamagedFileError("the checksum does not match: the file is truncated or damaged")
    body = data[:-CRC_BYTES]
    header, offset = parse_header(body)
    sections: dict[int, bytes] = {}
    if data[4] & FLAG_SECTIONS:
        sections, offset = read_sections(body, offset)
    if ALPHA in sections and not header.alpha:
        raise DamagedFileError("the file has an alpha section but no alpha channel")
    return Contents(header, body[offset:], sections)

"""Reading and writing the container of an .aei file (docs/format/specification.md, section 1).

offset  bytes  field
0       4      signature AE 61 65 69 (0xAE, then "aei" in ASCII)
4       1      version in the upper three bits, flags in the lower five
5       4      model fingerprint
9       1      gain index
10      1..3   width - 1, LEB128
..      1..3   height - 1, LEB128
..      ..     sections, if flagged
..      ..     plain: payload. tiled: tile table
last 4  4      CRC-32 (as in zlib) of all bytes before it, little-endian; tiled: the tiles follow it
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

from .errors import DamagedFileError, NotAnAeiFileError, UnsupportedError
from .limits import DEFAULT_LIMITS, Limits
from .sections import ALPHA, pack_sections, read_sections
from .tiles import Box, Entry, pack_table, read_table, tile_boxes
from .varint import read_varint, varint

SIGNATURE = b"\xaeaei"
VERSION = 1
FLAG_GREY = 1
FLAG_CODE_ALL = 2
FLAG_SECTIONS = 4
FLAG_ALPHA = 8
FLAG_TILED = 16
FLAGS = 0x1F
FIXED = 10  # bytes before the dimensions
CRC_BYTES = 4
MAX_VARINT_BYTES = 3
MAX_SIDE = 1 << 7 * MAX_VARINT_BYTES
MAX_PLAIN_SIDE = 2048  # larger images are tiled
HEAD_BYTES = FIXED + 2 * MAX_VARINT_BYTES  # enough for parse_header


@dataclass(frozen=True)
class Header:
    """What a file says first.

    width, height: pixels, 1..2^21. gain_index: 0..255. model: 4 bytes, the fingerprint of the
    prior. grey: the image has one colour channel. alpha: it has an alpha channel. tiled: it is cut
    into tiles.
    """

    width: int
    height: int
    gain_index: int
    model: bytes
    grey: bool = False
    alpha: bool = False
    tiled: bool = False

    @property
    def mode(self) -> str:
        """Pillow's name of the image mode: L, LA, RGB or RGBA."""
        return ("L" if self.grey else "RGB") + ("A" if self.alpha else "")


@dataclass(frozen=True)
class Contents:
    """A file taken apart.

    data: the whole file. boxes, entries: the tiles and where their bytes are; a plain file has one.
    side: of the tiles, 0 for a plain file. sections: content by type (see sections.py).
    """

    header: Header
    data: memoryview
    boxes: list[Box]
    entries: list[Entry]
    side: int = 0
    sections: dict[int, bytes] = field(default_factory=dict)

    def tile(self, i: int) -> bytes:
        """The bytes of tile i. Raises DamagedFileError where they do not match their CRC."""
        entry = self.entries[i]
        content = bytes(self.data[entry.start : entry.end])
        if self.side and (
            len(content) != entry.end - entry.start or zlib.crc32(content) != entry.crc
        ):
            raise DamagedFileError(
                f"tile {i + 1} of {len(self.entries)} is truncated or damaged: "
                "its checksum does not match",
                reason="tiles",
            )
        return content


def check_size(width: int, height: int) -> None:
    """Raise UnsupportedError unless both sides are 1..2^21 pixels."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UnsupportedError(
            f"image of {width}x{height} pixels: sides from 1 to {MAX_SIDE} are possible"
        )


def pack(
    header: Header,
    tiles: list[tuple[bytes, bool]],
    sections: dict[int, bytes] | None = None,
    side: int = 0,
) -> bytes:
    """The bytes of a file.

    tiles: content of each tile and its flag `code_all`; one, and side 0, for a plain file.
    Raises UnsupportedError for a size out of range.
    """
    check_size(header.width, header.height)
    flags = (
        FLAG_GREY * header.grey
        | FLAG_SECTIONS * bool(sections)
        | FLAG_ALPHA * header.alpha
        | FLAG_TILED * bool(side)
    )
    if not side:
        flags |= FLAG_CODE_ALL * tiles[0][1]
    crcs = [zlib.crc32(content) for content, _ in tiles] if side else []
    head = b"".join(
        (
            SIGNATURE,
            bytes([VERSION << 5 | flags]),
            header.model,
            bytes([header.gain_index]),
            varint(header.width - 1),
            varint(header.height - 1),
            pack_sections(sections) if sections else b"",
            pack_table(side, tiles, crcs) if side else tiles[0][0],
        )
    )
    crc = zlib.crc32(head).to_bytes(CRC_BYTES, "little")
    return b"".join([head, crc, *(content for content, _ in tiles if side)])


def _check_start(data: bytes | memoryview) -> None:
    if not data:
        raise NotAnAeiFileError("the file is empty")
    if data[:4] != SIGNATURE[: len(data)]:
        raise NotAnAeiFileError("not an .aei file (wrong signature)")
    if len(data) < FIXED:
        raise DamagedFileError(f"the file is truncated after {len(data)} bytes")
    version = data[4] >> 5
    if version != VERSION:
        raise UnsupportedError(
            f"file format version {version}; this release reads version {VERSION}: "
            + (
                "update aei-codec"
                if version > VERSION
                else "drafts before it are not kept readable"
            )
        )


def parse_header(data: bytes | memoryview) -> tuple[Header, int]:
    """Header, and offset of what follows it, from at least the first 16 bytes; checksums are not
    looked at.

    Raises NotAnAeiFileError, DamagedFileError or UnsupportedError.
    """
    _check_start(data)
    width, offset = read_varint(data, FIXED, MAX_VARINT_BYTES)
    height, offset = read_varint(data, offset, MAX_VARINT_BYTES)
    flags = data[4] & FLAGS
    header = Header(
        width=width + 1,
        height=height + 1,
        gain_index=data[9],
        model=bytes(data[5:9]),
        grey=bool(flags & FLAG_GREY),
        alpha=bool(flags & FLAG_ALPHA),
        tiled=bool(flags & FLAG_TILED),
    )
    if not header.tiled and max(header.width, header.height) > MAX_PLAIN_SIDE:
        raise DamagedFileError(f"image of {header.width}x{header.height} pixels without tiles")
    return header, offset


def parse_start(data: bytes | memoryview) -> tuple[Header, dict[int, bytes]]:
    """Header and sections, from as much of the start of a file as holds them; checksums are not
    looked at.

    Raises as `parse_header` does, and DamagedFileError where the data end before the sections.
    """
    header, offset = parse_header(data)
    return header, _sections(memoryview(data).cast("B"), offset)[0]


def parse(data: bytes | memoryview, limits: Limits = DEFAULT_LIMITS) -> Contents:
    """A whole file, checked in the order signature, version, CRC, dimensions, limits, sections,
    tiles; of a tiled file, whose CRC lies behind the table of tiles, dimensions and limits come
    first.

    Of a tiled file the CRCs of the tiles are left to `Contents.tile`, and bytes may be missing at
    the end: so a part of it can be decoded by reading that part only. `limits`: pixels are checked
    here. Raises NotAnAeiFileError, DamagedFileError, UnsupportedError or LimitError.
    """
    data = memoryview(data).cast("B")
    _check_start(data)
    tiled = data[4] & FLAG_TILED
    if not tiled:
        _check_crc(data, len(data) - CRC_BYTES)
        header, offset = parse_header(data[:-CRC_BYTES])
        limits.check_pixels(header.width, header.height)
        sections, offset = _sections(data[:-CRC_BYTES], offset)
        code_all = bool(data[4] & FLAG_CODE_ALL)
        entries = [Entry(offset, len(data) - CRC_BYTES, 0, code_all)]
        boxes = [Box(0, 0, header.width, header.height)]
        contents = Contents(header, data, boxes, entries, 0, sections)
    else:
        # Where the CRC lies is known only after the table: it is checked before anything is
        # believed.
        header, offset = parse_header(data)
        # but the size, by which the table's length is bounded
        limits.check_pixels(header.width, header.height)
        sections, offset = _sections(data, offset)
        side, entries, offset = read_table(data, offset, header.width, header.height)
        _check_crc(data, offset)
        offset += CRC_BYTES
        entries = [replace(e, start=e.start + offset, end=e.end + offset) for e in entries]
        if len(data) > entries[-1].end:
            raise DamagedFileError("there are bytes after the last tile")
        if data[4] & FLAG_CODE_ALL or ALPHA in sections:
            raise DamagedFileError("a tiled file says per tile what this one says of the whole")
        boxes = tile_boxes(header.width, header.height, side)
        contents = Contents(header, data, boxes, entries, side, sections)
    if ALPHA in sections and not header.alpha:
        raise DamagedFileError("the file has an alpha section but no alpha channel")
    return contents


def _check_crc(data: memoryview, offset: int) -> None:
    crc = int.from_bytes(data[offset : offset + CRC_BYTES], "little")
    if offset < FIXED or offset + CRC_BYTES > len(data) or zlib.crc32(data[:offset]) != crc:
        raise DamagedFileError("the checksum does not match: the file is truncated or damaged")


def _sections(data: memoryview, offset: int) -> tuple[dict[int, bytes], int]:
    if data[4] & FLAG_SECTIONS:
        return read_sections(data, offset)
    return {}, offset

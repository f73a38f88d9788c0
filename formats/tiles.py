"""Tiles of large images: where they lie, and the table that says where their bytes are.

A tile table is: side / 64 - 1 in one byte, then for each tile, row by row, its length times two
plus the flag `code_all` as LEB128, and the CRC-32 of its bytes, little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import DamagedFileError
from .varint import read_varint, varint

UNIT = 64  # sides of tiles are multiples of the hyper-latents' stride
DEFAULT_SIDE = 1024
MAX_SIDE = 256 * UNIT
CRC_BYTES = 4
ENTRY_BYTES = 1 + CRC_BYTES  # at least
MAX_LENGTH_BYTES = 5


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels (or of latents): left, top, width, height."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom), as Pillow names rectangles."""
        return (self.left, self.top, self.right, self.bottom)

    def intersection(self, other: Box) -> Box:
        """What both cover; without area where they do not meet."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(left, top, max(0, right - left), max(0, bottom - top))

    def grown(self, margin: int, limit: Box) -> Box:
        """This box with a margin on all sides, within a limit."""
        wide = Box(
            self.left - margin,
            self.top - margin,
            self.width + 2 * margin,
            self.height + 2 * margin,
        )
        return wide.intersection(limit)

    def cells(self, side: int) -> Box:
        """The squares of a grid, so wide and high, that this box touches."""
        left, top = self.left // side, self.top // side
        return Box(left, top, -(-self.right // side) - left, -(-self.bottom // side) - top)

    def times(self, factor: int) -> Box:
        """This box in units that are so many times smaller: from cells to pixels."""
        return Box(factor * self.left, factor * self.top, factor * self.width, factor * self.height)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, outer: Box) -> tuple[slice, slice]:
        """Its rows and columns in an array that covers `outer`, which holds it."""
        top, left = self.top - outer.top, self.left - outer.left
        return slice(top, top + self.height), slice(left, left + self.width)


@dataclass(frozen=True)
class Entry:
    """Where a tile's bytes lie in the file, their CRC-32, and whether all its symbols are coded."""

    start: int
    end: int
    crc: int
    code_all: bool


def tile_boxes(width: int, height: int, side: int) -> list[Box]:
    """The tiles of an image, row by row; those at the right and bottom are cut off at its sides."""
    image = Box(0, 0, width, height)
    return [
        Box(left, top, side, side).intersection(image)
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def tiles_touching(box: Box, width: int, side: int) -> list[int]:
    """Indexes of the tiles that a box within the image touches, row by row."""
    columns = -(-width // side)
    return [
        row * columns + column
        for row in range(box.top // side, -(-box.bottom // side))
        for column in range(box.left // side, -(-box.right // side))
    ]


def tile_count(width: int, height: int, side: int) -> int:
    return -(-width // side) * -(-height // side)


def pack_table(side: int, tiles: list[tuple[bytes, bool]], crcs: list[int]) -> bytes:
    """The bytes of a tile table. tiles: content and `code_all` of each."""
    parts = [bytes([side // UNIT - 1])]
    for (content, code_all), crc in zip(tiles, crcs):
        parts += [varint(len(content) << 1 | code_all), crc.to_bytes(CRC_BYTES, "little")]
    return b"".join(parts)


def read_table(
    data: bytes | memoryview, offset: int, width: int, height: int
) -> tuple[int, list[Entry], int]:
    """Side, entries relative to the end of the table, and the offset after it.

    Raises DamagedFileError; never loops further than the data reaches.
    """
    if offset >= len(data):
        raise DamagedFileError("the file ends inside its tile table")
    side = (data[offset] + 1) * UNIT
    offset += 1
    count = tile_count(width, height, side)
    if count > (len(data) - offset) // ENTRY_BYTES:
        raise DamagedFileError("the tile table is longer than the file")
    entries, start = [], 0
    for _ in range(count):
        number, offset = read_varint(data, offset, MAX_LENGTH_BYTES)
        if offset + CRC_BYTES > len(data):
            raise DamagedFileError("the file ends inside its tile table")
        crc = int.from_bytes(data[offset : offset + CRC_BYTES], "little")
        offset += CRC_BYTES
        end = start + (number >> 1)
        entries.append(Entry(start, end, crc, bool(number & 1)))
        start = end
    return side, entries, offset

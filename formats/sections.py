"""Optional typed sections of a file: metadata, the alpha plane, the post-filter and the preview
(docs/format/specification.md, section 1).

A section list is: type byte, length as LEB128, content; ended by a zero byte. Types up to 127 may
be skipped by a decoder that does not know them, types from 128 on may not.
"""

from __future__ import annotations

import zlib

from .errors import DamagedFileError, UnsupportedError
from .varint import read_varint, varint

END, ICC, EXIF, XMP, ALPHA = range(5)
FILTER = 6  # 5 was a filter in floats, which is skipped
PREVIEW = 7
METADATA = {"icc_profile": ICC, "exif": EXIF, "xmp": XMP}
NAMES = METADATA | {"alpha": ALPHA, "filter": FILTER, "preview": PREVIEW}
KNOWN = frozenset(NAMES.values())
CRITICAL = 128
MAX_LENGTH_BYTES = 4


def pack_sections(sections: dict[int, bytes]) -> bytes:
    """The bytes of a section list, in the order of the types."""
    parts = []
    for kind, content in sorted(sections.items()):
        parts += [bytes([kind]), varint(len(content)), content]
    return b"".join([*parts, bytes([END])])


def read_sections(data: bytes | memoryview, offset: int) -> tuple[dict[int, bytes], int]:
    """Sections by type, unknown ones that may be skipped left out, and the offset after the list.

    Raises DamagedFileError where the list is cut short, not in ascending order or repeats a type,
    and UnsupportedError for a type that may not be skipped.
    """
    sections: dict[int, bytes] = {}
    last = END
    while True:
        if offset >= len(data):
            raise DamagedFileError("the file ends inside its sections")
        kind = data[offset]
        if kind == END:
            return sections, offset + 1
        if kind <= last:
            raise DamagedFileError("the file's sections are out of order")
        if kind >= CRITICAL:
            raise UnsupportedError(
                "the file uses features that this release does not know: update aei-codec"
            )
        last = kind
        length, offset = read_varint(data, offset + 1, MAX_LENGTH_BYTES)
        if length > len(data) - offset:
            raise DamagedFileError("a section is longer than the file")
        if kind in KNOWN:
            sections[kind] = bytes(data[offset : offset + length])
        offset += length


def deflate(content: bytes, dictionary: bytes = b"") -> bytes:
    """A zlib stream, with a preset dictionary where that makes it shorter."""
    plain = zlib.compress(content, 9)
    if not dictionary:
        return plain
    stream = zlib.compressobj(9, zdict=dictionary)
    return min(stream.compress(content) + stream.flush(), plain, key=len)


def inflate(content: bytes, most: int, dictionary: bytes = b"") -> bytes:
    """The content of a zlib stream of at most `most` bytes; stops reading there. dictionary: the
    one that a stream may name.

    Raises DamagedFileError where the stream is damaged, longer, or followed by other bytes.
    """
    stream = zlib.decompressobj(zdict=dictionary)
    try:
        out = stream.decompress(content, most + 1)
    except zlib.error:
        raise DamagedFileError("a section of the file is damaged") from None
    if len(out) > most or not stream.eof or stream.unused_data:
        raise DamagedFileError("a section of the file is longer than it may be, or cut short")
    return out

"""How many bytes of a file are the coded picture: what is left without headers and tables."""

from __future__ import annotations


def jpeg(data: bytes) -> int:
    """Bytes of the entropy-coded segments: what stands between each SOS header and the next
    marker."""
    total, i = 0, 2
    while i + 4 <= len(data):
        marker = data[i + 1]
        length = int.from_bytes(data[i + 2 : i + 4], "big")
        i += 2 + length
        if marker == 0xDA:
            start = i
            while data[i] != 0xFF or data[i + 1] == 0 or 0xD0 <= data[i + 1] <= 0xD7:
                i += 1
            total += i - start
        if data[i + 1] == 0xD9:
            break
    return total


def riff(data: bytes) -> int:
    """Bytes of WebP's VP8 or VP8L chunk."""
    i = 12
    while i + 8 <= len(data):
        size = int.from_bytes(data[i + 4 : i + 8], "little")
        if data[i : i + 4] in (b"VP8 ", b"VP8L"):
            return size
        i += 8 + size + size % 2
    return len(data)


def mdat(data: bytes) -> int:
    """Bytes inside the `mdat` boxes of AVIF and HEIC."""
    return _boxes(data, b"mdat")


def jpeg2000(data: bytes) -> int:
    """Bytes of the packets of a JP2 file's code stream: between each SOD marker and the end of its
    tile part (ISO/IEC 15444-1, annex A), for code streams that state the length of every tile
    part."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0:
        return len(data)
    i, total = start + 2, 0
    while data[i : i + 2] != b"\xff\xd9" and i + 4 <= len(data):
        length = int.from_bytes(data[i + 2 : i + 4], "big")
        if data[i : i + 2] != b"\xff\x90":  # a segment of the main header
            i += 2 + length
            continue
        part = int.from_bytes(data[i + 6 : i + 10], "big") or len(data) - 2 - i
        body = data.find(b"\xff\x93", i, i + part)
        total += i + part - body - 2
        i += part
    return total


def png(data: bytes) -> int:
    """Bytes inside PNG's IDAT chunks."""
    total, i = 0, 8
    while i + 8 <= len(data):
        size = int.from_bytes(data[i : i + 4], "big")
        total += size if data[i + 4 : i + 8] == b"IDAT" else 0
        i += 12 + size
    return total


def aei(data: bytes) -> int:
    """Bytes of the entropy-coded part of an .aei file."""
    from ...formats import parse

    return sum(entry.end - entry.start for entry in parse(data).entries)


def _boxes(data: bytes, kind: bytes) -> int:
    total, i = 0, 0
    while i + 8 <= len(data):
        size = int.from_bytes(data[i : i + 4], "big") or len(data) - i
        header = 8
        if size == 1:
            size, header = int.from_bytes(data[i + 8 : i + 16], "big"), 16
        if data[i + 4 : i + 8] == kind:
            total += size - header
        i += max(size, 8)
    return total

"""PNG files, by several threads and without Pillow, whose loading takes longer.

Each row is what Paeth's filter leaves, coded by Huffman codes and runs, without a search for what
was there before: in what a codec has made there is little to find. A strip of rows is coded by
itself, and the strips follow each other in the one stream that the format wants (RFC 1950 and 1951,
and the PNG specification, sections 9.4 and 10.1). Metadata goes where Pillow puts it: profile, XMP
as iTXt, Exif, before the pixels (sections 11.3.2, 11.3.3 and 11.3.4).
"""

from __future__ import annotations

import contextlib
import threading
import zlib

import numpy as np

from ..pixels.metadata import EXIF_PREFIX

MODES = ("L", "LA", "RGB", "RGBA")  # of Pillow: all 8 bits a sample
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels
XMP_KEYWORD = b"XML:com.adobe.xmp"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
STREAM = b"\x78\x01"  # how zlib's stream begins
PAETH = 4  # number of the filter
STRIP = 1 << 16  # bytes of a strip, about
ADLER = 65521


def file_of(pixels: np.ndarray, metadata: dict[str, bytes], threads: int = 1) -> bytes:
    """A PNG file. pixels: uint8 (H, W), or (H, W, C) with 2 channels, grey and alpha, 3 or 4.
    metadata: `icc_profile`, `exif` (with or without its prefix) and `xmp`, those there are."""
    height, width, *channels = pixels.shape
    colour_type = COLOUR_TYPES[channels[0] if channels else 1]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, colour_type, 0, 0, 0))
    parts = [SIGNATURE, _chunk(b"IHDR", header)]
    if profile := metadata.get("icc_profile"):
        parts.append(_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    if xmp := metadata.get("xmp"):
        text = xmp.decode("utf-8", "replace").encode()
        parts.append(_chunk(b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + text))
    if exif := metadata.get("exif"):
        parts.append(_chunk(b"eXIf", exif.removeprefix(EXIF_PREFIX)))
    return b"".join([*parts, *_pixels(pixels, threads), _chunk(b"IEND", b"")])


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([len(content).to_bytes(4, "big"), kind, content, crc.to_bytes(4, "big")])


def _pixels(pixels: np.ndarray, threads: int) -> list[bytes]:
    """The chunks of an image's pixels."""
    rows = pixels.reshape(len(pixels), -1)
    channels = rows.shape[1] // pixels.shape[1]
    step = max(1, STRIP // rows.shape[1])
    starts = range(0, len(rows), step)
    made: list[tuple[bytes, int, int] | None] = [None] * len(starts)

    def work(first: int, every: int) -> None:
        for i in range(first, len(starts), every):
            if made[i] is None:
                made[i] = _strip(rows, channels, starts[i], step)

    def help_out(first: int) -> None:
        with contextlib.suppress(MemoryError):  # what is left is made here
            work(first, threads)

    helpers = []
    threads = min(threads, len(starts))
    for k in range(1, threads):
        helper = threading.Thread(target=help_out, args=(k,), daemon=True)
        try:
            helper.start()
        except RuntimeError:  # no more threads
            break
        helpers.append(helper)
    work(0, threads)
    for helper in helpers:
        helper.join()
    work(0, 1)  # what is left
    low, high, chunks = 1, 0, []
    for strip in made:
        assert strip is not None
        chunk, check, size = strip
        # the checksum of one after the other: its halves are sums of the bytes, and of those sums
        high = (high + (check >> 16) + size * (low - 1)) % ADLER
        low = (low + (check & 0xFFFF) - 1) % ADLER
        chunks.append(chunk)
    return [*chunks, _chunk(b"IDAT", (high << 16 | low).to_bytes(4, "big"))]


def _strip(rows: np.ndarray, channels: int, top: int, count: int) -> tuple[bytes, int, int]:
    """A chunk of rows, uint8 (H, n), from `top` on, and the checksum and the number of the bytes
    that are coded in it."""
    left = filtered(rows, channels, top, count)
    coder = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_RLE)
    last = top + count >= len(rows)
    data = coder.compress(left.data) + coder.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
    return _chunk(b"IDAT", data if top else STREAM + data), zlib.adler32(left.data), left.size


def filtered(rows: np.ndarray, channels: int, top: int, count: int) -> np.ndarray:
    """What Paeth's filter leaves of `count` rows of uint8 (H, n), from `top` on, with its number
    before each: uint8 (count, 1 + n)."""
    part = rows[top : top + count]
    x = np.zeros((len(part) + 1, rows.shape[1] + channels), np.int16)
    x[1:, channels:] = part
    if top:
        x[0, channels:] = rows[top - 1]
    corner = x[:-1, :-channels]
    # From the corner above left: how far it is to each neighbour, hence how far the other one is
    # from left + above - corner.
    above, left = x[:-1, channels:] - corner, x[1:, :-channels] - corner
    far = above + left
    from_left, from_above, from_corner = np.abs(above), np.abs(left), np.abs(far, out=far)
    takes_left = from_left <= np.minimum(from_above, from_corner)
    takes_above = (from_above <= from_corner) & ~takes_left
    # products, which take a third of the time of np.where
    left *= takes_left
    above *= takes_above
    left += above
    left += corner
    out = np.empty((len(part), 1 + rows.shape[1]), np.uint8)
    out[:, 0] = PAETH
    np.subtract(x[1:, channels:], left, out=out[:, 1:], casting="unsafe")  # modulo 256
    return out

"""Whether files are whole: every checksum, and every payload to the check at its end; and whether
what was just written is what was meant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats import AeiError, Contents, DamagedFileError, Header, Limits, parse
from ...formats.plane import decode_plane
from ...formats.sections import ALPHA
from ...formats.tiles import Box
from .. import preview
from ..api import Codec
from ..decoder import latents
from ..pixels.images import Picture, to_picture
from ..pixels.quality import MAX_PSNR
from ..pixels.side_channels import alpha_span, read_metadata
from ..settings import EncodeSettings
from ..windows import filter_of

if TYPE_CHECKING:
    from PIL import Image

# A file of one's own may be as large as can be written: it is checked a tile at a time.
LIMITS = Limits(pixels=1 << 42)
OWN = Limits(pixels=1 << 42, memory=1 << 42)  # of what was encoded here, a moment ago
ROWS = 256  # that are compared at once
MOST_NAMED = 10  # tiles, in a message


def verify_data(
    data: bytes | memoryview,
    codec: Codec,
    *,
    quick: bool = False,
    limits: Limits = LIMITS,
    progress: Callable[[int, int], None] | None = None,
) -> Header:
    """Check a whole .aei file in memory, a tile at a time; its header.

    What is checked: the checksums of the file and of all its tiles, that metadata, alpha and
    post-filter can be read, and that each tile's payload, and the preview's, decodes to latents
    that pass their check and take exactly these bytes. quick: the checksums alone. progress: told
    the pixels that are done, and all of them. Raises NotAnAeiFileError, DamagedFileError,
    UnsupportedError, LimitError or UnknownModelError.
    """
    contents = parse(data, limits)
    _check_tiles(contents)
    header = contents.header
    if quick:
        return header
    read_metadata(contents.sections, limits)
    filter_of(contents)
    small = preview.contents_of(header, contents.sections)
    if small is not None:
        _check_payloads(codec, small, limits, None)
    _check_payloads(codec, contents, limits, progress)
    return header


def facts_of(data: bytes, header: Header) -> dict[str, Any]:
    """What a manifest says of a whole file."""
    return {
        "status": "good",
        "bytes_in": len(data),
        "bytes_out": len(data),
        "width": header.width,
        "height": header.height,
        "gain_index": header.gain_index,
        "file_sha256": hashlib.sha256(data).hexdigest(),
    }


def _check_payloads(
    codec: Codec, contents: Contents, limits: Limits, progress: Callable[[int, int], None] | None
) -> None:
    """Decode every tile to its latents, and its alpha. Raises AeiError."""
    header = contents.header
    done, total = 0, header.width * header.height
    for i, _ in enumerate(latents(codec.model_of_file(header), contents, limits)):
        box = contents.boxes[i]
        plane = _alpha_of(contents, i)
        if plane:
            decode_plane(plane, box.width, box.height)
        done += box.width * box.height
        if progress is not None:
            progress(done, total)


def _check_tiles(contents: Contents) -> None:
    """Raise DamagedFileError where tiles do not match their checksums, and name them."""
    bad = []
    for i in range(len(contents.entries)):
        try:
            contents.tile(i)
        except DamagedFileError:
            bad.append(i + 1)
    if bad:
        named = ", ".join(map(str, bad[:MOST_NAMED])) + ", ..." * (len(bad) > MOST_NAMED)
        raise DamagedFileError(
            f"{len(bad)} of {len(contents.entries)} tiles are truncated or damaged ({named}): "
            "their checksums do not match"
        )


def _alpha_of(contents: Contents, i: int) -> bytes:
    """The coded alpha plane of a tile; empty where it has none."""
    if not contents.side:
        return contents.sections.get(ALPHA, b"")
    if not contents.header.alpha:
        return b""
    content = contents.tile(i)
    return content[slice(*alpha_span(content))]


def check_written(
    written: bytes,
    meant: bytes,
    image: Image.Image,
    codec: Codec,
    settings: EncodeSettings,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Compare what was read back from the disk with what was to be written, and with the image.

    The bytes have to be those that the encoder made (which has compared the latents of each tile
    with those it coded, where the settings say `verify`). They have to decode whole, to pixels of
    the image's size and mode, with exactly its alpha, and to hold exactly its metadata. Colours are
    measured, not judged: returns {"psnr": dB}. progress: as of Codec.decode. Raises
    DamagedFileError.
    """
    if written != meant:
        raise DamagedFileError("what was read back from the disk is not what was written")
    try:
        back = codec.decode(written, limits=OWN, progress=progress)
        metadata = read_metadata(parse(written, OWN).sections, OWN)
    except AeiError as error:
        raise DamagedFileError(f"what was written does not decode ({error})") from None
    picture = to_picture(image, settings.metadata)
    shown = Picture(back)
    if shown.size != picture.size or shown.channels != picture.channels:
        raise DamagedFileError("what was written has another size or mode than the image")
    if metadata != picture.metadata:
        raise DamagedFileError("what was written has other metadata than the image")
    return {"psnr": round(_compared(picture, shown), 3)}


def _compared(picture: Picture, shown: Picture) -> float:
    """The PSNR of what is seen, in dB. Raises DamagedFileError where alpha is not the same."""
    width, height = picture.size
    squares, count = 0.0, 0
    for top in range(0, height, ROWS):
        box = Box(0, top, width, min(ROWS, height - top))
        (a, alpha), (b, beside) = picture.read(box), shown.read(box)
        if alpha is not None and beside is not None:
            if not np.array_equal(alpha, beside):
                raise DamagedFileError("what was written has another alpha than the image")
            a, b = a[alpha > 0], b[alpha > 0]
        squares += float(np.square(a.astype(np.float32) - b).sum(dtype=np.float64))
        count += a.size
    if not squares:
        return MAX_PSNR
    return min(MAX_PSNR, float(10 * np.log10(255.0**2 * count / squares)))

"""The preview inside a file: a small .aei file of the whole picture, in a section of its own
(docs/format/specification.md, section 1), so that a thumbnail needs neither the tiles nor most of
the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..formats import AeiError, Contents, Header, Limits, UnsupportedError, parse
from ..formats.container import parse_start
from ..formats.limits import DEFAULT_LIMITS
from ..formats.sections import ALPHA, PREVIEW
from ..formats.tiles import Box
from .pixels.images import Picture, joined
from .reading import as_data, read_start
from .settings import EncodeSettings, is_number

if TYPE_CHECKING:
    from PIL import Image

SIDES = 320, 256, 160  # pixels on the longer side; the next where one takes too many bytes
LEAST_PIXELS = 2_000_000  # of pictures that get one by default
SHARE = 1 / 200  # of the bytes of the tiles
BEST, LEAST = 75, 20  # its quality, 1..100
TRIES = 4
BITS_PER_INDEX = 0.015  # by how much files grow from one gain index to the next, about
STRIP_PIXELS = 1 << 22  # of a picture that are reduced at once
# What a decoder takes: a file that says more has no preview.
MOST_SIDE, MOST_BYTES = 512, 1 << 18
START_BYTES = 1 << 16  # of a file, in which header, metadata and preview mostly are


# -- writing --------------------------------------------------------------------------------------


def is_wanted(settings: EncodeSettings, size: tuple[int, int]) -> bool:
    """Whether a picture of a size (width, height) is to have a preview."""
    if settings.preview is None:
        return size[0] * size[1] > LEAST_PIXELS
    return settings.preview and max(size) > SIDES[0]


def fitting(
    encode: Callable[[int], bytes], best: int, least: int, most: float | None
) -> bytes | None:
    """The best preview of at most `most` bytes (None: of any size, if need be), by `encode`, which
    makes one at a gain index from `least` to `best`; None where none fits."""
    from math import ceil, log

    index = best
    for _ in range(TRIES):
        data = encode(index)
        if most is None or len(data) <= most:
            return data
        if index == least:
            return None
        index = max(least, index - max(4, ceil(log(len(data) / most) / BITS_PER_INDEX)))
    data = encode(least)
    return data if most is None or len(data) <= most else None


def small_picture(picture: Picture, side: int) -> Picture:
    """A picture at `side` pixels on its longer side, of the same channels: means of squares, the
    colours' weighted by alpha, then Lanczos."""
    from PIL import Image

    width, height = picture.size
    factor = max(1, max(width, height) // (3 * side))
    rows = max(1, STRIP_PIXELS // (width * factor)) * factor
    parts = []
    for top in range(0, height, rows):
        colour, alpha = picture.read(Box(0, top, width, min(rows, height - top)))
        colour = colour[..., 0] if colour.shape[2] == 1 else colour
        parts.append((top // factor, joined(colour, alpha, factor)))
    reduced = Image.new(parts[0][1].mode, (parts[0][1].width, -(-height // factor)))
    for top, part in parts:
        reduced.paste(part, (0, top))
    scale = side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # the last squares may reach over the picture's sides
    box = (0, 0, width / factor, height / factor)
    return Picture(reduced.resize(size, Image.Resampling.LANCZOS, box))


# -- reading --------------------------------------------------------------------------------------


def contents_of(header: Header, sections: dict[int, bytes]) -> Contents | None:
    """The preview of a file with this header and these sections, taken apart; None where it has
    none that can be used."""
    data = sections.get(PREVIEW)
    if data is None or len(data) > MOST_BYTES:
        return None
    try:
        small = parse(data, Limits(pixels=MOST_SIDE**2))
    except AeiError:
        return None
    size = small.header.width, small.header.height
    sound = (
        small.header.model == header.model
        and small.header.mode == header.mode
        and not small.side
        and not small.sections.keys() - {ALPHA}
        and size[0] <= header.width
        and size[1] <= header.height
        and max(size) <= MOST_SIDE
        # the same picture: its proportions, to the pixel
        and abs(size[0] * header.height - size[1] * header.width)
        <= max(header.width, header.height)
    )
    return small if sound else None


def image_of(codec: Any, small: Contents | None, limits: Limits) -> Image.Image | None:
    """The picture of a preview, without metadata; None where it cannot be decoded. codec: a Codec.
    Raises LimitError where decoding was cancelled."""
    if small is None:
        return None
    try:
        return codec.decode_contents(small, None, 1, limits)
    except AeiError:
        limits.check_cancelled()
        return None


def scaled(codec: Any, contents: Contents, scale: Any, limits: Limits) -> Image.Image | None:
    """What `decode` gives at a scale of 2, 4 or 8, made of the preview; None where it does not
    suffice."""
    from .pixels.metadata import info_of
    from .pixels.side_channels import read_metadata

    if not is_number(scale) or scale not in (2, 4, 8):
        return None
    header, scale = contents.header, int(scale)
    size = -(-header.width // scale), -(-header.height // scale)
    image = shrunk(codec, header, contents.sections, size, limits)
    if image is not None:
        image.info.update(info_of(read_metadata(contents.sections, limits)))
    return image


def shrunk(
    codec: Any, header: Header, sections: dict[int, bytes], size: tuple[int, int], limits: Limits
) -> Image.Image | None:
    """The picture at a size (width, height), made of a file's preview; None where it has none, or
    a smaller one."""
    from PIL import Image

    small = contents_of(header, sections)
    if small is None or small.header.width < size[0] or small.header.height < size[1]:
        return None
    image = image_of(codec, small, limits)
    if image is None or image.size == size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS)


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """The size of a picture that neither side of is longer than `side`, and none longer than it
    was."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def thumbnail(codec: Any, source: Any, side: int, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
    """See Codec.thumbnail."""
    from PIL import Image

    from .pixels.metadata import info_of
    from .pixels.side_channels import read_metadata

    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise UnsupportedError(f"a thumbnail of {side!r} pixels: choose a whole number from 1 on")
    header, sections, data = _start_of(source)
    limits.check_pixels(header.width, header.height)
    size = fitted(header.width, header.height, side)
    image = shrunk(codec, header, sections, size, limits)
    if image is None:
        contents = parse(as_data(source) if data is None else data, limits)
        # twice the size is enough to be reduced from
        scales = (s for s in (8, 4, 2) if max(header.width, header.height) >= 2 * s * side)
        image = codec.decode_contents(contents, None, next(scales, 1), limits)
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    image.info = dict(info_of(read_metadata(sections, limits)))
    return image


def _start_of(source: Any) -> tuple[Header, dict[int, bytes], Any]:
    """Header and sections of a file, and its bytes if all of them were read."""
    if isinstance(source, (str, os.PathLike)):
        start = read_start(source, START_BYTES)
        try:
            return *parse_start(start), None
        except AeiError:
            if len(start) < START_BYTES:
                raise
    data = as_data(source)
    return *parse_start(data), data

"""What files hold beside colour: metadata, and the alpha plane (whole, or tile by tile)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...formats import DEFAULT_LIMITS, Contents, DamagedFileError, Limits, UnsupportedError
from ...formats.dictionary import METADATA_DICTIONARY
from ...formats.plane import decode_plane
from ...formats.sections import ALPHA, ICC, METADATA, deflate, inflate
from ...formats.tiles import Box, tiles_touching
from ...formats.varint import read_varint, varint
from .profiles import known_profile, number_of_profile

if TYPE_CHECKING:
    import numpy as np

LENGTH_BYTES = 4  # at most, of the length of a tile's alpha plane


def pack_metadata(metadata: dict[str, bytes]) -> dict[int, bytes]:
    """Sections of an image's metadata. Raises UnsupportedError for a piece over 16 MiB."""
    sections = {}
    most = DEFAULT_LIMITS.metadata
    for name, content in metadata.items():
        if len(content) > most:
            raise UnsupportedError(
                f"{name} of {len(content)} bytes: at most {most} can be kept", reason="metadata"
            )
        number = number_of_profile(content) if name == "icc_profile" else None
        if number is not None:
            sections[ICC] = bytes([number])
        else:
            sections[METADATA[name]] = deflate(content, METADATA_DICTIONARY)
    return sections


def read_metadata(sections: dict[int, bytes], limits: Limits) -> dict[str, bytes]:
    """Metadata by name. Raises DamagedFileError, also where a piece is over the limit, and
    UnsupportedError for a known profile of a later release."""
    found = {}
    for name, kind in METADATA.items():
        content = sections.get(kind)
        if content is None:
            continue
        if kind == ICC and len(content) == 1:
            profile = known_profile(content[0])
            if profile is None:
                raise UnsupportedError(
                    f"the file has colour profile {content[0]}, which this release does not know: "
                    "update aei-codec"
                )
            found[name] = profile
        else:
            found[name] = inflate(content, limits.metadata, METADATA_DICTIONARY)
    return found


def with_alpha(plane: bytes, payload: bytes) -> bytes:
    """A tile's bytes in a file with an alpha channel: length of the plane, 0 if opaque; plane;
    payload."""
    return varint(len(plane)) + plane + payload


def alpha_span(content: bytes) -> tuple[int, int]:
    """Where a tile's alpha plane begins and ends; the payload follows it."""
    length, start = read_varint(content, 0, LENGTH_BYTES)
    if start + length > len(content):
        raise DamagedFileError("a tile's alpha plane is longer than the tile")
    return start, start + length


def read_alpha(contents: Contents, block: Box, lost: list[int] | None) -> np.ndarray:
    """uint8 (h, w): alpha of a box, 255 where a tile has none, or is lost."""
    import numpy as np

    header = contents.header
    out = np.full((block.height, block.width), 255, np.uint8)
    side = contents.side or max(header.width, header.height)
    for i in tiles_touching(block, header.width, side):
        if lost is not None and i in lost:
            continue
        if contents.side:
            content = contents.tile(i)
            start, end = alpha_span(content)
            plane = content[start:end] or None
        else:
            plane = contents.sections.get(ALPHA)
        if plane is not None:
            box = contents.boxes[i]
            part = box.intersection(block)
            try:
                alpha = decode_plane(plane, box.width, box.height)
            except DamagedFileError:
                if lost is None or not contents.side:
                    raise
                lost.append(i)
                continue
            out[part.within(block)] = alpha[part.within(box)]
    return out


class AlphaRows:
    """Alpha of a picture that is shown from the top, a part at a time, whose tiles have been
    decoded by then.

    wanted: the box that parts are of. A plane is inflated once for all parts of its row of tiles,
    or nearly so.
    """

    def __init__(self, contents: Contents, wanted: Box, lost: list[int] | None):
        self._contents, self._wanted, self._lost = contents, wanted, lost
        self._box: Box | None = None

    def part(self, box: Box) -> np.ndarray:
        """uint8 (h, w), of a box within `wanted`."""
        if self._box is None or self._box.intersection(box) != box:
            side = self._contents.side or self._contents.header.height
            bottom = min(-(-box.bottom // side) * side, self._wanted.bottom)
            # those beside it may not be decoded yet
            self._box = Box(box.left, box.top, box.width, bottom - box.top)
            self._alpha = read_alpha(self._contents, self._box, self._lost)
        return self._alpha[box.within(self._box)]

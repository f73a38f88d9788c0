"""More than 8 bits a channel: all bits of an image of which Pillow shows the upper eight, and 8
bits made of them, rounded and dithered.

Pillow unpacks the samples of 16-bit RGB to their upper bytes. The same data unpacked in the other
order of bytes gives the lower ones.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

PLANAR, SEPARATE = 284, 2  # TIFF
OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
# Thresholds of the dither: multiples of the plastic number's inverses in 24 bits, by which places
# near each other differ (Roberts, The unreasonable effectiveness of quasirandom sequences, 2018).
ACROSS, DOWN, BITS = 12664746, 9560334, 24
LEVEL = 257  # of 65535, for a level of 255
SLAB = 1 << 20  # pixels that are worked on at once


def samples_of(image: Image.Image) -> np.ndarray | None:
    """All bits of an image of 16 bits a channel that Pillow would cut: uint16 (H, W, C), or None
    where it is none, or its pixels have been loaded. The image is left as it was.

    C: 3 and 4 as the image's bands, with alpha last; 2 for grey with alpha, which Pillow opens as
    RGBA; of TIFF's premultiplied alpha the colours are divided by it.
    """
    tiles: Any = getattr(image, "tile", ())
    raws = [_raw_of(tile) for tile in tiles]
    planes = getattr(image, "tag_v2", {}).get(PLANAR) == SEPARATE
    if not raws or not (planes or all(";16" in raw for raw in raws)):
        return None
    if image.mode not in ("RGB", "RGBA", "RGBX", "CMYK"):
        return None
    file: Any = getattr(image, "fp", None)
    if file is None:
        return None
    at = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(at)
    if raws == ["LA;16B"]:  # four bytes, as if they were four channels
        bytes_ = _unpacked(data, image, ["RGBA"])
        return bytes_[..., 0::2].astype(np.uint16) * 256 + bytes_[..., 1::2]
    if planes:
        if tiles[0][0] == "libtiff":  # which unpacks planes as it likes
            return None
        order = "B" if data[:2] == b"MM" else "L"
        raws = [raw if ";16" in raw else f"{raw};16{order}" for raw in raws]
    premultiplied = any(raw.startswith("RGBa") for raw in raws)
    raws = [raw.replace("RGBa", "RGBA") for raw in raws]
    upper = _unpacked(data, image, raws)
    lower = _unpacked(data, image, [raw[:-1] + OTHER_ORDER[raw[-1]] for raw in raws])
    out = upper.astype(np.uint16) * 256
    out |= lower
    if premultiplied:
        alpha = np.maximum(out[..., 3:], 1).astype(np.uint32)
        whole = (out[..., :3].astype(np.uint32) * 65535 + alpha // 2) // alpha
        out[..., :3] = np.minimum(whole, 65535)
    return out


def _raw_of(tile: Any) -> str:
    """How a tile's pixels are packed, as Pillow names it."""
    arguments = tile[3]
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else ""


def _unpacked(data: bytes, image: Image.Image, raws: list[str]) -> np.ndarray:
    """The pixels of a file, uint8 (H, W, C), its tiles unpacked another way."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=[image.format or ""]) as again:
        if frame := getattr(image, "tell", int)():
            again.seek(frame)
        tiles: Any = again.tile  # type: ignore[attr-defined]
        for i, (tile, raw) in enumerate(zip(tiles, raws)):
            arguments = tile[3]
            more = (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw
            tiles[i] = type(tile)(*tile[:3], more)
        again.load()
        return np.array(again)


def to_8_bits(samples: np.ndarray) -> np.ndarray:
    """uint8 of samples 0 to 65535, uint16 (H, W, C), C 1 to 4; the last of 2 and 4 is alpha.

    What lies between two levels becomes the upper one at as many places as it is near to it, by a
    fixed pattern: averages are kept, and slow gradients have no edges, which would be seen and
    coded. Alpha, and what equals all its neighbours, is rounded. Levels themselves stay.
    """
    height, width, channels = samples.shape
    out = np.empty(samples.shape, np.uint8)
    colours = channels - (channels in (2, 4))
    step = max(1, SLAB // max(1, width))
    for top in range(0, height, step):
        bottom = min(top + step, height)
        part = samples[top:bottom].astype(np.int32)
        added = np.full(part.shape, LEVEL // 2, np.int32)
        around = samples[max(0, top - 1) : bottom + 1, :, :colours]
        places = _differs(around)[top - max(0, top - 1) :][: bottom - top]
        added[..., :colours][places] = _thresholds(top, bottom, width, colours)[places]
        out[top:bottom] = (part + added) // LEVEL
    return out


def _thresholds(top: int, bottom: int, width: int, channels: int) -> np.ndarray:
    """int32 (rows, width, channels), evenly from 0 to LEVEL - 1, those of channels apart."""
    rows = np.arange(top, bottom, dtype=np.int64)[:, None, None] * DOWN
    columns = np.arange(width, dtype=np.int64)[:, None] * ACROSS
    apart = np.arange(channels, dtype=np.int64) * ((1 << BITS) // channels)
    return (((rows + columns + apart) % (1 << BITS)) * LEVEL >> BITS).astype(np.int32)


def _differs(a: np.ndarray) -> np.ndarray:
    """bool, where a sample differs from the one above, below, left or right of it."""
    out = np.zeros(a.shape, bool)
    for low, high in (
        ((slice(None, -1),), (slice(1, None),)),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        other = a[low] != a[high]
        out[low] |= other
        out[high] |= other
    return out

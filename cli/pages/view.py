"""An .aei file made visible: a web page with image, header and heat map of the bits, or the same in
a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from ...codec.api import Codec
from ...codec.inspect.account import bit_map
from ...formats import parse
from ...formats.sections import NAMES
from .pages import data_uri
from .pages import page as shell

if TYPE_CHECKING:
    from PIL import Image

SIDE, QUALITY = 1600, 90  # of the copy on a page: pixels, and WebP's
CELLS = 256  # of the map on a page, on a side
# Dark to bright, like matplotlib's "inferno": colours at equal distances
COLOURS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))


def facts(data: bytes, codec: Codec, bits: np.ndarray, side: int) -> dict[str, str]:
    """What a person wants to know of a file, by label."""
    contents = parse(data)
    header = contents.header
    pixels = header.width * header.height
    names = {kind: name for name, kind in NAMES.items()}
    extras = [
        f"{names[kind]} ({len(content)} bytes)" for kind, content in contents.sections.items()
    ]
    return {
        "size": f"{header.width} x {header.height} pixels, {header.mode}",
        "file": f"{len(data):,} bytes, {8 * len(data) / pixels:.3f} bits per pixel",
        "quality": f"{1 + header.gain_index * 99 / 255:.0f} (gain index {header.gain_index})",
        "model": f"{codec.model_of_file(header).bundle.name} ({header.model.hex()})",
        "image data": f"{bits.sum() / 8:,.0f} bytes",
        "other parts": ", ".join(extras) or "none",
        f"bits per block of {side} x {side}": (
            f"{bits.min():.0f} to {bits.max():.0f}, median {np.median(bits):.0f}"
        ),
    }


def heat_image(bits: np.ndarray) -> Image.Image:
    """A picture of the bits, one pixel per block; the scale is a square root, so that quiet places
    differ too."""
    return coloured(np.sqrt(bits / max(float(bits.max()), 1e-9)))


def coloured(share: np.ndarray, colours: tuple[tuple[int, int, int], ...] = COLOURS) -> Image.Image:
    """A picture of numbers 0 to 1, (h, w), from the first colour to the last."""
    from PIL import Image

    places, stops = np.linspace(0, 1, 256), np.linspace(0, 1, len(colours))
    table = np.stack([np.interp(places, stops, [c[i] for c in colours]) for i in range(3)], 1)
    return Image.fromarray(np.rint(table).astype(np.uint8)[np.rint(share * 255).astype(np.uint8)])


def page(data: bytes, codec: Codec, name: str) -> str:
    """One HTML file that needs nothing else: image, header, and the heat map over it with a slider.

    Its size is bounded: the image is a copy of at most SIDE pixels on a side, and the map has at
    most CELLS places, each of them several blocks if need be.
    """
    image = codec.decode(data)
    bits, side = bit_map(codec, data)
    rows = facts(data, codec, bits, side)
    width, height = image.size
    joined = -(-max(bits.shape) // CELLS)
    if joined > 1:
        bits, side = _summed(bits, joined), side * joined
    copy = _copy(image)
    note = "" if copy.size == image.size else f"shown at {copy.width} x {copy.height} pixels"
    shown = {
        "width": width,
        "height": height,
        "side": side,
        "bits": np.rint(bits).astype(int).tolist(),
        "image": _data_uri(copy, "WEBP", quality=QUALITY),
        "heat": _data_uri(heat_image(bits), "PNG"),
        "rows": list(rows.items()),
        "note": note,
    }
    return shell("view.html", name, shown, ("viewer.js", "view.js"), ("page.css", "inspect.css"))


def _copy(image: Image.Image) -> Image.Image:
    """What the page shows: no larger than SIDE, in the colours that pages have."""
    from .gallery import in_srgb, smaller

    return in_srgb(smaller(image, SIDE))


def _summed(bits: np.ndarray, factor: int) -> np.ndarray:
    """Sums over squares of blocks; those at the right and bottom may hold fewer."""
    h, w = bits.shape
    whole = np.pad(bits, ((0, -h % factor), (0, -w % factor)))
    h, w = whole.shape
    return whole.reshape(h // factor, factor, w // factor, factor).sum((1, 3))


def _data_uri(image: Image.Image, form: str, **options: int) -> str:
    file = io.BytesIO()
    image.save(file, form, **options)
    return data_uri(f"image/{form.lower()}", file.getvalue())


def ansi(image: Image.Image, columns: int) -> str:
    """A picture in half-block characters with 24-bit colours, at most `columns` wide."""
    from PIL import Image as Pillow

    if image.mode in ("RGBA", "LA"):
        grey = Pillow.new("RGBA", image.size, (128, 128, 128, 255))
        image = Pillow.alpha_composite(grey, image.convert("RGBA"))
    width = min(columns, image.width)
    height = max(2, round(image.height * width / image.width / 2) * 2)
    small = np.asarray(image.convert("RGB").resize((width, height), Pillow.Resampling.BOX))
    lines = []
    for upper, lower in zip(small[0::2], small[1::2]):
        cells = (
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m\u2580"
            for a, b in zip(upper.tolist(), lower.tolist())
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)

"""Pictures in and out: which image modes are accepted, their alpha and metadata, and the padded
float array that g_a works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...formats import UnsupportedError
from ...formats.tiles import Box
from . import metadata as side
from .depth import PLAIN, depth_of, refuse_deep

if TYPE_CHECKING:
    from PIL import Image


@dataclass
class Picture:
    """An image to be encoded, read a rectangle at a time so that a huge one is never copied whole.

    source: a Pillow image of mode L, LA, RGB or RGBA, or a uint8 array (H, W, C) with 1 to 4
    channels. metadata: `icc_profile`, `exif` (without its "Exif" prefix) and `xmp`, those there
    are, as bytes.
    """

    source: Image.Image | np.ndarray
    metadata: dict[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        if isinstance(self.source, np.ndarray):
            return self.source.shape[1], self.source.shape[0]
        return self.source.size

    @property
    def channels(self) -> int:
        """1 grey, 2 grey and alpha, 3 colour, 4 colour and alpha."""
        if isinstance(self.source, np.ndarray):
            return self.source.shape[2]
        return len(self.source.getbands())

    def read(self, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        """Colour, uint8 (h, w, 3) or (h, w, 1), and alpha, uint8 (h, w) or None, of a rectangle."""
        if isinstance(self.source, np.ndarray):
            pixels = self.source[box.top : box.bottom, box.left : box.right]
        else:
            whole = (0, 0, *self.source.size) == box.corners
            pixels = np.asarray(self.source if whole else self.source.crop(box.corners))
            pixels = pixels.reshape(box.height, box.width, -1)
        if self.channels in (2, 4):
            return pixels[..., :-1], pixels[..., -1]
        return pixels, None


def to_picture(image: Image.Image | np.ndarray, metadata: bool = True) -> Picture:
    """An image in one of the four modes of files, and its metadata.

    Pillow modes: RGB, L, RGBA and LA as they are; 1 as L; P as RGB (as L if the colours used are
    grey), or as RGBA where it has transparency; RGB and L with a transparent colour as RGBA and LA.
    Arrays: uint8 (H, W), or (H, W, C) with 1 to 4 channels. With `metadata` false none is kept, and
    Exif's orientation is applied to the pixels instead. Of several frames the current one is taken.
    Raises UnsupportedError for all else, since this version would lose something: 16-bit depth,
    CMYK inks.
    """
    if isinstance(image, np.ndarray):
        return Picture(_checked_array(image))
    if not hasattr(image, "getbands"):
        raise UnsupportedError(
            f"cannot encode a {type(image).__name__}: give a Pillow image or array"
        )
    if image.mode in PLAIN or image.mode.startswith(("I", "F")):
        refuse_deep(image, depth_of(image))
    image.load()  # a TIFF file's pixels are turned upright now, and its Exif says so
    kept = side.metadata_of(image) if metadata else {}
    if not metadata:
        image = side.upright(image)
    mode = image.mode
    if "transparency" in image.info or mode in ("PA", "RGBa", "La"):
        image = image.convert("LA" if mode in ("L", "1", "La") else "RGBA")
    elif mode == "P":
        # a profile of colours stays one of colours
        space = side.profile_space(kept.get("icc_profile", b""))
        grey = space != "colour" and _uses_greys_only(image)
        image = image.convert("L" if grey else "RGB")
    elif mode in ("1", "RGBX"):
        image = image.convert("L" if mode == "1" else "RGB")
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        raise UnsupportedError(
            f"images of mode {mode} are not supported, as RGB and L are (Pillow: "
            "image.convert('RGB'))",
            reason="convert",
        )
    return Picture(image, side.suited(kept, image.mode))


def _uses_greys_only(image: Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    used = np.flatnonzero(image.histogram())
    colours = palette[used[used < len(palette)]]
    return bool((colours == colours[:, :1]).all())


def _checked_array(a: np.ndarray) -> np.ndarray:
    if a.dtype != np.uint8:
        raise UnsupportedError(
            f"an array of dtype {a.dtype} is not supported: give uint8, 0 to 255, or let it be "
            "converted"
        )
    if a.ndim == 2:
        return a[..., None]
    if a.ndim != 3 or not 1 <= a.shape[2] <= 4:
        raise UnsupportedError(
            f"an array of shape {a.shape} is not an image: give (H, W), or (H, W, C) with 1 to 4 "
            "channels"
        )
    return a


def fill_transparent(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The image with what nobody sees (alpha 0) replaced by a smooth continuation of what is seen,
    so that it costs hardly any bits.

    Averages of the visible pixels over ever larger squares; each hidden pixel takes the smallest
    square that sees any.
    """
    hidden = alpha == 0
    if not hidden.any():
        return colour
    h, w = alpha.shape
    weight = (~hidden).astype(np.float32)[..., None]
    values = colour.reshape(h, w, -1) * weight
    levels = [(values, weight)]
    while max(weight.shape[:2]) > 1:
        values, weight = _sum2x2(values), _sum2x2(weight)
        levels.append((values, weight))
    filled = values / np.maximum(weight, 1)
    for values, weight in reversed(levels):
        below = filled.repeat(2, 0).repeat(2, 1)[: weight.shape[0], : weight.shape[1]]
        filled = np.where(weight > 0, values / np.maximum(weight, 1), below)
    return np.rint(filled).astype(np.uint8).reshape(colour.shape)


def _sum2x2(a: np.ndarray) -> np.ndarray:
    a = np.pad(a, ((0, a.shape[0] % 2), (0, a.shape[1] % 2), (0, 0)))
    return a[0::2, 0::2] + a[1::2, 0::2] + a[0::2, 1::2] + a[1::2, 1::2]


def padded_levels(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """uint8 (H', W', 3), right and bottom edges repeated to multiples of `multiple` pixels; grey
    becomes three equal channels. pixels: uint8 (H, W, 3) or (H, W, 1)."""
    h, w, channels = pixels.shape
    if h % multiple or w % multiple:
        pixels = np.pad(pixels, ((0, -h % multiple), (0, -w % multiple), (0, 0)), mode="edge")
    return pixels if channels == 3 else pixels.repeat(3, 2)


def to_network(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """The same as float32 (1, 3, H', W') in -0.5..0.5."""
    padded = padded_levels(pixels, multiple)
    x = np.empty((1, 3, *padded.shape[:2]), np.float32)
    np.multiply(padded.transpose(2, 0, 1), np.float32(1 / 255), out=x[0])
    x -= np.float32(0.5)
    return x


def from_network(x: np.ndarray, grey: bool) -> np.ndarray:
    """The inverse: float (h, w, 3) -> uint8 (h, w, 3), or (h, w) where grey."""
    if grey:
        x = x.mean(axis=2)
    x = (x + np.float32(0.5)) * np.float32(255)
    return np.clip(np.rint(x, out=x), 0, 255, out=x).astype(np.uint8)


def empty(mode: str, size: tuple[int, int]) -> Image.Image:
    """A Pillow image of a width and height, of whatever pixels: each is to be put in."""
    from PIL import Image

    return Image.new(mode, size, None)


def joined(
    colour: np.ndarray, alpha: np.ndarray | None, scale: int = 1, small: bool = False
) -> Image.Image:
    """A Pillow image of colour, uint8 (h, w) or (h, w, 3), and alpha, (h, w), at 1/scale of its
    size, rounded up: means of squares, weighted by alpha. small: the colour is reduced already."""
    from PIL import Image

    if alpha is None:
        image = Image.fromarray(colour)
        return image if scale == 1 or small else image.reduce(scale)
    if small:
        plane = Image.fromarray(alpha).reduce(scale)
        image = Image.fromarray(colour)
        image.putalpha(plane)
        return image
    image = Image.fromarray(np.dstack([colour, alpha]))
    if scale == 1:
        return image
    return image.convert(image.mode[:-1] + "a").reduce(scale).convert(image.mode)

"""Pictures in and out: which image modes are accepted, their alpha and metadata, and the padded float
array that g_a works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..formats import UnsupportedError

if TYPE_CHECKING:
    from PIL import Image

EXIF_PREFIX = b"Exif\0\0"


@dataclass
class Picture:
    """An image as files hold it.

    colour: uint8 (H, W, 3), or (H, W) where grey. alpha: uint8 (H, W), or None without an alpha channel.
    metadata: `icc_profile`, `exif` (without its "Exif" prefix) and `xmp`, those there are, as bytes.
    """

    colour: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)


def to_picture(image: Image.Image | np.ndarray, metadata: bool = True) -> Picture:
    """Take an image apart.

    Pillow modes: RGB, L, RGBA and LA as they are; 1 as L; P as RGB (as L if its palette is grey), or
    as RGBA where it has transparency; RGB and L with a transparent colour as RGBA and LA. Arrays: uint8
    (H, W), or (H, W, C) with 1 to 4 channels. With `metadata` false none is kept, and Exif's
    orientation is applied to the pixels instead. Raises UnsupportedError for all else, since
    this version would lose something: 16-bit depth, CMYK inks, further frames.
    """
    if isinstance(image, np.ndarray):
        return _array_picture(image)
    if getattr(image, "n_frames", 1) > 1:
        raise UnsupportedError(f"the image has {image.n_frames} frames: pick one of them first")  # type: ignore[attr-defined]
    kept = _metadata_of(image) if metadata else {}
    if not metadata and image.getexif().get(0x0112, 1) != 1:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    mode = image.mode
    if "transparency" in image.info or mode in ("PA", "RGBa", "La"):
        image = image.convert("LA" if mode in ("L", "1", "La") else "RGBA")
    elif mode == "P":
        image = image.convert("RGB")
        pixels = np.asarray(image)
        if (pixels == pixels[..., :1]).all():
            return Picture(np.ascontiguousarray(pixels[..., 0]), None, kept)
    elif mode in ("1", "RGBX"):
        image = image.convert("L" if mode == "1" else "RGB")
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        raise UnsupportedError(
            f"images of mode {mode} are not supported: convert to RGB or L first "
            "(Pillow: image.convert('RGB'))"
        )
    picture = _array_picture(np.asarray(image))
    picture.metadata = kept
    return picture


def _array_picture(a: np.ndarray) -> Picture:
    if a.dtype != np.uint8:
        raise UnsupportedError(
            f"an array of dtype {a.dtype} is not supported: give uint8, 0 to 255"
        )
    if a.ndim == 2:
        return Picture(a)
    if a.ndim != 3 or not 1 <= a.shape[2] <= 4:
        raise UnsupportedError(
            f"an array of shape {a.shape} is not an image: give (H, W), or (H, W, C) with 1 to 4 channels"
        )
    channels = a.shape[2]
    colour = a[..., 0] if channels <= 2 else a[..., :3]
    return Picture(colour, a[..., -1] if channels in (2, 4) else None)


def _metadata_of(image: Image.Image) -> dict[str, bytes]:
    exif = image.info.get("exif")
    if not exif and image.getexif():  # set in memory, or from a format that has no block of it
        exif = image.getexif().tobytes()
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    found = {
        "icc_profile": image.info.get("icc_profile"),
        "exif": exif.removeprefix(EXIF_PREFIX) if exif else None,
        "xmp": xmp.encode() if isinstance(xmp, str) else xmp,
    }
    return {name: bytes(value) for name, value in found.items() if value}


def to_image(picture: Picture) -> Image.Image:
    """A Pillow image of mode L, LA, RGB or RGBA, its metadata in `info` as other plugins put it."""
    from PIL import Image

    colour = picture.colour
    if picture.alpha is not None:
        colour = np.dstack([colour, picture.alpha])
    image = Image.fromarray(colour)
    image.info.update(picture.metadata)
    if "exif" in image.info:
        image.info["exif"] = EXIF_PREFIX + image.info["exif"]
    return image


def fill_transparent(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The image with what nobody sees (alpha 0) replaced by a smooth continuation of what is seen, so that
    it costs hardly any bits.

    Averages of the visible pixels over ever larger squares; each hidden pixel takes the smallest square
    that sees any.
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


def to_network(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """float32 (1, 3, H', W') in -0.5..0.5, right and bottom edges repeated to multiples of `multiple`
    pixels; grey becomes three equal channels. pixels: uint8 (H, W, 3) or (H, W)."""
    h, w = pixels.shape[:2]
    padded = np.pad(
        pixels.reshape(h, w, -1), ((0, -h % multiple), (0, -w % multiple), (0, 0)), mode="edge"
    )
    x = np.empty((1, 3, *padded.shape[:2]), np.float32)
    np.multiply(padded.transpose(2, 0, 1), np.float32(1 / 255), out=x[0])
    x -= np.float32(0.5)
    return x


def from_network(x: np.ndarray, width: int, height: int, grey: bool) -> np.ndarray:
    """The inverse: float (H', W', 3) -> uint8 (height, width, 3), or (height, width) where grey."""
    x = x[:height, :width]
    if grey:
        x = x.mean(axis=2)
    x = (x + np.float32(0.5)) * np.float32(255)
    return np.clip(np.rint(x, out=x), 0, 255, out=x).astype(np.uint8)

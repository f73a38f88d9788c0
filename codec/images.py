"""Pictures in and out: which image modes are accepted, and the padded float array g_a works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..formats import UnsupportedError

if TYPE_CHECKING:
    from PIL import Image


def to_pixels(image: Image.Image | np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3), or (H, W) for a grey image.

    Pillow modes: RGB and L as they are; 1 as L; P as RGB (or L if its palette is grey); RGBA, LA and
    P with transparency only if every pixel is opaque. Everything else raises UnsupportedError, since
    this version would lose something: transparency, 16-bit depth, CMYK inks, further frames.
    """
    if isinstance(image, np.ndarray):
        return _check_array(image)
    if getattr(image, "n_frames", 1) > 1:
        raise UnsupportedError(f"the image has {image.n_frames} frames: pick one of them first")  # type: ignore[attr-defined]
    mode = image.mode
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if np.asarray(rgba.getchannel("A")).min() < 255:
            raise UnsupportedError(
                "the image has transparency, which this version cannot keep: flatten it first"
            )
        mode = "L" if mode in ("LA", "La", "L", "1") else "RGB"
        image = rgba.convert(mode)
    elif mode == "P":
        image = image.convert("RGB")
        pixels = np.asarray(image)
        if (pixels == pixels[..., :1]).all():
            return np.ascontiguousarray(pixels[..., 0])
    elif mode == "1":
        image = image.convert("L")
    elif mode not in ("L", "RGB", "RGBX"):
        raise UnsupportedError(
            f"images of mode {mode} are not supported: convert to RGB or L first "
            "(Pillow: image.convert('RGB'))"
        )
    return np.asarray(image.convert("RGB") if mode == "RGBX" else image)


def _check_array(a: np.ndarray) -> np.ndarray:
    if a.dtype != np.uint8:
        raise UnsupportedError(
            f"an array of dtype {a.dtype} is not supported: give uint8, 0 to 255"
        )
    if a.ndim == 3 and a.shape[2] == 1:
        a = a[..., 0]
    if a.ndim != 2 and not (a.ndim == 3 and a.shape[2] == 3):
        raise UnsupportedError(
            f"an array of shape {a.shape} is not an image: give (H, W, 3) or (H, W)"
        )
    return a


def to_network(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """float32 (1, 3, H', W') in -0.5..0.5, right and bottom edges repeated to multiples of `multiple`
    pixels; grey becomes three equal channels."""
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

"""More than 8 bits, and other colour spaces: told apart from what Pillow shows, and converted on
demand to what files hold.

Pillow opens 16-bit RGB as mode RGB, with the upper eight bits: `mode` alone does not tell.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import numpy as np

from ...formats import UnsupportedError

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

BITS_PER_SAMPLE = 258  # TIFF
PLAIN = {"1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBa", "La", "RGBX"}


def depth_of(image: Image.Image) -> int:
    """Bits of a channel of the file that an image was opened from, as far as can be told: of a PNG
    file only before its pixels are loaded."""
    if image.mode.startswith("I;16"):
        return 16
    if image.mode in ("I", "F"):
        return 32
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
    deepest = max(b for b in (*np.atleast_1d(bits).tolist(), 8) if isinstance(b, int))
    for tile in getattr(image, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(a, str) and ";16" in a for a in args):
            deepest = max(deepest, 16)
        if tile[0] in ("ppm", "ppm_plain") and isinstance(args[-1], int) and args[-1] > 255:
            deepest = max(deepest, 16)
    return deepest


def depth_of_jpeg2000(data: bytes) -> int:
    """Bits of a channel of a JPEG 2000 file, by its SIZ marker; 8 where there is none."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(data) < at + 43:
        return 8
    return (data[at + 42] & 0x7F) + 1


def refuse_deep(image: Image.Image, depth: int) -> None:
    """Raise UnsupportedError for more than 8 bits."""
    if depth > 8:
        raise UnsupportedError(
            f"the image has {depth} bits a channel (mode {image.mode}), of which files hold 8: "
            "convert it to 8 bits first"
        )


def converted(image: Image.Image) -> Image.Image:
    """The image in 8 bits and in a mode that files hold: RGB, L, or with alpha.

    Integers of 16 bits are divided by 257; floats are taken to run from 0 to 1, or to 255 where
    they pass 1. CMYK, YCbCr, Lab and HSV become RGB: through the image's profile, to sRGB, where it
    has one, else as Pillow does. Raises UnsupportedError for numbers whose range cannot be told.
    """
    if image.mode in PLAIN:
        return image
    from PIL import Image

    was = image.mode
    if was.startswith("I") or was == "F":
        made = Image.fromarray(_to_bytes(np.asarray(image)))
        made.info.update(image.info)
        _keep_exif(image, made)
    else:
        made = _to_rgb(image)
    log.warning("converted from %s to 8-bit %s", was, made.mode)
    return made


def _to_bytes(a: np.ndarray) -> np.ndarray:
    """uint8 of an array of numbers, (H, W)."""
    if not np.isfinite(a).all() or a.min() < 0:
        raise UnsupportedError("the image holds numbers below 0, or that are none")
    most = float(a.max(initial=0))
    if a.dtype.kind == "f":
        if most > 255:
            raise UnsupportedError(f"the image holds numbers up to {most:g}: scale them to 0 to 1")
        return np.rint(a * (255 if most <= 1 else 1)).astype(np.uint8)
    if most > 65535:
        raise UnsupportedError(f"the image holds numbers up to {most:g}: scale them to 65535")
    wide = a.dtype.itemsize == 2 or most > 255
    return np.rint(a / 257.0 if wide else a).astype(np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    made = None
    try:
        srgb = ImageCms.createProfile("sRGB")
        if profile and image.mode in ("CMYK", "LAB"):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            made = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
        elif image.mode == "LAB":
            lab = ImageCms.createProfile("LAB")
            made = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.warning("the colour profile cannot be used (%s)", error)
    if made is None:
        made = image.convert("RGB")
    _keep_exif(image, made)
    if image.mode in ("CMYK", "LAB"):
        made.info.pop("icc_profile", None)  # of the inks; the result is sRGB
    return made


def _keep_exif(source: Image.Image, made: Image.Image) -> None:
    """Exif that is not in `info`, as of TIFF files, goes there."""
    from .metadata import EXIF_PREFIX, exif_of

    exif = exif_of(source)
    if exif:
        made.info["exif"] = EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX)

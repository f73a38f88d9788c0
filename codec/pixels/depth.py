"""More than 8 bits, and other colour spaces: told apart from what Pillow shows, and converted on
demand to what files hold.

Pillow opens 16-bit RGB as mode RGB, with the upper eight bits: `mode` alone does not tell.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats import UnsupportedError
from .deep import samples_of, to_8_bits

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF
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
            "convert it to 8 bits first",
            reason="convert",
        )


def converted(image: Image.Image, depth: int = 8) -> Image.Image:
    """The image in 8 bits and in a mode that files hold: RGB, L, or with alpha; itself where it is
    one already.

    16 bits are rounded and dithered (deep.to_8_bits), as far as Pillow gives them. Floats are taken
    to run from 0 to 1, or to 255 where they pass 1; so are integers of 32 bits, which pass 255 for
    65535. CMYK, YCbCr, Lab and HSV become RGB: through the image's profile, to sRGB, where it has
    one, else as Pillow does. depth: bits a channel, where more is known than `depth_of` sees.
    Raises UnsupportedError for numbers whose range cannot be told.
    """
    depth = max(depth, depth_of(image))
    if image.mode in PLAIN and depth <= 8:
        return image
    was = image.mode
    samples = samples_of(image)
    image.load()
    if samples is None and (was.startswith("I") or was == "F"):
        samples = _to_samples(np.asarray(image), image)
    elif samples is None and image.mode in PLAIN:
        log.warning("%d bits a channel are cut to 8", depth)
        return image
    made = image
    if samples is not None:
        made = _of_samples(samples, image)
        made.info.update({n: v for n, v in image.info.items() if n != "transparency"})
        _keep_exif(image, made)
    if made.mode not in PLAIN:
        made = _to_rgb(made)
    log.warning("converted from %s of %d bits to 8-bit %s", was, depth, made.mode)
    return made


def as_8_bits(image: Any) -> Any:
    """`converted` of a Pillow image, `converted_array` of an array; anything else as it is."""
    if isinstance(image, np.ndarray):
        return converted_array(image)
    return converted(image) if hasattr(image, "getbands") else image


def converted_array(a: np.ndarray) -> np.ndarray:
    """uint8 (H, W) or (H, W, C) of an array of uint16, 0 to 65535, or of floats, 0 to 1; any other
    as it is. Raises UnsupportedError for floats beyond 0 and 1."""
    if a.dtype != np.uint16 and a.dtype.kind != "f":
        return a
    if a.ndim not in (2, 3) or (a.ndim == 3 and not 1 <= a.shape[2] <= 4):
        return a  # refused by its shape
    if a.dtype.kind == "f":
        if a.size and not (a.min() >= 0 and a.max() <= 1):  # NaN fails too
            raise UnsupportedError("a floating-point array must hold values from 0 to 1")
        a = _of_floats(a, 1)
    return to_8_bits(a if a.ndim == 3 else a[..., None]).reshape(a.shape)


def _of_samples(samples: np.ndarray, image: Image.Image) -> Image.Image:
    """An 8-bit image of samples, uint16 (H, W, C). A colour that a PNG file calls transparent
    becomes alpha."""
    from PIL import Image

    clear, inks = image.info.get("transparency"), image.mode == "CMYK"
    pixels = to_8_bits(samples)
    if isinstance(clear, (int, tuple)) and samples.shape[2] in (1, 3):
        alpha = np.where((samples == np.atleast_1d(clear)).all(2), 0, 255).astype(np.uint8)
        pixels = np.dstack([pixels, alpha])
    grey = pixels.shape[2] == 1
    return Image.fromarray(pixels[..., 0] if grey else pixels, "CMYK" if inks else None)


def _to_samples(a: np.ndarray, image: Image.Image) -> np.ndarray:
    """uint16 (H, W, 1), 0 to 65535, of an image's numbers, (H, W)."""
    if not np.isfinite(a).all() or a.min() < 0:
        raise UnsupportedError("the image holds numbers below 0, or that are none")
    most = float(a.max(initial=0))
    if a.dtype.kind == "f":
        if most > 255:
            raise UnsupportedError(f"the image holds numbers up to {most:g}: scale them to 0 to 1")
        return _of_floats(a[..., None], 1 if most <= 1 else 255)
    if most > 65535:
        raise UnsupportedError(f"the image holds numbers up to {most:g}: scale them to 65535")
    tags = getattr(image, "tag_v2", {})
    bits = next(iter(np.atleast_1d(tags.get(BITS_PER_SAMPLE, 16)).tolist()), 16)
    if bits == 12:  # as they are; all else is 16 bits wide by now
        a = np.minimum(a, 4095).astype(np.uint32) * 65535 // 4095
    elif a.dtype.itemsize > 2 and most <= 255 and image.format != "PPM":
        a = a.astype(np.uint32) * 257
    if tags.get(PHOTOMETRIC, 1) == WHITE_IS_ZERO:
        a = 65535 - a
    return a.astype(np.uint16)[..., None]


def _of_floats(a: np.ndarray, most: float) -> np.ndarray:
    """uint16, 0 to 65535, of floats from 0 to `most`."""
    return np.rint(a * (65535.0 / most)).astype(np.uint16)


def _to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    made = None
    try:
        srgb = ImageCms.createProfile("sRGB")
        if profile and image.mode in ("CMYK", "LAB"):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            # as printed, paper as white and the darkest ink as black
            made = ImageCms.profileToProfile(
                image,
                source,
                srgb,
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                "RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
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

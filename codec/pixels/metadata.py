"""Colour profile, Exif and XMP of Pillow images: what travels into a file, and what comes back.

Pillow keeps Exif in two places: as bytes in `info`, and as an editable object that `getexif()`
gives. An edit of the object counts, as it does for Pillow's users who save with
`exif=image.getexif()`; bytes nobody has edited travel as they are, so that maker notes keep their
offsets.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from . import xmp
from .profiles import profile_of_png

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

EXIF_PREFIX = b"Exif\0\0"
ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
# Of a TIFF file's first directory, what describes the picture. All else says how its pixels lie in
# that file (sizes, strips, tiles, compression, planes, palettes, pyramids), or travels by itself.
DESCRIPTIVE = frozenset({
    269, 270, 271, 272, ORIENTATION, 282, 283, 285, 296, 297, 305, 306, 315, 316,  # TIFF 6.0
    18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095,  # ratings, copyright, Windows' titles
    33550, 33922, 34264, 34735, 34736, 34737,  # GeoTIFF
    36867, 36868, EXIF_IFD, GPS_IFD,
})  # fmt: skip
SPACES = {b"RGB ": "colour", b"GRAY": "grey"}  # of ICC profiles that suit our pixels


def metadata_of(image: Image.Image) -> dict[str, bytes]:
    """`icc_profile`, `exif` (without its "Exif" prefix) and `xmp` of an image, those there are.

    Raises TypeError where `info` holds them as what they cannot be.
    """
    profile = as_bytes("icc_profile", image.info.get("icc_profile"))
    if not profile and getattr(image, "format", None) == "PNG":
        profile = profile_of_png(image.info, image.mode in ("1", "L", "LA"))
    found = {
        "icc_profile": profile,
        "exif": exif_of(image).removeprefix(EXIF_PREFIX),
        "xmp": whole_xmp(image),
    }
    return {name: value for name, value in found.items() if value}


def info_of(metadata: dict[str, bytes]) -> dict[str, bytes]:
    """Metadata as Pillow's plugins put it into `Image.info`."""
    info = dict(metadata)
    if "exif" in info:
        info["exif"] = EXIF_PREFIX + info["exif"]
    return info


def as_bytes(name: str, value: Any) -> bytes:
    """A piece of metadata as bytes; nothing, None or empty, as no bytes. Raises TypeError."""
    from PIL import Image

    if value is None:
        return b""
    if name == "exif" and isinstance(value, Image.Exif):
        return value.tobytes()
    if name == "xmp" and isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    also = {"exif": " or an Image.Exif", "xmp": " or a str"}.get(name, "")
    raise TypeError(f"{name} is a {type(value).__name__}: give bytes{also}, or None for none")


def exif_of(image: Image.Image) -> bytes:
    """The Exif of an image as bytes: `info`'s, unless what `getexif()` gives was edited. A TIFF
    file's is made of the tags that describe the picture. What cannot be read is left out, with a
    warning in the log."""
    stored = image.info.get("exif") or _raw_profile(image)
    stored = as_bytes("exif", stored)
    exif = getexif(image)
    if exif is None:
        if stored:
            log.warning("the image's Exif cannot be read and is left out")
        return b""
    loaded = getattr(exif, "_loaded_exif", None)
    if stored and not _edited(exif, loaded, xmp_of(image)):
        return stored
    if not stored and loaded and not _edited(exif, loaded, xmp_of(image)):
        return b""  # taken out of `info` after the object was made
    try:
        return descriptive(exif) if hasattr(image, "tag_v2") else exif.tobytes() if exif else b""
    except Exception as error:  # Pillow's writer raises nearly everything
        log.warning("the image's Exif cannot be written and is left out (%s)", error)
        return b""


def getexif(image: Image.Image) -> Image.Exif | None:
    """`image.getexif()`, or None where it cannot be read."""
    xmp = image.info.get("xmp")
    try:
        if isinstance(xmp, str):  # Pillow looks for the orientation there, in bytes only
            image.info["xmp"] = xmp.encode()
        exif = image.getexif()
        len(exif)
        return exif
    except Exception:  # readers raise nearly everything on damaged data
        return None
    finally:
        if isinstance(xmp, str):
            image.info["xmp"] = xmp


def orientation_of(image: Image.Image) -> int:
    """Exif's orientation, 1 to 8; 1 where there is none, or none that can be."""
    exif = getexif(image)
    try:
        value = 1 if exif is None else exif.get(ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """The image with Exif's orientation applied to its pixels, and gone from its Exif."""
    if orientation_of(image) == 1:
        return image
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Exif that can be read, but not written again: turn, and leave it out
        turned = image.copy()
        exif = turned.getexif()
        value = orientation_of(image)
        exif.clear()
        exif[ORIENTATION] = value
        for key in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
            turned.info.pop(key, None)
        log.warning("the image's Exif is damaged and is left out")
        return ImageOps.exif_transpose(turned)


def _edited(exif: Image.Exif, loaded: bytes | None, xmp: bytes) -> bool:
    """Whether an Exif object differs from the bytes that it was made of."""
    from PIL import Image

    before = Image.Exif()
    try:
        before.load(loaded or b"")
        if ORIENTATION in exif and ORIENTATION not in before and b"tiff:Orientation" in xmp:
            before[ORIENTATION] = exif[ORIENTATION]  # Pillow takes it from there
        if _values(exif) != _values(before):
            return True
        # a directory is read when it is asked for: one that nobody looked at cannot be edited
        return any(
            _values(directory) != _values(before.get_ifd(tag))
            for tag, directory in exif._ifds.items()
        )
    except Exception:
        return False  # damaged bytes are nothing that could have been edited


def _values(directory: Any) -> dict[int, str]:
    return {tag: repr(directory[tag]) for tag in directory}


def _raw_profile(image: Image.Image) -> bytes | None:
    """Exif that ImageMagick put into a PNG file's text."""
    text = image.info.get("Raw profile type exif")
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])) or None
    except ValueError:
        return None


def descriptive(exif: Image.Exif) -> bytes:
    """The descriptive tags of a TIFF file's directory, in a block with a classic header, or b""."""
    from PIL import Image

    kept = Image.Exif()
    for tag in sorted(DESCRIPTIVE & set(exif)):
        if tag not in (EXIF_IFD, GPS_IFD):
            kept[tag] = exif[tag]
    for tag in (EXIF_IFD, GPS_IFD):
        directory = dict(exif.get_ifd(tag))
        if INTEROP_IFD in directory:
            directory[INTEROP_IFD] = dict(exif.get_ifd(INTEROP_IFD))
        if directory:
            kept[tag] = directory
    return kept.tobytes() if kept else b""


def descriptive_exif(data: bytes) -> bytes:
    """`descriptive` of a block of Exif. Raises whatever Pillow raises at damaged ones."""
    from PIL import Image

    exif = Image.Exif()
    exif.load(data)
    return descriptive(exif)


def xmp_of(image: Image.Image) -> bytes:
    """The XMP of an image, or b""."""
    for key in ("xmp", "XML:com.adobe.xmp"):
        if image.info.get(key):
            return as_bytes("xmp", image.info[key])
    return b""


def whole_xmp(image: Image.Image) -> bytes:
    """The XMP of an image with the part beyond 64 kB that cameras keep in further segments of a
    JPEG file (depth maps), which Pillow does not read; without it, and a warning, where that is not
    whole."""
    packet = xmp_of(image)
    kept, further = xmp.without_note(packet)
    if not further:
        return packet
    segments = [bytes(content) for _, content in getattr(image, "applist", ())]
    whole = xmp.assembled(packet, segments)
    if whole is None:
        log.warning("the XMP's further parts, beyond 64 kB, are not whole and not kept")
        return kept
    return whole


def suited(metadata: dict[str, bytes], mode: str) -> dict[str, bytes]:
    """Metadata without a profile that is not for pixels of a mode, RGB or L, with or without
    alpha."""
    space = profile_space(metadata.get("icc_profile", b""))
    if space is None or space == ("grey" if mode.startswith("L") else "colour"):
        return metadata
    log.warning("the colour profile is for %s, not for %s, and is left out", space, mode)
    return {name: value for name, value in metadata.items() if name != "icc_profile"}


def profile_space(profile: bytes) -> str | None:
    """What an ICC profile is for, by its header: "colour", "grey", the four letters of another
    space, or None where it is no profile that could be told."""
    if len(profile) < 128 or profile[36:40] != b"acsp":
        return None
    return SPACES.get(profile[16:20], profile[16:20].decode("latin-1").strip())

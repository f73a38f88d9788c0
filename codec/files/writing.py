"""Decoded images to image files of Pillow's formats: what each can hold, and what is said where it
cannot."""

from __future__ import annotations

import importlib
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...formats import UnsupportedError, parse
from ..cpus import available_cpus
from ..pixels.metadata import descriptive_exif, upright
from ..pixels.xmp import segments_of

if TYPE_CHECKING:
    from PIL import Image

    from ...formats.tiles import Box
    from ..api import Codec

log = logging.getLogger(__name__)

# What every Pillow writes, by suffix: it need not be loaded to say so
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".ppm": "PPM", ".tif": "TIFF",
           ".tiff": "TIFF", ".bmp": "BMP"}  # fmt: skip
# Pillow's modules of what people write most
PLUGINS = {"PNG": "Png", "JPEG": "Jpeg", "PPM": "Ppm", "WEBP": "WebP", "TIFF": "Tiff",
           "BMP": "Bmp"}  # fmt: skip

# Pillow opens these by name only, or needs other programs for them; or they are no pictures.
NOT_PICTURES = {"AEI", "BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}
ALPHA_FORMATS = {"PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "ICO"}
EXIF_FORMATS = {"PNG", "JPEG", "MPO", "WEBP", "TIFF", "AVIF", "HEIF", "JXL"}
XMP_FORMATS = {"PNG", "JPEG", "MPO", "WEBP", "TIFF", "AVIF", "HEIF", "JXL"}
LOSSY_QUALITY = 95  # of JPEG, WebP and AVIF outputs
XMP_TAG = 700  # TIFF
ICO_SIDE = 256  # pixels, at most
# As png.py has it: three times as fast as Pillow's default, and no larger where a codec has been;
# drawings that none has touched would be.
PNG_OPTIONS = {"compress_level": 1, "compress_type": 3}  # zlib's Z_RLE
NAMES = {"exif": "Exif", "xmp": "XMP", "icc_profile": "colour profile"}


@dataclass(frozen=True)
class Converted:
    """The bytes of an output file; width, height of the image in pixels; kept: they are the
    source's; details: how a target was met; said: what was done to the image, for people; lost:
    tiles of a damaged file that could not be decoded; check: to be given what was read back from
    the disk, returns further details, and raises AeiError where it is not as it should be; facts:
    what a manifest says of it, see job.Job.audited."""

    data: bytes
    width: int
    height: int
    kept: bool = False
    details: dict[str, float] = field(default_factory=dict)
    said: str = ""
    lost: tuple[Box, ...] = ()
    check: Callable[[bytes], dict[str, float]] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DecodeOptions:
    """What to decode: region and scale as in Codec.decode; salvage: the good tiles of a damaged
    file."""

    region: tuple[int, int, int, int] | None = None
    scale: int = 1
    salvage: bool = False


class _NamedFile(io.BytesIO):
    name = ""


def decode_file(
    data: bytes,
    codec: Codec,
    format_: str = "PNG",
    options: DecodeOptions = DecodeOptions(),
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """An image file in one of Pillow's formats from an .aei file, with the metadata that Pillow can
    write.

    Raises UnsupportedError where the format cannot hold the image's transparency, and the errors of
    Codec.decode, or of Codec.salvage.
    """
    threads = codec.threads or available_cpus()
    if not takes_pillow(format_, options):
        from .. import decoder
        from ..models.model import own_threads
        from . import png

        contents = parse(data)
        model = codec.model_of_file(contents.header)
        with own_threads(codec.threads):
            pixels, metadata = decoder.levels(model, contents, options.region, progress=progress)
        height, width = pixels.shape[:2]
        return Converted(png.file_of(pixels, metadata, threads), width, height)
    if options.salvage:
        saved = codec.salvage(data, progress=progress)
        image, lost = saved.image, tuple(saved.lost)
    else:
        image = codec.decode(data, region=options.region, scale=options.scale, progress=progress)
        lost = ()
    data = image_file(image, format_, threads)
    return Converted(data, *image.size, said=_said_of(lost), lost=lost)


def takes_pillow(format_: str, options: DecodeOptions) -> bool:
    """Whether `decode_file` needs Pillow, whose loading is a tenth of a cold decode."""
    return format_ != "PNG" or options.salvage or options.scale != 1


def _said_of(lost: tuple[Box, ...]) -> str:
    """The tiles that are lost, in words."""
    if not lost:
        return ""
    boxes = "; ".join(f"{b.left},{b.top},{b.width},{b.height}" for b in lost)
    return f"{len(lost)} tiles are lost and left grey: {boxes} (left, top, width, height)"


def output_format(suffix: str) -> str:
    """Pillow's name of the format that files with this suffix have. Raises UnsupportedError."""
    suffix = suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    from PIL import Image

    if suffix == ".webp":
        load_plugin("WEBP")
        if Image.EXTENSION.get(suffix) in Image.SAVE:
            return Image.EXTENSION[suffix]
    format_ = Image.registered_extensions().get(suffix)
    if format_ is None or format_ not in Image.SAVE or format_ in NOT_PICTURES:
        raise UnsupportedError(
            f"cannot write {suffix or 'files without a suffix'}: choose .png, .jpg, .webp or .tif"
        )
    return format_


def load_plugin(format_: str) -> None:
    """Load what of Pillow writes a format, and not, as it would, the plugins of others."""
    if format_ in PLUGINS:
        importlib.import_module(f"PIL.{PLUGINS[format_]}ImagePlugin")


def image_file(image: Image.Image, format_: str, threads: int = 1) -> bytes:
    """The bytes of an image in one of Pillow's formats. threads: for PNG; others take one.

    Where a format holds no Exif, its orientation is applied to the pixels. A piece of metadata that
    cannot be written is left out, with a warning in the log that names it. Raises UnsupportedError
    where the format cannot hold the pixels.
    """
    load_plugin(format_)
    pieces = {name: image.info[name] for name in NAMES if image.info.get(name)}
    if format_ not in EXIF_FORMATS:
        image = upright(image)
        pieces.pop("exif", None)
    if format_ not in XMP_FORMATS:
        pieces.pop("xmp", None)
    image = _held(image, format_)
    if format_ == "TIFF" and "exif" in pieces:
        try:
            pieces["exif"] = descriptive_exif(pieces["exif"])
        except Exception as error:  # readers raise nearly everything on damaged data
            _say("exif", format_, error)
            del pieces["exif"]
    return _written(image, format_, pieces, threads)


def _held(image: Image.Image, format_: str) -> Image.Image:
    """The image as a format holds it. Raises UnsupportedError where it would lose something."""
    if image.mode in ("RGBA", "LA") and format_ not in ALPHA_FORMATS:
        if any(image.getchannel("A").histogram()[:255]):
            raise UnsupportedError(
                f"the image has transparency, which {format_} files do not keep: choose .png, "
                ".webp or .tif"
            )
        image = image.convert(image.mode[:-1])  # opaque everywhere: nothing is lost
    if format_ == "GIF" and image.mode != "L":
        raise UnsupportedError("GIF files hold 256 colours: choose .png, .webp or .tif")
    if format_ == "ICO" and max(image.size) > ICO_SIDE:
        raise UnsupportedError(
            f"ICO files hold images of up to {ICO_SIDE}x{ICO_SIDE} pixels: choose .png"
        )
    return image


def _written(image: Image.Image, format_: str, pieces: dict[str, bytes], threads: int) -> bytes:
    """The file with as many of the pieces of metadata as can be written."""
    try:
        return _save(image, format_, pieces, threads)
    except (MemoryError, OSError) as error:
        if not pieces or isinstance(error, MemoryError):
            raise _refusal(format_, error) from None
        first: Exception = error
    except Exception as error:  # Pillow's writers raise nearly everything on odd metadata
        if not pieces:
            raise _refusal(format_, error) from None
        first = error
    for name in pieces:  # the one at fault, if it is one
        rest = {other: value for other, value in pieces.items() if other != name}
        try:
            data = _save(image, format_, rest, threads)
        except Exception:
            continue
        _say(name, format_, first)
        return data
    data = _written(image, format_, {}, threads)
    for name in pieces:
        _say(name, format_, first)
    return data


def _refusal(format_: str, error: BaseException) -> BaseException:
    if isinstance(error, MemoryError):
        return error
    return UnsupportedError(f"cannot be written as {format_} ({error})")


def _say(name: str, format_: str, why: Exception) -> None:
    log.warning(
        "the image's %s cannot be written as %s and is left out (%s)", NAMES[name], format_, why
    )


def _save(image: Image.Image, format_: str, pieces: dict[str, bytes], threads: int) -> bytes:
    if format_ == "PNG":
        import numpy as np

        from . import png

        if image.mode in png.MODES:
            return png.file_of(np.asarray(image), pieces, threads)
    options: dict[str, Any] = {n: pieces[n] for n in ("exif", "icc_profile") if n in pieces}
    xmp = pieces.get("xmp")
    if format_ == "PNG":
        options |= PNG_OPTIONS
        if xmp:
            from PIL.PngImagePlugin import PngInfo

            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    elif format_ in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = LOSSY_QUALITY
        segments = segments_of(xmp) if xmp and format_ == "JPEG" else None
        if segments is not None:
            options["extra"] = b"".join(
                b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content
                for content in segments
            )
        elif xmp:
            options["xmp"] = xmp
    elif format_ == "TIFF" and xmp:
        options["tiffinfo"] = {XMP_TAG: xmp}
    elif format_ == "ICO":
        options["sizes"] = [image.size]
    # told the pieces, Pillow must not look for others in `info`
    image.load()
    image = image._new(image.im)
    image.info = {}
    return _saved(image, format_, options)


def _saved(image: Image.Image, format_: str, options: dict[str, Any]) -> bytes:
    """What Pillow makes of it."""
    out = _NamedFile()
    # told the format by a suffix, Pillow loads the one plugin instead of five
    suffix = next((s for s in FORMATS if FORMATS[s] == format_), "")
    out.name = f"image{suffix}"
    image.save(out, None if suffix else format_, **options)
    return out.getvalue()

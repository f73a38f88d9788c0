"""One picture as a client asked for it: decoded, cut, scaled down, and written in its format."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..codec.api import Codec
from ..codec.files.convert import open_image
from ..codec.files.writing import PNG_OPTIONS
from ..codec.pixels.metadata import info_of, orientation_of, upright
from ..codec.pixels.side_channels import read_metadata
from ..formats import AeiError, Contents, LimitError, Limits, UnsupportedError, parse
from ..formats.container import SIGNATURE
from ..formats.errors import shown
from .negotiate import AEI, AVIF, JPEG, PNG, WEBP
from .settings import ServeSettings

if TYPE_CHECKING:
    from PIL import Image

# What originals may be; Pillow reads more, which would be more to attack.
ORIGINALS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF")
AVIF_LESS = 20  # its quality at which it looks about as JPEG and WebP do
AVIF_SPEED = 9
TURNED = 5  # Exif's orientations from here on
Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class Wanted:
    """width: of the answer in pixels; a picture is never made larger. region: (left, top, width,
    height) of the picture as it is stored."""

    width: int | None = None
    region: Region | None = None

    @property
    def whole(self) -> bool:
        return self.width is None and self.region is None


def has_alpha(data: bytes) -> bool:
    """Whether a picture may have transparency, by its first bytes. Raises AeiError."""
    if data.startswith(SIGNATURE):
        return parse(data).header.alpha
    image = _peek(data)
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def render(
    codec: Codec,
    data: bytes,
    wanted: Wanted,
    kind: str,
    settings: ServeSettings,
    cancel: Callable[[], bool] | None = None,
) -> bytes:
    """The bytes of a picture as media type `kind`.

    data: an .aei file or an original. Metadata is left out but the colour profile; orientation is
    applied. cancel: asked now and then; True ends the work with LimitError. Raises AeiError.
    """
    if kind == AEI and wanted.whole and data.startswith(SIGNATURE):
        return data
    image = _image(codec, data, wanted, settings, cancel)
    profile = image.info.get("icc_profile")
    image = upright(image)
    width = wanted.width
    if width is not None and width < image.width:
        height = max(1, round(image.height * width / image.width))
        from PIL import Image as images

        image = image.resize((width, height), images.Resampling.LANCZOS, reducing_gap=2.0)
    image.info = {"icc_profile": profile} if profile else {}
    if cancel is not None and cancel():
        raise LimitError("cancelled, or has taken longer than it may")
    if kind == AEI:
        return codec.encode(image, settings.quality, convert=True)
    return written(image, kind, settings.lossy)


def _image(
    codec: Codec,
    data: bytes,
    wanted: Wanted,
    settings: ServeSettings,
    cancel: Callable[[], bool] | None,
) -> Image.Image:
    """The picture, or the region of it, no smaller than is wanted where it is that large."""
    if data.startswith(SIGNATURE):
        limits = settings.limits(cancel)
        contents = parse(data, limits)
        header = contents.header
        sides = wanted.region[2:] if wanted.region else (header.width, header.height)
        scale = 1
        if wanted.width is not None:
            across = sides[1] if _is_turned(contents, limits) else sides[0]
            scale = next((s for s in (8, 4, 2) if across // s >= wanted.width), 1)
        return codec.decode_contents(contents, wanted.region, scale, limits)
    size = _peek(data).size
    settings.limits().check_pixels(*size)
    image, _ = open_image(data, convert=True)
    if wanted.region is None:
        return image
    left, top, width, height = wanted.region
    if left + width > image.width or top + height > image.height:
        raise UnsupportedError(
            f"region {left},{top},{width},{height} is not within the image of "
            f"{image.width}x{image.height} pixels (left, top, width, height)"
        )
    return image.crop((left, top, left + width, top + height))


def _is_turned(contents: Contents, limits: Limits) -> bool:
    """Whether a picture is to be shown with its height across."""
    from PIL import Image as images

    probe = images.new("L", (1, 1))
    probe.info.update(info_of(read_metadata(contents.sections, limits)))
    return orientation_of(probe) >= TURNED


def _peek(data: bytes) -> Image.Image:
    """An original with its header read alone. Raises UnsupportedError."""
    from PIL import Image as images

    try:
        return images.open(io.BytesIO(data), formats=ORIGINALS)
    except Exception:  # Pillow's plugins raise nearly everything on damaged data
        raise UnsupportedError(
            "no picture of a kind that is taken: JPEG, PNG, WebP, AVIF, aei"
        ) from None


def written(image: Image.Image, kind: str, quality: int) -> bytes:
    """A picture in one of the formats of browsers."""
    if image.mode not in ("L", "RGB", "RGBA") and not (image.mode == "LA" and kind == PNG):
        clear = image.mode in ("LA", "PA") or "transparency" in image.info
        image = image.convert("RGBA" if clear else "RGB")
    if kind == JPEG and image.mode == "RGBA":
        image = image.convert("RGB")
    options = {
        JPEG: {"format": "JPEG", "quality": quality, "progressive": True},
        WEBP: {"format": "WEBP", "quality": quality},
        AVIF: {
            "format": "AVIF",
            "quality": quality - AVIF_LESS,
            "speed": AVIF_SPEED,
            "max_threads": 1,
        },
        PNG: {"format": "PNG", **PNG_OPTIONS},
    }[kind]
    out = io.BytesIO()
    try:
        image.save(out, **options)  # type: ignore[arg-type]
    except (OSError, ValueError) as error:  # sides over what a format holds
        raise UnsupportedError(f"cannot be written as {kind} ({shown(str(error))})") from None
    return out.getvalue()


def stopper(event: threading.Event, until: float) -> Callable[[], bool]:
    """A function that says True once an event is set, or a moment of time.monotonic() is over."""
    import time

    return lambda: event.is_set() or time.monotonic() > until


__all__ = ["AeiError", "Wanted", "has_alpha", "render", "stopper", "written"]

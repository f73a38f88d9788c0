"""Image files to .aei files and back, bytes in and bytes out: what a file tool decides around the
codec.

Images are opened with Pillow; HEIC too where pillow-heif is installed. Nothing is lost silently:
animations, transparency that an output format cannot hold and, unless they are to be converted,
16-bit images and other colour spaces are refused by name.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...formats import AeiError, DamagedFileError, UnsupportedError
from ...formats.container import SIGNATURE, check_size
from ..api import Codec, default_codec
from ..pixels.depth import converted, depth_of, depth_of_jpeg2000, refuse_deep
from ..pixels.metadata import upright, whole_xmp
from ..reading import read_regular
from ..restore.restorers import restore_first
from ..settings import EncodeSettings
from .unread import why_unread
from .verify import check_written
from .writing import (
    NOT_PICTURES,
    Converted,
    DecodeOptions,
    decode_file,
    image_file,
    output_format,
)

if TYPE_CHECKING:
    from PIL import Image

    from ..targets import Target

log = logging.getLogger(__name__)

ENCODING = 2 / 3  # of the time of encoding and verifying


@dataclass(frozen=True)
class EncodeOptions(EncodeSettings):
    """How to encode a file: EncodeSettings, and what concerns files.

    target: a size or quality to meet, overrides `quality`. max_side: scale down, never up, so that
    neither side is longer (pixels). keep_smaller: give the source's own bytes back where they are
    no more than the result; never without `metadata`, nor where the image was scaled or restored.
    convert: more bits and other colour spaces to 8-bit RGB or grey, which are refused otherwise.
    first_frame: take the first of several frames or pages, of a collection its main image; files
    with several are refused otherwise.
    """

    target: Target | None = None
    max_side: int | None = None
    keep_smaller: bool = False
    convert: bool = False
    first_frame: bool = False


def encode_file(
    data: bytes,
    codec: Codec,
    options: EncodeOptions,
    progress: Callable[[int, int], None] | None = None,
    frame: int | None = None,
) -> Converted:
    """An .aei file from the bytes of an image file. progress: as of Codec.encode_with. frame: which
    of several to take, from 0. With `options.verify` the result has a `check`.

    Raises UnsupportedError for what cannot be held, DamagedFileError for what cannot be read.
    """
    opened = read_image(data, options.max_side, options.convert, frame, options.first_frame)
    image, scaled = opened.image, opened.scaled
    if scaled and options.restores:
        image = image.copy()  # without the JPEG tables, which say nothing of a smaller image
    first = restore_first(lambda: codec.restorers, image, options)
    image = first.image
    details: dict[str, float] = {}
    checked = None
    if options.verify and progress is not None:
        checked = _share_of(progress, ENCODING, 1)
        progress = _share_of(progress, 0, ENCODING)
    if options.target is None:
        encoded = codec.encode_with(image, first.settings, progress)
    else:
        from ..targets import reach

        reached = reach(codec, image, options.target, first.settings, progress)
        encoded = reached.data
        details = {
            "gain_index": reached.gain_index,
            options.target.kind: round(reached.achieved, 5),
        }
    width, height = image.size
    changed = not options.metadata or scaled or options.restores or opened.of_several
    if options.keep_smaller and not changed and len(data) <= len(encoded):
        check = functools.partial(_check_copy, data) if options.verify else None
        return Converted(data, width, height, kept=True, check=check)
    check = None
    if options.verify:
        check = functools.partial(
            check_written,
            meant=encoded,
            image=image,
            codec=codec,
            settings=first.settings,
            progress=checked,
        )
    return Converted(encoded, width, height, details=details, said=first.said, check=check)


def _share_of(
    progress: Callable[[int, int], None], first: float, last: float
) -> Callable[[int, int], None]:
    """The progress of a piece of work, told as one from `first` to `last` of a larger one."""
    return lambda done, total: progress(int(total * first + done * (last - first)), total)


def _check_copy(meant: bytes, written: bytes) -> dict[str, float]:
    if written != meant:
        raise DamagedFileError("what was read back from the disk is not what was written")
    return {}


@dataclass(frozen=True)
class Opened:
    """An image, its pixels read. scaled: down, to a largest side; of_several: it is one frame of
    those that the file has, and was asked for."""

    image: Image.Image
    scaled: bool
    of_several: bool


def open_image(
    data: bytes, max_side: int | None = None, convert: bool = False
) -> tuple[Image.Image, bool]:
    """`read_image` of a file with one image, and whether it was scaled down."""
    opened = read_image(data, max_side, convert)
    return opened.image, opened.scaled


def read_image(
    data: bytes,
    max_side: int | None = None,
    convert: bool = False,
    frame: int | None = None,
    first_frame: bool = False,
) -> Opened:
    """The image in a file. max_side: scale larger ones down. convert: more bits and other colour
    spaces too, as 8-bit RGB or grey. frame: which of several frames or pages, from 0. first_frame:
    of several the one that the file opens with. Of a camera's JPEG without either it is the
    photograph. Raises UnsupportedError and DamagedFileError."""
    if data.startswith(SIGNATURE):
        raise UnsupportedError("already an .aei file: decode it first")
    with _opened(data) as image:
        several = getattr(image, "n_frames", 1) > 1
        if several and frame is None and not first_frame:
            _refuse_frames(image)
        if frame is not None:
            image.seek(frame)
        if image.format in ("JPEG", "MPO"):
            image.info["xmp"] = whole_xmp(image)  # for what is made of it too
        if max_side is None:
            check_size(*image.size)
        depth = depth_of(image)
        if image.format == "JPEG2000":
            depth = max(depth, depth_of_jpeg2000(data))
        if not convert:
            refuse_deep(image, depth)
        if image.format == "PNG" and (cicp := cicp_of(data)) is not None:
            image.info["cicp"] = cicp
        if several and image.format != "TIFF":  # whose Exif lies in tags that a copy has not
            image = image.copy()  # this frame alone
        if convert:
            image = converted(image, depth)
        scaled = False
        if max_side is not None and max(image.size) > max_side:
            image, scaled = _scale_down(image, max_side), True
        check_size(*image.size)
        image.load()
    return Opened(image, scaled, several and (frame is not None or first_frame))


def frames_in(path: Path) -> int:
    """How many frames or pages an image file has; 1 where it cannot be told."""
    with contextlib.suppress(AeiError, OSError, MemoryError):
        data = read_regular(path)
        if not data.startswith(SIGNATURE):
            with _opened(data) as image:
                return int(getattr(image, "n_frames", 1))
    return 1


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """A file, opened by Pillow; all that goes wrong while this lasts is one of our errors."""
    from PIL import Image

    heic = register_heic()
    with _pillow_errors(), warnings.catch_warnings():
        # Pillow warns from 89 megapixels on, and refuses twice that; the file format takes more.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        why = why_unread(data, heic)
        if why is not None:
            raise UnsupportedError(why)
        if not data:
            raise UnsupportedError("not an image: the file is empty")
        yield Image.open(io.BytesIO(data))


def _refuse_frames(image: Image.Image) -> None:
    """Raise UnsupportedError for several frames, but for a camera's JPEG with previews or depth
    behind the photograph."""
    if image.format == "MPO":
        log.info("the further pictures inside a camera's JPEG (preview, depth) are not kept")
        return
    frames = getattr(image, "n_frames", 1)
    raise UnsupportedError(
        f"the image has {frames} frames, of which a file holds one", reason="frames"
    )


def cicp_of(data: bytes) -> tuple[int, ...] | None:
    """The four numbers of a PNG file's cICP chunk, which Pillow does not read; None without."""
    at = len(b"\x89PNG\r\n\x1a\n")
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind in (b"IDAT", b"PLTE"):
            break
        if kind == b"cICP" and length == 4:
            return tuple(data[at + 8 : at + 12])
        at += 12 + length
    return None


def _scale_down(image: Image.Image, side: int) -> Image.Image:
    from PIL import Image

    if image.mode == "1":
        image = image.convert("L")
    elif "transparency" in image.info or image.mode in ("P", "PA"):
        clear = "transparency" in image.info or image.mode == "PA"
        image = image.convert("LA" if clear and image.mode == "L" else "RGBA" if clear else "RGB")
    # thumbnail() keeps the proportions, and lets JPEG decode at a fraction of its size first
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


@contextlib.contextmanager
def _pillow_errors() -> Iterator[None]:
    """Whatever Pillow's readers throw at bad data, as one of our errors."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except (AeiError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnsupportedError("not an image that Pillow can read") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UnsupportedError(f"Pillow refuses images of over {most} megapixels") from None
    except Exception as error:  # readers raise nearly everything on damaged data
        raise DamagedFileError(f"the image cannot be read ({error})") from None


@functools.cache
def register_heic() -> bool:
    """Let Pillow open HEIC, where pillow-heif is installed; whether it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Suffixes, like ".jpg", of the files that `encode_file` can be expected to read."""
    from PIL import Image

    register_heic()
    extensions = Image.registered_extensions()
    return frozenset(
        suffix
        for suffix, format_ in extensions.items()
        if format_ in Image.OPEN and format_ not in NOT_PICTURES
    )


def load_codec(
    model: str | Path | None,
    threads: int | None,
    restore_bundle: str | Path | None = None,
    tune: str | None = None,
) -> Codec:
    """A codec with all that encoding for a tune needs read at once, so that threads need not wait
    for each other."""
    codec = Codec(model, threads, restore_bundle)
    used = codec.model_of_tune(tune)
    bundle = used.bundle
    _ = bundle.prior.tables, bundle.prior.costs, bundle.rows, bundle.analysis, used.transforms
    return codec


def thumbnail(
    data: bytes | memoryview | str | os.PathLike[str], size: int, codec: Codec | None = None
) -> bytes:
    """A PNG of an .aei file, its bytes or its path, upright and at most `size` pixels a side;
    without metadata, in the colours of its profile.

    Raises the errors of Codec.thumbnail.
    """
    image = upright((codec or default_codec()).thumbnail(data, size))
    profile = image.info.get("icc_profile")
    image.info = {} if profile is None else {"icc_profile": profile}
    return image_file(image, "PNG")


__all__ = [
    "Converted",
    "DecodeOptions",
    "EncodeOptions",
    "Opened",
    "cicp_of",
    "decode_file",
    "encode_file",
    "frames_in",
    "image_file",
    "image_suffixes",
    "load_codec",
    "open_image",
    "output_format",
    "read_image",
    "register_heic",
    "thumbnail",
]

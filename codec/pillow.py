"""Pillow plugin: `import aei.codec.pillow` makes Pillow open and save .aei files.

>>> import io
>>> import aei.codec.pillow
>>> from PIL import Image
>>> file = io.BytesIO()
>>> Image.new("RGB", (40, 30), "teal").save(file, "AEI", quality=40)
>>> Image.open(file).size
(40, 30)

Options of `save`: `quality` (1 to 100, default 75), or one of `target_size` (bytes), `target_bpp`,
`target_psnr` (dB), `target_ssim` and `target_ssimulacra2`; `effort`, `tune`, `restore`,
`enhance` and `preview` as in Codec.encode; `convert` too, for modes such as I;16, F and CMYK;
`icc_profile`, `exif` (bytes or Image.Exif) and `xmp` (bytes or str) in place of the image's own,
None or nothing to leave one out; `metadata=False` for none. Of an animation the current frame is
saved. What `getexif()` gives is written where it was edited. `info` of an opened file: `gain_index`
(0 to 255, the quality), and `icc_profile`, `exif` and `xmp` where the file has them. `draft` and
`thumbnail` take the file's preview where it is large enough, or decode at a half, a quarter or an
eighth of the size. `verify` looks at every checksum. imageio reads and writes .aei files through
this plugin too, once it is imported.
"""

from __future__ import annotations

import contextlib
from typing import IO, Any

from PIL import Image, ImageFile

from ..formats import DEFAULT_LIMITS, AeiError, Contents, parse, parse_header
from ..formats.container import HEAD_BYTES, SIGNATURE
from ..formats.sections import METADATA
from . import api
from .pixels.depth import converted
from .pixels.metadata import EXIF_PREFIX, as_bytes, exif_of, info_of, whole_xmp
from .pixels.side_channels import read_metadata
from .preview import contents_of, image_of
from .settings import EncodeSettings
from .targets import BPP, PSNR, SIZE, SSIM, SSIMULACRA2, Target, reach

TARGETS = {f"target_{kind}": kind for kind in (SIZE, BPP, PSNR, SSIM, SSIMULACRA2)}


class AeiImageFile(ImageFile.ImageFile):
    """Reads header and metadata on open; decodes on load."""

    format = "AEI"
    format_description = "aei learned image"

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read(HEAD_BYTES)
        try:
            header, _ = parse_header(data)
        except AeiError as error:
            raise SyntaxError(str(error)) from None  # Pillow: not ours, try the next plugin
        self._size = header.width, header.height
        self._mode = header.mode
        self._scale = 1
        self._preview: Contents | None = None  # the file's, and whether it is to be shown
        self._small = False
        self._thumbnail: tuple[float, float] | None = None  # asked for at the moment
        self.info["gain_index"] = header.gain_index
        # kept, so that `load` decodes this file and not one that takes its place
        self._data = data + self.fp.read()
        with contextlib.suppress(AeiError):  # of a damaged file: load() says it
            contents = parse(self._data)
            self.info.update(info_of(read_metadata(contents.sections, DEFAULT_LIMITS)))
            self._preview = contents_of(header, contents.sections)
        self.tile = [ImageFile._Tile("aei", (0, 0, *self._size), 0, None)]

    def verify(self) -> None:
        """Raise OSError where a checksum does not match."""
        try:
            contents = parse(self._data)
            for i in range(len(contents.entries)):
                contents.tile(i)
        except AeiError as error:
            raise OSError(str(error)) from None
        super().verify()

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Decode the file's preview, or at 1/2, 1/4 or 1/8, the smallest that is no smaller than
        `size`; modes are left alone."""
        if not self.tile or self._scale != 1 or self._small or not size:
            return None
        width, height = self._size
        if self._preview is not None:
            small = self._preview.header
            least = self._thumbnail or size
            if min(least[0] / width, least[1] / height) * width <= small.width and (
                self._thumbnail or (size[0] <= small.width and size[1] <= small.height)
            ):
                self._small = True
                self._size = small.width, small.height
                self.tile = [ImageFile._Tile("aei", (0, 0, *self._size), 0, None)]
                return self.mode, (0, 0, *self._size)
        ratio = min(width // max(1, size[0]), height // max(1, size[1]))
        self._scale = next(s for s in (8, 4, 2, 1) if s <= max(1, ratio))
        self._size = -(-width // self._scale), -(-height // self._scale)
        self.tile = [ImageFile._Tile("aei", (0, 0, *self._size), 0, None)]
        return self.mode, (0, 0, width / self._scale, height / self._scale)

    def thumbnail(
        self,
        size: tuple[float, float],
        resample: Image.Resampling = Image.Resampling.BICUBIC,
        reducing_gap: float | None = 2.0,
    ) -> None:
        """As Pillow's, from the file's preview where that is no smaller than the thumbnail."""
        self._thumbnail = size
        try:
            super().thumbnail(size, resample, reducing_gap)
        finally:
            self._thumbnail = None

    def load(self) -> Any:
        if self.tile:
            try:
                decoded = self._decoded()
            except AeiError as error:
                raise OSError(str(error)) from None
            self.im = decoded.im
            self.info.update(decoded.info)
            self.tile = []
            self._data = b""
            if self._exclusive_fp and self._close_exclusive_fp_after_loading and self.fp:
                self.fp.close()
            self.fp = None
        return super().load()

    def _decoded(self) -> Image.Image:
        """The picture, or its preview, at the size that was settled."""
        if not self._small:
            return api.decode(self._data, scale=self._scale)
        codec = api.default_codec()
        image = image_of(codec, self._preview, DEFAULT_LIMITS)
        if image is None:  # a broken one
            image = codec.decode(self._data, scale=8).resize(self._size)
        return image

    def load_seek(self, pos: int) -> None:
        """Tells ImageFile.Parser that this is no format to be decoded as it arrives."""


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(SIGNATURE)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    options = image.encoderinfo
    try:
        if options.get("convert"):
            image = converted(image)
    except AeiError as error:
        raise OSError(str(error)) from None
    image = _with_metadata(image, options)
    try:
        targets = [
            Target(kind, options[name])
            for name, kind in TARGETS.items()
            if options.get(name) is not None
        ]
        quality = options.get("quality")
        if len(targets) + (quality is not None) > 1:
            raise ValueError("quality and the targets exclude each other: give one")
        names = ("quality", "metadata", "effort", "tune", "restore", "enhance", "preview")
        settings = EncodeSettings(**{n: options[n] for n in names if n in options})
        codec = api.default_codec()
        if targets:
            data = reach(codec, image, targets[0], settings).data
        else:
            data = codec.encode_with(image, settings)
    except AeiError as error:
        raise OSError(str(error)) from None
    file.write(data)


def _with_metadata(image: Image.Image, options: dict[str, Any]) -> Image.Image:
    """The image with the metadata that was named in save() in place of its own; None and nothing
    take it away. Raises TypeError."""
    given = {name: as_bytes(name, options[name]) for name in METADATA if name in options}
    if given and "xmp" not in given and hasattr(image, "applist"):
        given["xmp"] = whole_xmp(image)  # whose parts a copy does not have
    if not given and not hasattr(image, "tag_v2"):
        return image
    # what Pillow has read counts, as for its own plugins: 16 bits are 8 by now
    image.load()
    changed = image._new(image.im)  # the same pixels; info is a copy
    if hasattr(image, "quantization"):  # by which restoration sees what a JPEG file has lost
        changed.quantization = image.quantization  # type: ignore[attr-defined]
    if "exif" not in given and (exif := exif_of(image)):
        given["exif"] = EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX)  # the edited one
    others = {"exif": "Raw profile type exif", "xmp": "XML:com.adobe.xmp"}
    for name, value in given.items():
        changed.info.pop(others.get(name, name), None)
        changed.info[name] = value
    return changed


def _save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    frames = getattr(image, "n_frames", 1) + len(list(image.encoderinfo.get("append_images", [])))
    if frames > 1:
        raise OSError(f"{frames} frames: an .aei file holds one picture")
    _save(image, file, filename)


Image.register_open(AeiImageFile.format, AeiImageFile, _accept)
Image.register_save(AeiImageFile.format, _save)
Image.register_save_all(AeiImageFile.format, _save_all)
Image.register_extension(AeiImageFile.format, ".aei")
Image.register_mime(AeiImageFile.format, "image/x-aei")

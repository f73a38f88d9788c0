"""Pillow plugin: `import aei.codec.pillow` makes Pillow open and save .aei files.

>>> import io
>>> import aei.codec.pillow
>>> from PIL import Image
>>> file = io.BytesIO()
>>> Image.new("RGB", (40, 30), "teal").save(file, "AEI", quality=40)
>>> Image.open(file).size
(40, 30)
"""

from __future__ import annotations

from typing import IO

from PIL import Image, ImageFile

from ..formats import AeiError, parse_header
from ..formats.container import HEAD_BYTES, SIGNATURE
from ..formats.sections import METADATA
from . import api


class AeiImageFile(ImageFile.ImageFile):
    """Reads the header on open; decodes on load. `info["quality"]` is left to the encoder's caller:
    files carry a gain index, given as `info["gain_index"]`."""

    format = "AEI"
    format_description = "aei learned image"

    def _open(self) -> None:
        assert self.fp is not None
        try:
            header, _ = parse_header(self.fp.read(HEAD_BYTES))
        except AeiError as error:
            raise SyntaxError(str(error)) from None  # Pillow: not ours, try the next plugin
        self._size = header.width, header.height
        self._mode = header.mode
        self.info["gain_index"] = header.gain_index
        self.tile = [ImageFile._Tile("aei", (0, 0, *self._size), 0, None)]

    def load(self):
        if self.tile:
            assert self.fp is not None
            self.fp.seek(0)
            try:
                decoded = api.decode(self.fp.read())
            except AeiError as error:
                raise OSError(str(error)) from None
            self.im = decoded.im
            self.info.update(decoded.info)
            self.tile = []
            if self._exclusive_fp and self._close_exclusive_fp_after_loading:
                self.fp.close()
            self.fp = None
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(SIGNATURE)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    options = image.encoderinfo
    given = {key: options[key] for key in METADATA if options.get(key) is not None}
    if isinstance(given.get("exif"), Image.Exif):
        given["exif"] = given["exif"].tobytes()
    if given:  # metadata named in save() replaces the image's own
        image = image.copy()
        image.info.update(given)
    try:
        data = api.encode(image, options.get("quality", 50), metadata=options.get("metadata", True))
    except AeiError as error:
        raise OSError(str(error)) from None
    file.write(data)


Image.register_open(AeiImageFile.format, AeiImageFile, _accept)
Image.register_save(AeiImageFile.format, _save)
Image.register_extension(AeiImageFile.format, ".aei")
Image.register_mime(AeiImageFile.format, "image/x-aei")

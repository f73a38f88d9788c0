"""`Codec`: a loaded model that turns images into .aei bytes and back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..formats import Contents, Header, UnknownModelError, UnsupportedError, pack, parse
from ..formats.container import check_size
from ..formats.plane import decode_plane, encode_plane
from ..formats.sections import ALPHA, MAX_METADATA, METADATA, deflate, inflate
from .arrays import as_pixels
from .bundle import Bundle, default_bundle, find_bundle

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from .images import Picture
    from .latents import Latents

GAIN_LEVELS = 256


def gain_index_of_quality(quality: float) -> int:
    """Quality 1..100 (best) to the gain index 0..255 that files carry. Raises UnsupportedError."""
    if not 1 <= quality <= 100:
        raise UnsupportedError(f"quality {quality}: choose a number from 1 to 100")
    return round((quality - 1) * (GAIN_LEVELS - 1) / 99)


class Codec:
    """A model bundle, loaded piece by piece as it is needed, for any number of images.

    model: folder of a bundle; by default the one that ships with the package. threads: of the float
    transforms, by default one per core; 1 is best where several images are coded at a time. Safe to use from
    several threads. Raises ModelError where the folder is not a bundle.
    """

    def __init__(self, model: str | Path | None = None, threads: int | None = None):
        self.threads = threads
        self.bundle = default_bundle() if model is None else Bundle(model)
        self._lock = threading.Lock()
        self._transforms = None

    @property
    def transforms(self):
        """The float transforms (loads ONNX Runtime)."""
        with self._lock:
            if self._transforms is None:
                from .transforms import Transforms

                self._transforms = Transforms(self.bundle.path, self.bundle.rows, self.threads)
            return self._transforms

    def encode(
        self,
        image: Image.Image | np.ndarray,
        quality: float = 50,
        *,
        gain_index: int | None = None,
        metadata: bool = True,
    ) -> bytes:
        """The .aei file of an image.

        image: a Pillow image, or a uint8 array (H, W), (H, W, 1) grey, (H, W, 2) with alpha, (H, W, 3) or
        (H, W, 4), sides 1..2048; or a torch tensor (see arrays.as_pixels). quality: 1..100; gain_index, 0..255, overrides it. metadata: keep the
        ICC profile, Exif and XMP of a Pillow image; without, Exif's orientation is applied instead.
        Raises UnsupportedError for images this version cannot hold.
        """
        from . import images
        from .latents import encode_latents, grid_of

        row = gain_index_of_quality(quality) if gain_index is None else int(gain_index)
        if not 0 <= row < GAIN_LEVELS:
            raise UnsupportedError(f"gain index {row}: choose a number from 0 to {GAIN_LEVELS - 1}")
        image = as_pixels(image)
        if not hasattr(image, "size"):
            raise UnsupportedError(
                f"cannot encode a {type(image).__name__}: give a Pillow image or array"
            )
        if isinstance(image.size, tuple):  # Pillow: refuse a huge image before its pixels are read
            check_size(*image.size)
        picture = images.to_picture(image, metadata)
        height, width = picture.colour.shape[:2]
        check_size(width, height)
        sections = _sections_of(picture)
        colour = picture.colour
        if picture.alpha is not None:
            colour = images.fill_transparent(colour, picture.alpha)
        program = self.bundle.prior.program
        grid_of(program, width, height)
        y, z = self.transforms.analysis(images.to_network(colour, program["stride"]), row)
        payload, code_all, _ = encode_latents(self.bundle.prior, row, y, z)
        header = Header(
            width=width,
            height=height,
            gain_index=row,
            model=self.bundle.fingerprint,
            grey=colour.ndim == 2,
            alpha=picture.alpha is not None,
            code_all=code_all,
        )
        return pack(header, payload, sections)

    def decode(self, data: bytes) -> Image.Image:
        """The image of a file written with this codec's model, as a Pillow image of mode RGB, RGBA, L or
        LA, with `icc_profile`, `exif` and `xmp` in its `info` where the file has them.

        Raises NotAnAeiFileError, DamagedFileError, UnsupportedError, or UnknownModelError.
        """
        from . import images

        contents = self._parse(data)
        header = contents.header
        picture = _side_channels(contents)
        latents = self._latents(contents)
        mean_bits = self.bundle.prior.program["mean_bits"]
        x = self.transforms.synthesis(latents.y_hat, header.gain_index, mean_bits)
        picture.colour = images.from_network(x, header.width, header.height, header.grey)
        return images.to_image(picture)

    def decode_latents(self, data: bytes) -> tuple[Header, Latents]:
        """Header and latents only: the part that is exact on every machine, without ONNX Runtime."""
        contents = self._parse(data)
        return contents.header, self._latents(contents)

    def _parse(self, data: bytes) -> Contents:
        contents = parse(bytes(data))
        model = contents.header.model
        if model != self.bundle.fingerprint:
            raise UnknownModelError(
                f"the file was written with model {model.hex()}, not with "
                f"{self.bundle.name} ({self.bundle.fingerprint.hex()}): name its bundle with --model"
            )
        return contents

    def _latents(self, contents: Contents) -> Latents:
        from .latents import decode_latents

        header = contents.header
        return decode_latents(
            self.bundle.prior,
            header.gain_index,
            contents.payload,
            header.width,
            header.height,
            header.code_all,
        )


def _sections_of(picture: Picture) -> dict[int, bytes]:
    """Metadata, deflated, and alpha unless it is opaque everywhere."""
    sections = {}
    for name, content in picture.metadata.items():
        if len(content) > MAX_METADATA:
            raise UnsupportedError(
                f"{name} of {len(content)} bytes: at most {MAX_METADATA}; leave metadata out (--strip)"
            )
        sections[METADATA[name]] = deflate(content)
    if picture.alpha is not None and picture.alpha.min() < 255:
        sections[ALPHA] = encode_plane(picture.alpha)
    return sections


def _side_channels(contents: Contents) -> Picture:
    """Alpha and metadata of a file; the colours are still to come."""
    import numpy as np

    from .images import Picture

    header, sections = contents.header, contents.sections
    alpha = None
    if ALPHA in sections:
        alpha = decode_plane(sections[ALPHA], header.width, header.height)
    elif header.alpha:
        alpha = np.full((header.height, header.width), 255, np.uint8)
    metadata = {
        name: inflate(sections[kind], MAX_METADATA)
        for name, kind in METADATA.items()
        if kind in sections
    }
    return Picture(np.empty(0, np.uint8), alpha, metadata)


_codecs: dict[Path, Codec] = {}


def codec_of_bundle(path: Path) -> Codec:
    """One shared Codec per bundle folder."""
    if path not in _codecs:
        _codecs[path] = Codec(path)
    return _codecs[path]


def default_codec() -> Codec:
    """The shared Codec of the model that ships with the package."""
    return codec_of_bundle(default_bundle().path)


def encode(image: Image.Image | np.ndarray, quality: float = 50, *, metadata: bool = True) -> bytes:
    """The .aei file of an image, with the model that ships with the package; see Codec.encode."""
    return default_codec().encode(image, quality, metadata=metadata)


def decode(data: bytes) -> Image.Image:
    """The image of a file written with any installed model; see Codec.decode."""
    header = parse(bytes(data)).header
    return codec_of_bundle(find_bundle(header.model).path).decode(data)

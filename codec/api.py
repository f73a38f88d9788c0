"""`Codec`: a loaded model that turns images into .aei bytes and back."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from ..formats import (
    DEFAULT_LIMITS,
    Contents,
    Header,
    Limits,
    parse,
)
from ..formats.sections import PREVIEW
from ..formats.tiles import Box
from .forks import Lock
from .models.bundle import Bundle, find_bundle, folder_of_tune
from .models.model import Model, own_threads
from .reading import as_data
from .settings import DEFAULT_QUALITY, EncodeSettings

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from PIL import Image

    from .exact.payload import Latents
    from .models.transforms import Transforms
    from .restore.restorers import Restorers

P = ParamSpec("P")
Out = TypeVar("Out")


def _few_threads(
    method: Callable[Concatenate[Codec, P], Out],
) -> Callable[Concatenate[Codec, P], Out]:
    """A method of Codec during which the native core and NumPy have as many threads as it."""

    @functools.wraps(method)
    def limited(self: Codec, /, *arguments: P.args, **options: P.kwargs) -> Out:
        with own_threads(self.threads):
            return method(self, *arguments, **options)

    return limited


@dataclass(frozen=True)
class Salvaged:
    """What could be saved of a damaged file: the image, grey where tiles are lost, and those
    tiles."""

    image: Image.Image
    lost: list[Box]


class Codec:
    """A model bundle, loaded piece by piece as it is needed, for any number of images.

    model: folder of a bundle, or the name of one that ships with the package, that everything is
    done with; by default `photo-1`, and the others that ship where a tune, or a file, is theirs.
    threads: of the native core and the float transforms, by default one per CPU; 1 is best where
    several images are coded at a time. NumPy gets no more. restore_bundle: a restoring bundle, or a
    folder of several, instead of the installed ones. Safe to use from several threads. Raises
    ModelError where the folder is not a bundle.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        threads: int | None = None,
        restore_bundle: str | Path | None = None,
    ):
        self.threads = threads
        self._named = model
        self._restore_bundle = restore_bundle
        self._only = None if model is None else Model(Bundle(model), threads)
        self._models: dict[bytes, Model] = {}  # by fingerprint
        self._of_tunes: dict[Path, Model] = {}  # by folder
        self._lock = Lock()
        self._restorers: Restorers | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as what it was made from."""
        return type(self), (self._named, self.threads, self._restore_bundle)

    def __repr__(self) -> str:
        """Which model, and how many threads; loads nothing but the manifest."""
        bundle = self.bundle
        threads = self.threads or "one per CPU"
        return f"<Codec of {bundle.name} ({bundle.fingerprint.hex()}), threads: {threads}>"

    @property
    def model(self) -> Model:
        """The model that images are encoded with, where no tune has its own."""
        return self.model_of_tune(None)

    @property
    def bundle(self) -> Bundle:
        """The bundle of `model`."""
        return self.model.bundle

    def model_of_tune(self, tune: str | None) -> Model:
        """The model that a tune is encoded with."""
        if self._only is not None:
            return self._only
        folder = folder_of_tune(tune)
        with self._lock:
            if folder not in self._of_tunes:
                bundle = Bundle(folder)
                made = Model(bundle, self.threads)
                self._of_tunes[folder] = self._models.setdefault(bundle.fingerprint, made)
            return self._of_tunes[folder]

    def model_of_file(self, header: Header) -> Model:
        """The model that a file was written with. Raises UnknownModelError, where this codec is not
        of one model alone."""
        if self._only is not None:
            return self._only
        with self._lock:
            if header.model not in self._models:
                self._models[header.model] = Model(find_bundle(header.model), self.threads)
            return self._models[header.model]

    @property
    def transforms(self) -> Transforms:
        """The float transforms (loads ONNX Runtime)."""
        return self.model.transforms

    @property
    def restorers(self) -> Restorers:
        """The restoring bundles at hand (looks for them when one is asked for)."""
        with self._lock:
            if self._restorers is None:
                from .restore.restorers import Restorers

                self._restorers = Restorers(self._restore_bundle, self.threads)
            return self._restorers

    def encode(
        self,
        image: Image.Image | NDArray[Any],
        quality: float = DEFAULT_QUALITY,
        *,
        gain_index: int | None = None,
        metadata: bool = True,
        tile_side: int | None = None,
        effort: int | None = None,
        tune: str | None = None,
        restore: str | None = None,
        enhance: str | None = None,
        convert: bool = False,
        preview: bool | None = None,
    ) -> bytes:
        """The .aei file of an image.

        image: a Pillow image, or a uint8 array (H, W), (H, W, 1) grey, (H, W, 2) with alpha, (H,
        W, 3) or (H, W, 4); or a torch tensor (see arrays.as_pixels). quality: 1..100, about the
        SSIMULACRA 2 to expect; gain_index, 0..255, overrides it. metadata: keep the ICC profile,
        Exif and XMP of a Pillow image; without, Exif's orientation is applied instead. tile_side:
        side of tiles, a multiple of 64 up to 16384; by default 1024 for images over 2048 pixels on
        a side, else none. effort: 0 (fastest) to 9 (smallest files); tune: what small files are to
        keep: `ssimulacra2` (the look; the default), `psnr`, or `ms-ssim`, which takes effort 5 by
        default; see docs/guide/effort.md. restore: denoise, deblock, deblur, or auto, which
        measures; enhance: low-light, contrast, colour, haze or auto: done before coding, by a
        restoring bundle (see docs/guide/restoration.md); the file is an ordinary one. convert: take
        16 bits, floats, CMYK, YCbCr and Lab too, as 8-bit RGB or grey (pixels/depth.py). preview:
        put a small picture of 320 pixels into the file, for `thumbnail`; by default into files of
        over two megapixels, where half a per cent of the bytes is enough for it. Raises
        UnsupportedError for images this version cannot hold, ModelError where no such restoring
        bundle is installed.
        """
        return self.encode_with(
            image,
            EncodeSettings(
                quality,
                gain_index,
                metadata,
                tile_side,
                effort,
                tune,
                restore,
                enhance,
                convert,
                preview,
            ),
        )

    @_few_threads
    def encode_with(
        self,
        image: Image.Image | NDArray[Any],
        settings: EncodeSettings,
        progress: Callable[[int, int], None] | None = None,
    ) -> bytes:
        """`encode` with its keywords as one object. progress: told the pixels that are done, and
        all of them, a few times in each tile; what it raises ends the work."""
        from . import encoder

        model = self.model_of_tune(settings.tune)
        return encoder.encode(model, image, settings, lambda: self.restorers, progress)

    def decode(
        self,
        data: bytes | memoryview | str | os.PathLike[str],
        *,
        region: tuple[int, int, int, int] | None = None,
        scale: int = 1,
        limits: Limits = DEFAULT_LIMITS,
        progress: Callable[[int, int], None] | None = None,
    ) -> Image.Image:
        """The image of a file of this codec's models, its bytes or its path, as a Pillow image of
        mode RGB, RGBA, L or LA, with `icc_profile`, `exif` and `xmp` in its `info` where the file
        has them.

        region: (left, top, width, height) in pixels; only the tiles it needs are read. scale: 1, 2,
        4 or 8, for an image of 1/scale of the size (of the region), rounded up; at 4 and 8 it comes
        from the latents by a linear map, without the network, and without a region from the file's
        preview, where that is large enough. limits: what the file may cost.
        progress: told now and then the pixels that are done, and all of them; what it raises ends
        the work.
        Raises NotAnAeiFileError, DamagedFileError, UnsupportedError, LimitError or
        UnknownModelError.
        """
        contents = parse(as_data(data), limits)
        return self.decode_contents(contents, region, scale, limits, progress=progress)

    def thumbnail(
        self,
        data: bytes | memoryview | str | os.PathLike[str],
        side: int = 256,
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Image.Image:
        """A small image of a file, its bytes or its path: neither of its sides is longer than
        `side` pixels, or than the image's own.

        It comes from the file's preview where that is large enough, and of a path only the start is
        read then; else from the latents. Mode and `info` are those of `decode`; Exif's orientation
        is not applied. Raises the errors of `decode`.
        """
        from . import preview

        return preview.thumbnail(self, data, side, limits)

    def salvage(
        self,
        data: bytes | memoryview | str | os.PathLike[str],
        *,
        limits: Limits = DEFAULT_LIMITS,
        progress: Callable[[int, int], None] | None = None,
    ) -> Salvaged:
        """Decode the good tiles of a damaged or truncated file; the others are left mid-grey.

        Raises the errors of `decode` where nothing can be saved: the start of the file is damaged,
        or it is not cut into tiles.
        """
        contents = parse(as_data(data), limits)
        lost: list[int] = []
        image = self.decode_contents(contents, None, 1, limits, lost, progress)
        return Salvaged(image, [contents.boxes[i] for i in sorted(lost)])

    @_few_threads
    def decode_contents(
        self,
        contents: Contents,
        region: tuple[int, int, int, int] | None,
        scale: int,
        limits: Limits,
        lost: list[int] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Image.Image:
        """`decode` of a parsed file. With a list `lost`, damaged tiles are left grey and noted
        there."""
        from . import decoder

        model = self.model_of_file(contents.header)
        if PREVIEW in contents.sections and region is None and lost is None:
            from . import preview

            image = preview.scaled(self, contents, scale, limits)
            if image is not None:
                return image
        return decoder.decode(model, contents, region, scale, limits, lost, progress)

    def latents(
        self, data: bytes | memoryview | str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS
    ) -> Iterator[Latents]:
        """The latents of each tile (a plain file has one): the part that is exact on every machine,
        without ONNX Runtime."""
        from . import decoder

        contents = parse(as_data(data), limits)
        return decoder.latents(self.model_of_file(contents.header), contents, limits)

    def latents_sha256(
        self, data: bytes | memoryview | str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS
    ) -> str:
        """SHA-256 over each tile's z_hat, then its y_hat, as little-endian int32 in C order (row,
        column, channel): equal on every machine."""
        digest = hashlib.sha256()
        for latents in self.latents(data, limits=limits):
            digest.update(latents.z_hat.astype("<i4").tobytes())
            digest.update(latents.y_hat.astype("<i4").tobytes())
        return digest.hexdigest()

    def pixels_sha256(self, data: bytes | memoryview, *, limits: Limits = DEFAULT_LIMITS) -> str:
        """SHA-256 of the decoded levels, a byte each, in C order (row, column, channel): equal on
        every machine where the model has an integer synthesis."""
        return hashlib.sha256(self.decode(data, limits=limits).tobytes()).hexdigest()


_shared = Codec()


def default_codec() -> Codec:
    """The shared Codec of the models that ship with the package; nothing is loaded before it is
    needed."""
    return _shared


def encode(
    image: Image.Image | NDArray[Any],
    quality: float = DEFAULT_QUALITY,
    *,
    metadata: bool = True,
    effort: int | None = None,
    tune: str | None = None,
    restore: str | None = None,
    enhance: str | None = None,
    convert: bool = False,
    preview: bool | None = None,
) -> bytes:
    """The .aei file of an image, with the model that ships with the package; see Codec.encode."""
    return default_codec().encode(
        image,
        quality,
        metadata=metadata,
        effort=effort,
        tune=tune,
        restore=restore,
        enhance=enhance,
        convert=convert,
        preview=preview,
    )


def decode(
    data: bytes | memoryview | str | os.PathLike[str],
    *,
    region: tuple[int, int, int, int] | None = None,
    scale: int = 1,
    limits: Limits = DEFAULT_LIMITS,
) -> Image.Image:
    """The image of a file written with any installed model; see Codec.decode."""
    return default_codec().decode(data, region=region, scale=scale, limits=limits)

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
    DamagedFileError,
    Header,
    Limits,
    UnknownModelError,
    UnsupportedError,
    pack,
    parse,
)
from ..formats.container import MAX_PLAIN_SIDE, check_size
from ..formats.plane import encode_plane
from ..formats.sections import ALPHA, FILTER
from ..formats.tiles import DEFAULT_SIDE, MAX_SIDE, UNIT, Box, tile_boxes, tiles_touching
from .cpus import available_cpus, blas_threads
from .forks import Lock
from .models.bundle import Bundle, default_bundle, find_bundle
from .pixels.side_channels import AlphaRows, alpha_span, pack_metadata, read_metadata, with_alpha
from .pixels.tensors import as_pixels
from .reading import as_data
from .settings import DEFAULT_QUALITY, GAIN_LEVELS, TUNES, is_number, settle_effort

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from .exact.latents import Latents
    from .models.transforms import Transforms
    from .pixels.windows import TileCache
    from .restore.restorers import Restorers

BAND_CELLS = 1024  # exact/synthesis.py's, which would load NumPy
STRIP = 1 << 14  # pixels/windows.py's
WINDOW_BYTES = 200  # memory of the transforms per pixel of a block, measured: 115, in tiles 170
BAND_BYTES = 60_000  # of the integer synthesis per cell of a band
CELL_PIXELS = 256  # of the latents' grid
# Memory of the prior per latent and per cell of a tile, measured: 52 to 58 bytes a pixel with 320
# latents.
LATENT_BYTES, CELL_BYTES = 60, 512
PAYLOAD_BYTES = 32  # of a byte of a tile's payload, all escapes


P = ParamSpec("P")
Out = TypeVar("Out")


def _few_threads(
    method: Callable[Concatenate[Codec, P], Out],
) -> Callable[Concatenate[Codec, P], Out]:
    """A method of Codec during which NumPy has no more threads than the codec."""

    @functools.wraps(method)
    def limited(self: Codec, /, *arguments: P.args, **options: P.kwargs) -> Out:
        with blas_threads(self.threads):
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

    model: folder of a bundle; by default the one that ships with the package. threads: of the float
    transforms, by default one per core; 1 is best where several images are coded at a time. NumPy
    gets no more. restore_bundle: a restoring bundle, or a folder of several, instead of the
    installed ones. Safe to use from several threads. Raises ModelError where the folder is not a
    bundle.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        threads: int | None = None,
        restore_bundle: str | Path | None = None,
    ):
        self.threads = threads
        self._model = model
        self._restore_bundle = restore_bundle
        self._restorers: Restorers | None = None
        self.bundle = default_bundle() if model is None else Bundle(model)
        self._lock = Lock()
        self._transforms: Transforms | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as what it was made from."""
        return type(self), (self._model, self.threads, self._restore_bundle)

    @property
    def transforms(self) -> Transforms:
        """The float transforms (loads ONNX Runtime)."""
        with self._lock:
            if self._transforms is None:
                from .models.transforms import Transforms

                bundle = self.bundle
                self._transforms = Transforms(bundle.path, bundle.rows, self.threads, bundle.margin)
            return self._transforms

    @property
    def restorers(self) -> Restorers:
        """The restoring bundles at hand (looks for them when one is asked for)."""
        with self._lock:
            if self._restorers is None:
                from .restore.restorers import Restorers

                self._restorers = Restorers(self._restore_bundle, self.threads)
            return self._restorers

    @_few_threads
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
        16 bits, floats, CMYK, YCbCr and Lab too, as 8-bit RGB or grey (pixels/depth.py). Raises
        UnsupportedError for images this version cannot hold, ModelError where no such restoring
        bundle is installed.
        """
        from .exact.latents import grid_of, write
        from .pixels import images
        from .pixels.depth import as_8_bits
        from .pixels.post_filter import LEAST_PIXELS, MOST_PIXELS, Fit
        from .pixels.post_filter import pack as pack_filter
        from .pixels.windows import decoded_tile, quantise_tile, read_tile

        if gain_index is not None and not is_number(gain_index):
            raise UnsupportedError(f"gain index {gain_index!r}: choose a number from 0 to 255")
        if gain_index is None:
            row = self.bundle.gain_index_of_quality(DEFAULT_QUALITY if quality is None else quality)
        else:
            row = int(gain_index)
        if not 0 <= row < GAIN_LEVELS:
            raise UnsupportedError(f"gain index {row}: choose a number from 0 to {GAIN_LEVELS - 1}")
        effort = settle_effort(effort, tune)
        bits_per_error = self.bundle.bits_per_error(row)
        if bits_per_error is None and tune not in (None, "psnr"):
            raise UnsupportedError(
                f"model {self.bundle.name} cannot be tuned for {tune}: leave that out"
            )
        tune = tune or ("psnr" if bits_per_error is None else next(iter(TUNES)))
        image = as_pixels(image)
        if convert:
            image = as_8_bits(image)
        if not hasattr(image, "size"):
            raise UnsupportedError(
                f"cannot encode a {type(image).__name__}: give a Pillow image or array"
            )
        # Pillow: refuse what cannot be before its pixels are read
        if isinstance(image.size, tuple):
            check_size(*image.size)
        if restore is not None or enhance is not None:
            image = self.restorers.apply(image, restore, enhance, metadata).image
        picture = images.to_picture(image, metadata)
        width, height = picture.size
        check_size(width, height)
        sections = pack_metadata(picture.metadata)
        if tile_side is None:
            tile_side = DEFAULT_SIDE if max(width, height) > MAX_PLAIN_SIDE else 0
        program = self.bundle.prior.program
        boxes = self._boxes(width, height, tile_side)
        has_alpha = picture.channels in (2, 4)
        tiles = []
        # the post-filter saves squared error, at the expense of what shows; it is fitted to some of
        # the tiles of a large image
        filtered = effort > 0 and tune != "ssimulacra2" and width * height >= LEAST_PIXELS
        every = -(-len(boxes) * boxes[0].width * boxes[0].height // MOST_PIXELS)
        fit = Fit(grey=picture.channels <= 2)
        for i, box in enumerate(boxes):
            grid_of(program, box.width, box.height)
            levels, cells, alpha = read_tile(picture, box, program["stride"], self.bundle.halo)
            size = box.width, box.height
            quantised = quantise_tile(
                lambda: self.transforms, self.bundle, levels, cells, size, row, effort, tune
            )
            payload, _ = write(self.bundle.prior, row, quantised)
            if filtered and i % every == 0:
                fit.add(
                    *decoded_tile(
                        lambda: self.transforms, self.bundle, quantised, levels, cells, size, row
                    )
                )
            plane = b"" if alpha is None or alpha.min() == 255 else encode_plane(alpha)
            if has_alpha and tile_side:
                payload = with_alpha(plane, payload)
            elif plane:
                sections[ALPHA] = plane
            tiles.append((payload, quantised.code_all))
        if filtered and bits_per_error is not None:
            planes = fit.best(bits_per_error, width * height)
            if planes is not None:
                sections[FILTER] = pack_filter(planes)
        header = Header(
            width=width,
            height=height,
            gain_index=row,
            model=self.bundle.fingerprint,
            grey=picture.channels <= 2,
            alpha=has_alpha,
            tiled=bool(tile_side),
        )
        return pack(header, tiles, sections, tile_side)

    def _boxes(self, width: int, height: int, tile_side: int) -> list[Box]:
        if not tile_side:
            return [Box(0, 0, width, height)]
        unit = self._tile_unit()
        if not 0 < tile_side <= MAX_SIDE or tile_side % unit:
            raise UnsupportedError(
                f"tiles of {tile_side} pixels: choose a multiple of {unit} up to {MAX_SIDE}"
            )
        return tile_boxes(width, height, tile_side)

    def decode(
        self,
        data: bytes | memoryview | str | os.PathLike[str],
        *,
        region: tuple[int, int, int, int] | None = None,
        scale: int = 1,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Image.Image:
        """The image of a file written with this codec's model, its bytes or its path, as a Pillow
        image of mode RGB, RGBA, L or LA, with `icc_profile`, `exif` and `xmp` in its `info` where
        the file has them.

        region: (left, top, width, height) in pixels; only the tiles it needs are read. scale: 1, 2,
        4 or 8, for an image of 1/scale of the size (of the region), rounded up; at 4 and 8 it comes
        from the latents by a linear map, without the network. limits: what the file may cost.
        Raises NotAnAeiFileError, DamagedFileError, UnsupportedError, LimitError or
        UnknownModelError.
        """
        return self.decode_contents(parse(as_data(data), limits), region, scale, limits)

    def salvage(
        self, data: bytes | memoryview | str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS
    ) -> Salvaged:
        """Decode the good tiles of a damaged or truncated file; the others are left mid-grey.

        Raises the errors of `decode` where nothing can be saved: the start of the file is damaged,
        or it is not cut into tiles.
        """
        contents = parse(as_data(data), limits)
        lost: list[int] = []
        image = self.decode_contents(contents, None, 1, limits, lost)
        return Salvaged(image, [contents.boxes[i] for i in sorted(lost)])

    @_few_threads
    def decode_contents(
        self,
        contents: Contents,
        region: tuple[int, int, int, int] | None,
        scale: int,
        limits: Limits,
        lost: list[int] | None = None,
    ) -> Image.Image:
        """`decode` of a parsed file. With a list `lost`, damaged tiles are left grey and noted
        there."""
        from PIL import Image

        from .exact.synthesis import to_levels
        from .pixels import images
        from .pixels.metadata import info_of
        from .pixels.windows import Shown, blocks_of, filter_of

        self._check_model(contents)
        header = contents.header
        whole = Box(0, 0, header.width, header.height)
        wanted = _checked_region(region, whole)
        if not is_number(scale) or scale not in (1, 2, 4, 8):
            raise UnsupportedError(f"scale {scale!r}: choose 1, 2, 4 or 8")
        scale = int(scale)
        metadata = read_metadata(contents.sections, limits)
        planes = filter_of(contents)
        m = self.bundle.prior.program["latents"]
        tiles, capacity = self._tile_cache(contents, wanted, lost, limits)
        size = -(-wanted.width // scale), -(-wanted.height // scale)
        blocks = blocks_of(wanted, contents.side)
        touched = self._touched(contents, wanted)
        limits.check_work(*_work(contents, touched, wanted))
        window = self._window(wanted, blocks)
        limits.check_memory(_memory(contents, touched, size, window, capacity, m))
        canvas = Image.new(header.mode, size)
        shown = Shown(
            self.bundle, lambda: self.transforms, tiles, whole, contents.side, header.gain_index,
            planes, self.threads or available_cpus(), limits.checker,
        )  # fmt: skip
        # Small images come straight from the latents where the model has a matrix for it.
        small = scale in shown.preview_scales() and wanted.left % scale == wanted.top % scale == 0
        alpha = AlphaRows(contents, wanted, lost) if header.alpha else None
        for box, pixels in shown.previews(wanted, scale) if small else shown.bands(wanted, scale):
            limits.check_cancelled()
            left, top = box.left - wanted.left, box.top - wanted.top
            colour = to_levels(pixels, header.grey)
            beside = None if alpha is None else alpha.part(box)
            part = images.joined(colour, beside, scale, small)
            canvas.paste(part, (left // scale, top // scale))
        canvas.info.update(info_of(metadata))
        return canvas

    def _window(self, wanted: Box, blocks: list[Box]) -> int:
        """Estimated bytes that the synthesis takes at once for what is wanted."""
        if self.bundle.synthesis is None:
            return WINDOW_BYTES * max(block.width * block.height for block in blocks)
        columns: int = -(-min(STRIP, wanted.width) // self.bundle.prior.program["stride"])
        return BAND_BYTES * max(BAND_CELLS, columns)

    def _tile_cache(
        self, contents: Contents, wanted: Box, lost: list[int] | None, limits: Limits
    ) -> tuple[TileCache, int]:
        """Latents of tiles on demand. With `lost`, tiles that are damaged go there, and are
        zero."""
        import numpy as np

        from .exact.latents import grid_of
        from .pixels.windows import TileCache, rows_of_tiles

        header, program = contents.header, self.bundle.prior.program

        def decode(i: int) -> NDArray[np.int32]:
            limits.check_cancelled()
            try:
                return self._tile_latents(contents, i, limits).y_hat
            except DamagedFileError:
                if lost is None or not contents.side:
                    raise
                if i not in lost:
                    lost.append(i)
                h, w, _, _ = grid_of(program, contents.boxes[i].width, contents.boxes[i].height)
                return np.zeros((h, w, program["latents"]), np.int32)

        side = contents.side or max(header.width, header.height)
        # a post-filter sees a little more, hence a cell more of the latents
        capacity = rows_of_tiles(wanted, side, (self.bundle.halo + 1) * program["stride"])
        return TileCache(contents.boxes, side, header.width, capacity, decode), capacity

    def _touched(self, contents: Contents, wanted: Box) -> list[int]:
        """Tiles whose latents a box of pixels needs."""
        header = contents.header
        whole = Box(0, 0, header.width, header.height)
        # a post-filter sees a little more, hence a cell more of the latents
        margin = (self.bundle.halo + 1) * self.bundle.prior.program["stride"]
        side = contents.side or max(header.width, header.height)
        return tiles_touching(wanted.grown(margin, whole), header.width, side)

    @_few_threads
    def _tile_latents(self, contents: Contents, i: int, limits: Limits = DEFAULT_LIMITS) -> Latents:
        from .exact.latents import decode_latents

        header, box = contents.header, contents.boxes[i]
        content = contents.tile(i)
        if header.alpha and contents.side:
            content = content[alpha_span(content)[1] :]
        return decode_latents(
            self.bundle.prior,
            header.gain_index,
            content,
            box.width,
            box.height,
            contents.entries[i].code_all,
            limits.checker,
        )

    def latents(
        self, data: bytes | memoryview | str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS
    ) -> Iterator[Latents]:
        """The latents of each tile (a plain file has one): the part that is exact on every machine,
        without ONNX Runtime."""
        contents = parse(as_data(data), limits)
        self._check_model(contents)
        whole = Box(0, 0, contents.header.width, contents.header.height)
        every = list(range(len(contents.entries)))
        limits.check_work(*_work(contents, every, whole))
        m = self.bundle.prior.program["latents"]
        limits.check_memory(_memory(contents, every, (0, 0), 0, 1, m))

        def each() -> Iterator[Latents]:
            for i in every:
                limits.check_cancelled()
                yield self._tile_latents(contents, i, limits)

        return each()

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

    def _check_model(self, contents: Contents) -> None:
        model = contents.header.model
        if model != self.bundle.fingerprint:
            raise UnknownModelError(
                f"the file was written with model {model.hex()}, not with "
                f"{self.bundle.name} ({self.bundle.fingerprint.hex()})",
                reason="model",
            )
        if contents.side % self._tile_unit():
            raise DamagedFileError(f"tiles of {contents.side} pixels do not suit the file's model")

    def _tile_unit(self) -> int:
        """Sides of tiles are multiples of this, so that they are whole numbers of hyper-latents."""
        program = self.bundle.prior.program
        side: int = program["stride"] * program["hyper_stride"]
        return max(UNIT, side)


def _whole_number(value: object) -> int:
    number: int = int(value)  # type: ignore[call-overload]
    if number != value:
        raise ValueError
    return number


def _checked_region(region: tuple[int, int, int, int] | None, whole: Box) -> Box:
    if region is None:
        return whole
    try:
        left, top, width, height = (_whole_number(n) for n in region)
    except (TypeError, ValueError, OverflowError):
        raise UnsupportedError(
            f"region {region!r}: give four whole numbers, left, top, width, height"
        ) from None
    box = Box(left, top, width, height)
    if min(width, height) < 1 or box.intersection(whole) != box:
        raise UnsupportedError(
            f"region {left},{top},{width},{height} is not within the image of "
            f"{whole.width}x{whole.height} pixels (left, top, width, height)"
        )
    return box


def _work(contents: Contents, touched: list[int], wanted: Box) -> tuple[int, int, int]:
    """Pixels, tiles and bytes of image data that decoding a box takes; touched: its tiles."""
    boxes, entries = contents.boxes, contents.entries
    pixels = sum(boxes[i].width * boxes[i].height for i in touched)
    payload = sum(entries[i].end - entries[i].start for i in touched)
    return max(pixels, wanted.width * wanted.height), len(touched), payload


def _memory(
    contents: Contents,
    touched: list[int],
    size: tuple[int, int],
    window: int,
    capacity: int,
    m: int,
) -> int:
    """Estimated bytes that decoding takes: the image, the kept latents, and the prior's work on a
    tile or the synthesis' (`window`), which come one after the other."""
    tile = contents.boxes[0].width * contents.boxes[0].height  # none is larger
    payload = max(contents.entries[i].end - contents.entries[i].start for i in touched)
    kept = min(capacity, len(contents.boxes)) * tile * m * 4 // CELL_PIXELS
    prior = tile * (m * LATENT_BYTES + CELL_BYTES) // CELL_PIXELS + PAYLOAD_BYTES * payload
    return 4 * size[0] * size[1] + kept + max(window, prior)


_codecs: dict[Path, Codec] = {}


def codec_of_bundle(path: Path) -> Codec:
    """One shared Codec per bundle folder."""
    if path not in _codecs:
        _codecs[path] = Codec(path)
    return _codecs[path]


def default_codec() -> Codec:
    """The shared Codec of the model that ships with the package."""
    return codec_of_bundle(default_bundle().path)


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
    )


def decode(
    data: bytes | memoryview | str | os.PathLike[str],
    *,
    region: tuple[int, int, int, int] | None = None,
    scale: int = 1,
    limits: Limits = DEFAULT_LIMITS,
) -> Image.Image:
    """The image of a file written with any installed model; see Codec.decode."""
    contents = parse(as_data(data), limits)
    codec = codec_of_bundle(find_bundle(contents.header.model).path)
    return codec.decode_contents(contents, region, scale, limits)

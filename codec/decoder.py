"""File to image: the parts of a picture, one after the other, at the price that limits allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..formats import (
    DEFAULT_LIMITS,
    Contents,
    DamagedFileError,
    Limits,
    UnknownModelError,
    UnsupportedError,
)
from ..formats.tiles import Box, tiles_touching
from .exact.native.team import core_threads
from .exact.payload import Latents, decode_latents
from .exact.steps import grid_of
from .exact.synthesis import BAND_CELLS, to_levels
from .models.model import Model, own_threads
from .pixels import images
from .pixels.metadata import info_of
from .pixels.side_channels import AlphaRows, alpha_span, read_metadata
from .settings import is_number
from .windows import STRIP, TileCache, WindowSynthesis, blocks_of, tiles_at_once

if TYPE_CHECKING:
    from PIL import Image

WINDOW_BYTES = 200  # memory of the transforms per pixel of a block, measured: 115, in tiles 170
BAND_BYTES = 60_000  # of the integer synthesis per cell of a band
CELL_PIXELS = 256  # of the latents' grid
# Memory of the prior per latent and per cell of a tile, measured: 52 to 58 bytes a pixel with 320
# latents.
LATENT_BYTES, CELL_BYTES = 60, 512
PAYLOAD_BYTES = 32  # of a byte of a tile's payload, all escapes


class Part(NamedTuple):
    """A rectangle of what is wanted, as it comes: colour, uint8 (h, w, 3) or (h, w) where grey, and
    alpha, uint8 (h, w), if there is any. small: colour is reduced to the wanted scale already."""

    box: Box
    colour: np.ndarray
    alpha: np.ndarray | None
    small: bool


def decode(
    model: Model,
    contents: Contents,
    region: tuple[int, int, int, int] | None = None,
    scale: int = 1,
    limits: Limits = DEFAULT_LIMITS,
    lost: list[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """The image of a parsed file; see Codec.decode. With a list `lost`, damaged tiles are left grey
    and noted there."""
    wanted, scale, metadata = _begun(model, contents, region, scale, limits)
    canvas = None
    for box, colour, alpha, small in _parts(model, contents, wanted, scale, limits, lost, progress):
        left, top = box.left - wanted.left, box.top - wanted.top
        part = images.joined(colour, alpha, scale, small)
        canvas = canvas or images.empty(contents.header.mode, _reduced(wanted, scale))
        canvas.paste(part, (left // scale, top // scale))
    assert canvas is not None  # what is wanted has pixels
    canvas.info.update(info_of(metadata))
    return canvas


def levels(
    model: Model,
    contents: Contents,
    region: tuple[int, int, int, int] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, dict[str, bytes]]:
    """The pixels of a parsed file, uint8 (H, W) where it is grey, else (H, W, C) with 2 to 4
    channels, and its metadata by name: what `decode` makes an image of, without Pillow."""
    wanted, scale, metadata = _begun(model, contents, region, 1, limits)
    channels = len(contents.header.mode)
    shape = (wanted.height, wanted.width, channels)[: 2 if channels == 1 else 3]
    pixels = None
    for box, colour, alpha, _ in _parts(model, contents, wanted, scale, limits, None, progress):
        pixels = np.empty(shape, np.uint8) if pixels is None else pixels
        part = pixels[box.within(wanted)]
        if alpha is None:
            part[:] = colour
        else:
            part[..., :-1] = colour if colour.ndim == 3 else colour[..., None]
            part[..., -1] = alpha
    assert pixels is not None  # what is wanted has pixels
    return pixels, metadata


def _begun(
    model: Model,
    contents: Contents,
    region: tuple[int, int, int, int] | None,
    scale: int,
    limits: Limits,
) -> tuple[Box, int, dict[str, bytes]]:
    """What is asked for of a file, and its metadata. Raises the errors of Codec.decode that need no
    decoding."""
    if core_threads() > 1:
        model.bundle.prepare_synthesis()
    check_model(model, contents)
    wanted, scale = _asked(contents, region, scale)
    return wanted, scale, read_metadata(contents.sections, limits)


def _reduced(wanted: Box, scale: int) -> tuple[int, int]:
    """Width and height at a scale."""
    return -(-wanted.width // scale), -(-wanted.height // scale)


def _parts(
    model: Model,
    contents: Contents,
    wanted: Box,
    scale: int,
    limits: Limits,
    lost: list[int] | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Part]:
    """What is wanted of a file, from the top, after a look at what it costs."""
    header = contents.header
    told = None if progress is None else _Told(model, contents, wanted, progress)
    tiles = tile_cache(model, contents, wanted, lost, limits, told)
    shown = WindowSynthesis.of(model, contents, tiles, limits.checker)
    # Small images come straight from the latents where the model has a matrix for it.
    small = (
        scale > 1
        and scale in shown.preview_scales()
        and wanted.left % scale == wanted.top % scale == 0
    )
    in_rows = model.bundle.has_synthesis and not small
    tiles.capacity = tiles_at_once(wanted, _side(contents), model.margin, in_rows)
    _check_price(model, contents, wanted, _reduced(wanted, scale), tiles, limits)
    # latents first: the synthesis may still be on its way
    _ = tiles[tiles_touching(wanted, header.width, _side(contents))[0]]
    alpha = AlphaRows(contents, wanted, lost) if header.alpha else None
    for box, pixels in shown.previews(wanted, scale) if small else shown.bands(wanted, scale):
        limits.check_cancelled()
        beside = None if alpha is None else alpha.part(box)
        yield Part(box, to_levels(pixels, header.grey), beside, small)
        if told is not None:
            told.shown(box)


def latents(model: Model, contents: Contents, limits: Limits) -> Iterator[Latents]:
    """The latents of each tile of a parsed file. Raises at once where the file is another model's,
    or costs more than the limits allow."""
    check_model(model, contents)
    whole = _whole(contents)
    every = list(range(len(contents.entries)))
    limits.check_work(*work_of(contents, every, whole))
    limits.check_memory(memory_of(contents, every, (0, 0), 0, 1, model.prior.latents))

    def each() -> Iterator[Latents]:
        for i in every:
            limits.check_cancelled()
            yield tile_latents(model, contents, i, limits)

    return each()


def tile_latents(
    model: Model, contents: Contents, i: int, limits: Limits = DEFAULT_LIMITS
) -> Latents:
    """The latents of one tile. Raises DamagedFileError."""
    header, box = contents.header, contents.boxes[i]
    with own_threads(model.threads):
        content = contents.tile(i)
        if header.alpha and contents.side:
            content = content[alpha_span(content)[1] :]
        return decode_latents(
            model.prior,
            header.gain_index,
            content,
            box.width,
            box.height,
            contents.entries[i].code_all,
            limits.checker,
        )


def check_model(model: Model, contents: Contents) -> None:
    """Raise UnknownModelError for a file of another model, DamagedFileError for one whose tiles do
    not suit it."""
    named, bundle = contents.header.model, model.bundle
    if named != bundle.fingerprint:
        raise UnknownModelError(
            f"the file was written with model {named.hex()}, not with "
            f"{bundle.name} ({bundle.fingerprint.hex()})",
            reason="model",
        )
    if contents.side % model.tile_unit:
        raise DamagedFileError(f"tiles of {contents.side} pixels do not suit the file's model")


class _Told:
    """Progress in pixels of what is wanted: half of it for the latents of the tiles that it needs,
    half for its pixels."""

    def __init__(
        self, model: Model, contents: Contents, wanted: Box, progress: Callable[[int, int], None]
    ):
        around = wanted.grown(model.margin, _whole(contents))
        self._left = set(tiles_touching(around, contents.header.width, _side(contents)))
        self._tiles, self._pixels = len(self._left), wanted.width * wanted.height
        self._shown, self._progress = 0, progress

    def tile(self, i: int) -> None:
        """The latents of tile i are there."""
        self._left.discard(i)
        self._say()

    def shown(self, box: Box) -> None:
        """The pixels of a box are."""
        self._shown += box.width * box.height
        self._say()

    def _say(self) -> None:
        tiles = self._pixels * (self._tiles - len(self._left)) // self._tiles
        done = self._pixels if self._shown >= self._pixels else (tiles + self._shown) // 2
        self._progress(done, self._pixels)


def tile_cache(
    model: Model,
    contents: Contents,
    wanted: Box,
    lost: list[int] | None,
    limits: Limits,
    told: _Told | None = None,
) -> TileCache:
    """Latents of tiles on demand. With `lost`, tiles that are damaged go there, and are zero."""
    header, prior = contents.header, model.prior

    def decoded(i: int) -> np.ndarray:
        limits.check_cancelled()
        try:
            y_hat = tile_latents(model, contents, i, limits).y_hat
        except DamagedFileError:
            if lost is None or not contents.side:
                raise
            if i not in lost:
                lost.append(i)
            h, w, _, _ = grid_of(prior.program, contents.boxes[i].width, contents.boxes[i].height)
            y_hat = np.zeros((h, w, prior.latents), np.int32)
        if told is not None:
            told.tile(i)
        return y_hat

    side = _side(contents)
    capacity = tiles_at_once(wanted, side, model.margin, False)
    return TileCache(contents.boxes, side, header.width, capacity, decoded)


def _whole(contents: Contents) -> Box:
    return Box(0, 0, contents.header.width, contents.header.height)


def _side(contents: Contents) -> int:
    """Of tiles, or of a plain file as one."""
    return contents.side or max(contents.header.width, contents.header.height)


def _asked(
    contents: Contents, region: tuple[int, int, int, int] | None, scale: int
) -> tuple[Box, int]:
    """The box that is asked for, and the scale. Raises UnsupportedError."""
    wanted = _checked_region(region, _whole(contents))
    if not is_number(scale) or scale not in (1, 2, 4, 8):
        raise UnsupportedError(f"scale {scale!r}: choose 1, 2, 4 or 8")
    return wanted, int(scale)


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


def _check_price(
    model: Model,
    contents: Contents,
    wanted: Box,
    size: tuple[int, int],
    tiles: TileCache,
    limits: Limits,
) -> None:
    """Raise LimitError where decoding a box to an image of a size is too much work, or takes too
    much memory."""
    around = wanted.grown(model.margin, _whole(contents))
    touched = tiles_touching(around, contents.header.width, _side(contents))
    limits.check_work(*work_of(contents, touched, wanted))
    window = _window_bytes(model, wanted, blocks_of(wanted, contents.side))
    limits.check_memory(
        memory_of(contents, touched, size, window, tiles.capacity, model.prior.latents)
    )


def _window_bytes(model: Model, wanted: Box, blocks: list[Box]) -> int:
    """Estimated bytes that the synthesis takes at once for what is wanted."""
    if not model.bundle.has_synthesis:
        return WINDOW_BYTES * max(block.width * block.height for block in blocks)
    columns = -(-min(STRIP, wanted.width) // model.prior.stride)
    return BAND_BYTES * max(BAND_CELLS, columns)


def work_of(contents: Contents, touched: list[int], wanted: Box) -> tuple[int, int, int]:
    """Pixels, tiles and bytes of image data that decoding a box takes; touched: its tiles."""
    boxes, entries = contents.boxes, contents.entries
    pixels = sum(boxes[i].width * boxes[i].height for i in touched)
    payload = sum(entries[i].end - entries[i].start for i in touched)
    return max(pixels, wanted.width * wanted.height), len(touched), payload


def memory_of(
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

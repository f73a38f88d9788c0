"""Large images in windows: tiles to latents and back, with margins so that no seam is seen and
memory is bounded by the window.

The prior works on one tile at a time and sees zeros outside it. The integer synthesis sees the
whole picture, row by row, and gives any part of it as it is in the whole, bit by bit. The float
transforms see the image (or the neighbouring tiles' latents) as far as it shows, the bundle's
`halo`, in cells of the latents' grid: their windows equal the whole image to within a hundredth of
a level.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...formats import Contents
from ...formats.sections import FILTER
from ...formats.tiles import Box, tile_boxes, tiles_touching
from ..exact import analysis
from ..exact.latents import Quantised, quantise, to_hyper_symbols
from ..exact.synthesis import bands_of, needed, run, units_of
from ..models.transforms import Transforms
from . import post_filter
from .images import Picture, fill_transparent, padded_levels, to_network

if TYPE_CHECKING:
    from ..models.bundle import Bundle

BLOCK = 1024  # pixels on a side that are synthesised at once, at least
STRIP = 1 << 14  # pixels of a picture's width that are: a band of a wider one would take ever more


def cells_of(box: Box, stride: int) -> Box:
    """The cells of the latents' grid that a box of pixels touches."""
    left, top = box.left // stride, box.top // stride
    return Box(left, top, -(-box.right // stride) - left, -(-box.bottom // stride) - top)


def read_tile(
    picture: Picture, box: Box, stride: int, halo: int
) -> tuple[np.ndarray, Box, np.ndarray | None]:
    """What the encoder sees of one tile with its margin, uint8 (H, W, 3), sides multiples of the
    stride; the tile's cells in the window's grid; and the tile's alpha, uint8 (h, w), or None."""
    window = box.grown(halo * stride, Box(0, 0, *picture.size))
    colour, alpha = picture.read(window)
    if alpha is not None:
        colour = fill_transparent(colour, alpha)
        alpha = alpha[
            box.top - window.top : box.bottom - window.top,
            box.left - window.left : box.right - window.left,
        ]
    tile, outer = cells_of(box, stride), cells_of(window, stride)
    cells = Box(tile.left - outer.left, tile.top - outer.top, tile.width, tile.height)
    return padded_levels(colour, stride), cells, alpha


def quantise_tile(
    transforms: Callable[[], Transforms],
    bundle: Bundle,
    levels: np.ndarray,
    cells: Box,
    size: tuple[int, int],
    row: int,
    effort: int,
    tune: str,
) -> Quantised:
    """Latents of one tile. transforms: gives those of the bundle, where it has no integer analysis,
    or to refine latents; levels, cells: from read_tile; size: width and height of the tile in
    pixels; effort: 0..9, see refine.STEPS; tune: what is saved, what shows (ssimulacra2), squared
    error (psnr) or structure (ms-ssim). A model without a gradient is not refined."""
    from ..search.refine import STEPS, refine

    prior = bundle.prior
    stride = prior.program["stride"]
    inside = slice(cells.top, cells.bottom), slice(cells.left, cells.right)
    if bundle.analysis is None:
        window = transforms().analysis(to_network(levels, stride), row)
        y = np.ascontiguousarray(window[inside])
        z_hat = to_hyper_symbols(transforms().hyper_analysis(y, row))
    else:
        whole = analysis.latents(bundle.analysis, levels, row)
        z_hat = analysis.hyper_symbols(bundle.analysis, np.ascontiguousarray(whole[inside]), row)
        window = analysis.in_steps(whole)
        y = np.ascontiguousarray(window[inside])
    bits_per_error = bundle.bits_per_error(row)
    if STEPS[effort] == 0 or bits_per_error is None:
        error_bits: float | np.ndarray = prior.rounding_bits
        if effort and tune == "ssimulacra2":
            from ..search.masking import worth_of_levels

            error_bits = error_bits * worth_of_levels(levels, stride)[inside]
        return quantise(prior, row, y, z_hat, error_bits if effort else None)
    from ..search.distortion import LostStructure, SquaredError, Synthesis, Target, Visible
    from ..search.ms_ssim import SIDE

    x = to_network(levels, stride)
    weight = np.zeros((1, 1, *x.shape[2:]), np.float32)
    top, left = (n * stride for n in (cells.top, cells.left))
    weight[:, :, top : top + size[1], left : left + size[0]] = 1
    synthesis = Synthesis(transforms(), row, prior.program["mean_bits"], bundle.halo)
    target = Target(x, weight, bits_per_error)
    distortion: SquaredError | Visible | LostStructure = SquaredError(synthesis, target)
    if tune == "ssimulacra2":
        distortion = Visible(synthesis, target, stride, Box(left, top, *size))
    if tune == "ms-ssim" and min(size) >= SIDE:
        distortion = LostStructure(synthesis, target, stride)
    return refine(prior, row, window, cells, z_hat, distortion, effort)


def decoded_tile(
    transforms: Callable[[], Transforms],
    bundle: Bundle,
    quantised: Quantised,
    levels: np.ndarray,
    cells: Box,
    size: tuple[int, int],
    row: int,
) -> tuple[np.ndarray, np.ndarray]:
    """What the synthesis makes of a tile by itself, pixel units int16 (h, w, 3), and what it should
    be, float32 (h, w, 3) in -0.5..0.5. The other arguments are those of `quantise_tile`."""
    width, height = size
    program = bundle.prior.program
    top, left = (n * program["stride"] for n in (cells.top, cells.left))
    wanted = to_network(levels[top : top + height, left : left + width], 1)[0].transpose(1, 2, 0)
    y_hat = quantised.y_hat
    if bundle.synthesis is None:
        box = Box(0, 0, width, height)
        return units_of(transforms().synthesis(y_hat, row, program["mean_bits"], box)), wanted
    bands = (y_hat[rows] for rows in bands_of(*y_hat.shape[:2]))
    made = np.concatenate(list(run(bundle.synthesis.synthesis, bands, len(y_hat), row)))
    return made[:height, :width], wanted


def filter_of(contents: Contents) -> post_filter.Filter | None:
    """A file's post-filter, if it has one. Raises DamagedFileError."""
    content = contents.sections.get(FILTER)
    return None if content is None else post_filter.read(content)


class TileCache:
    """y_hat of tiles, decoded when first asked for; the most recent `capacity` tiles are kept.

    boxes: of the tiles, row by row, `side` pixels wide and high. width: of the image.
    decode: index of a tile -> int32 (h, w, M).
    """

    def __init__(
        self,
        boxes: list[Box],
        side: int,
        width: int,
        capacity: int,
        decode: Callable[[int], np.ndarray],
    ):
        self.boxes = boxes
        self._side, self._width = side, width
        self._capacity = capacity
        self._decode = decode
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def __getitem__(self, i: int) -> np.ndarray:
        if i in self._kept:
            self._kept.move_to_end(i)
            return self._kept[i]
        while len(self._kept) >= self._capacity:
            self._kept.popitem(last=False)
        self._kept[i] = self._decode(i)
        return self._kept[i]

    def gather(self, cells: Box, stride: int) -> np.ndarray:
        """The latents of a rectangle of cells, int32 (h, w, M), out of the tiles it touches."""
        out = None
        pixels = Box(*(stride * n for n in (cells.left, cells.top, cells.width, cells.height)))
        for i in tiles_touching(pixels.intersection(_around(self.boxes)), self._width, self._side):
            y_hat = self[i]
            tile = cells_of(self.boxes[i], stride)
            if tile == cells:
                return y_hat
            part = tile.intersection(cells)
            if out is None:
                out = np.zeros((cells.height, cells.width, y_hat.shape[2]), np.int32)
            out[
                part.top - cells.top : part.bottom - cells.top,
                part.left - cells.left : part.right - cells.left,
            ] = y_hat[
                part.top - tile.top : part.bottom - tile.top,
                part.left - tile.left : part.right - tile.left,
            ]
        assert out is not None  # tiles cover the image
        return out


def rows_of_tiles(wanted: Box, side: int, margin: int) -> int:
    """How many tiles a row of blocks needs at once, with those above and below it."""
    rows = -(-(max(BLOCK, side) + 2 * margin) // side) + 1
    return rows * (-(-(min(STRIP, wanted.width) + 2 * margin) // side) + 2)


def strips_of(box: Box) -> list[Box]:
    """A box in strips that are STRIP wide at most, from the left."""
    return [
        Box(left, box.top, min(STRIP, box.right - left), box.height)
        for left in range(box.left, box.right, STRIP)
    ]


def blocks_of(wanted: Box, side: int) -> list[Box]:
    """The rectangles that are synthesised one after the other: a plain file's at once, else of the
    size of a tile, or of several where tiles are small, counted from the corner of what is
    wanted."""
    if not side:
        return [wanted]
    step = side * max(1, BLOCK // side)
    return [
        Box(wanted.left + box.left, wanted.top + box.top, box.width, box.height)
        for box in tile_boxes(wanted.width, wanted.height, step)
    ]


def _around(boxes: list[Box]) -> Box:
    return Box(0, 0, boxes[-1].right, boxes[-1].bottom)


@dataclass
class Shown:
    """What a file shows, in pixel units, a rectangle at a time.

    transforms: gives those of the bundle, where it has no integer synthesis. tiles: the file's
    latents. image: its sides. side: of its tiles, 0 for a plain file. row: its gain index. planes:
    its post-filter, if it has one. threads: of the native core. check: called between bands, and
    within those that NumPy works out; what it raises ends the work.
    """

    bundle: Bundle
    transforms: Callable[[], Transforms]
    tiles: TileCache
    image: Box
    side: int
    row: int
    planes: post_filter.Filter | None = None
    threads: int = 1
    check: Callable[[], None] | None = None

    def bands(
        self, box: Box, multiple: int = 1, linear: bool = False
    ) -> Iterator[tuple[Box, np.ndarray]]:
        """A box of the picture in parts, from the top (of each strip, where it is wide): each a
        box, and its pixels, int16 or int32 (h, w, 3).

        multiple: of which the parts' rows and columns are, but for the last. linear: what the
        linear path alone makes, without the post-filter.
        """
        planes = None if linear else self.planes
        if self.bundle.synthesis is None:
            for block in blocks_of(box, self.side):
                yield block, self._block(block, linear, planes)
            return
        for strip in strips_of(box):
            parts = self._bands(strip, linear) if planes is None else self._filtered(strip, planes)
            yield from parts if multiple == 1 else _grouped(parts, strip, multiple)

    def preview_scales(self) -> tuple[int, ...]:
        """Reductions that `preview` can make: none for a model without one."""
        if self.bundle.synthesis is not None:
            return tuple(self.bundle.synthesis.previews)
        return self.transforms().preview_scales(self.bundle.prior.program["stride"])

    def previews(self, box: Box, scale: int) -> Iterator[tuple[Box, np.ndarray]]:
        """A box whose corner is on multiples of `scale`, in parts, at 1/scale of its size: pixels
        (ceil(h / scale), ceil(w / scale), 3) straight from the latents, without a post-filter."""
        program = self.bundle.prior.program
        stride, bits = program["stride"], program["mean_bits"]
        for block in blocks_of(box, self.side):
            cells = cells_of(block, stride)
            y_hat = self.tiles.gather(cells, stride)
            if self.bundle.synthesis is None:
                x = units_of(self.transforms().preview(y_hat, self.row, bits, stride // scale))
            else:
                small = self.bundle.synthesis.previews[scale]
                x = np.concatenate(list(run(small, [y_hat], len(y_hat), self.row)))
            top = (block.top - cells.top * stride) // scale
            left = (block.left - cells.left * stride) // scale
            height, width = -(-block.height // scale), -(-block.width // scale)
            yield block, x[top : top + height, left : left + width]

    def _block(self, box: Box, linear: bool, planes: post_filter.Filter | None) -> np.ndarray:
        """A box by ONNX Runtime, with what the tiles around it contribute."""
        if planes is not None:
            outer = box.grown(post_filter.MARGIN, self.image)
            x = post_filter.apply(planes, self._block(outer, linear, None))
            return _part(x, box, outer)
        program = self.bundle.prior.program
        stride, bits = program["stride"], program["mean_bits"]
        window = cells_of(box, stride).grown(self.bundle.halo, cells_of(self.image, stride))
        y_hat = self.tiles.gather(window, stride)
        top, left = box.top - window.top * stride, box.left - window.left * stride
        if linear:
            x = self.transforms().linear_synthesis(y_hat, self.row, bits)
            return units_of(x[top : top + box.height, left : left + box.width])
        inner = Box(left, top, box.width, box.height)
        return units_of(self.transforms().synthesis(y_hat, self.row, bits, inner))

    def _bands(self, box: Box, linear: bool) -> Iterator[tuple[Box, np.ndarray]]:
        """A box by the integer synthesis, as wide as it is, as it comes."""
        synthesis = self.bundle.synthesis
        assert synthesis is not None
        program = synthesis.linear if linear else synthesis.synthesis
        stride = program.rate
        grid = cells_of(self.image, stride)
        top, bottom = needed(program, box.top, box.bottom, grid.height)
        left, right = needed(program, box.left, box.right, grid.width)
        window = Box(left, top, right - left, bottom - top)

        def latents() -> Iterator[np.ndarray]:
            for rows in bands_of(window.height, window.width):
                if self.check is not None:
                    self.check()
                height = rows.stop - rows.start
                cells = Box(window.left, window.top + rows.start, window.width, height)
                yield self.tiles.gather(cells, stride)

        at = window.top * stride
        first = box.left - window.left * stride
        for x in run(program, latents(), window.height, self.row, self.threads, self.check):
            begin, end = max(at, box.top), min(at + len(x), box.bottom)
            if begin < end:
                part = x[begin - at : end - at, first : first + box.width]
                yield Box(box.left, begin, box.width, end - begin), part
            at += len(x)

    def _filtered(self, box: Box, planes: post_filter.Filter) -> Iterator[tuple[Box, np.ndarray]]:
        """The same, filtered: the rows that a filter sees above and below come with the bands
        before and after."""
        outer = box.grown(post_filter.MARGIN, self.image)
        kept = np.empty((0, outer.width, 3), np.int16)
        top, done = outer.top, box.top  # of what is kept; rows of the box that have gone out
        for part, x in self._bands(outer, False):
            kept = np.concatenate([kept, x])
            last = part.bottom == outer.bottom
            end = min(box.bottom, part.bottom if last else part.bottom - post_filter.MARGIN)
            if end <= done:
                continue
            made = post_filter.apply(planes, kept)
            ready = Box(box.left, done, box.width, end - done)
            yield ready, _part(made, ready, Box(outer.left, top, outer.width, len(kept)))
            done = end
            count = max(0, done - post_filter.MARGIN - top)
            kept, top = kept[count:], top + count


def _part(x: np.ndarray, box: Box, outer: Box) -> np.ndarray:
    top, left = box.top - outer.top, box.left - outer.left
    return x[top : top + box.height, left : left + box.width]


def _grouped(
    parts: Iterator[tuple[Box, np.ndarray]], box: Box, multiple: int
) -> Iterator[tuple[Box, np.ndarray]]:
    """Parts as wide as a box, cut anew after multiples of rows."""
    kept, top = np.empty((0, box.width, 3), np.int16), box.top
    for part, x in parts:
        kept = np.concatenate([kept, x])
        count = len(kept) if part.bottom == box.bottom else len(kept) // multiple * multiple
        if count:
            yield Box(box.left, top, box.width, count), kept[:count]
        kept, top = kept[count:], top + count

"""Large images in windows: latents to pixels a part at a time, so that no seam is seen and memory
is bounded by the window.

The prior works on one tile at a time and sees zeros outside it. The integer synthesis sees the
whole picture, row by row, and gives any part of it as it is in the whole, bit by bit. The float
synthesis sees the neighbouring tiles' latents as far as it shows, the bundle's `halo`, in cells of
the latents' grid: its windows equal the whole image to within a hundredth of a level.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..formats import Contents
from ..formats.sections import FILTER
from ..formats.tiles import Box, tile_boxes, tiles_touching
from .exact.synthesis import bands_of, needed, run, units_of
from .models.model import Model
from .pixels import post_filter

BLOCK = 1024  # pixels on a side that are synthesised at once, at least
STRIP = 1 << 14  # pixels of a picture's width that are: a band of a wider one would take ever more


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
        self.capacity = capacity
        self._decode = decode
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def __getitem__(self, i: int) -> np.ndarray:
        if i in self._kept:
            self._kept.move_to_end(i)
            return self._kept[i]
        while len(self._kept) >= self.capacity:
            self._kept.popitem(last=False)
        self._kept[i] = self._decode(i)
        return self._kept[i]

    def gather(self, cells: Box, stride: int) -> np.ndarray:
        """The latents of a rectangle of cells, int32 (h, w, M), out of the tiles it touches."""
        out = None
        pixels = cells.times(stride)
        for i in tiles_touching(pixels.intersection(_around(self.boxes)), self._width, self._side):
            y_hat = self[i]
            tile = self.boxes[i].cells(stride)
            if tile == cells:
                return y_hat
            part = tile.intersection(cells)
            if out is None:
                out = np.zeros((cells.height, cells.width, y_hat.shape[2]), np.int32)
            out[part.within(cells)] = y_hat[part.within(tile)]
        assert out is not None  # tiles cover the image
        return out


def tiles_at_once(wanted: Box, side: int, margin: int, in_rows: bool) -> int:
    """How many tiles are needed at once: in_rows, of pictures that are made row by row, those of a
    row; else those of a row of blocks, with those above and below it."""
    rows = 1 if in_rows else -(-(max(BLOCK, side) + 2 * margin) // side) + 1
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
class WindowSynthesis:
    """What a file shows, in pixel units, a rectangle at a time.

    tiles: the file's latents. image: its sides. side: of its tiles, 0 for a plain file. planes: its
    post-filter, if it has one. check: called between bands, and within those that NumPy works out;
    what it raises ends the work.
    """

    model: Model
    gain_index: int
    tiles: TileCache
    image: Box
    side: int
    planes: post_filter.Filter | None
    check: Callable[[], None] | None = None

    @classmethod
    def of(
        cls,
        model: Model,
        contents: Contents,
        tiles: TileCache,
        check: Callable[[], None] | None = None,
    ) -> WindowSynthesis:
        """That of a file. Raises DamagedFileError."""
        header = contents.header
        image = Box(0, 0, header.width, header.height)
        planes = filter_of(contents)
        return cls(model, header.gain_index, tiles, image, contents.side, planes, check)

    def bands(
        self, box: Box, multiple: int = 1, linear: bool = False
    ) -> Iterator[tuple[Box, np.ndarray]]:
        """A box of the picture in parts, from the top (of each strip, where it is wide): each a
        box, and its pixels, int16 or int32 (h, w, 3).

        multiple: of which the parts' rows and columns are, but for the last. linear: what the
        linear path alone makes, without the post-filter.
        """
        planes = None if linear else self.planes
        if not self.model.bundle.has_synthesis:
            for block in blocks_of(box, self.side):
                yield block, self._block(block, linear, planes)
            return
        for strip in strips_of(box):
            parts = self._bands(strip, linear) if planes is None else self._filtered(strip, planes)
            yield from parts if multiple == 1 else _grouped(parts, strip, multiple)

    def preview_scales(self) -> tuple[int, ...]:
        """Reductions that `preview` can make: none for a model without one."""
        if self.model.bundle.synthesis is not None:
            return tuple(self.model.bundle.synthesis.previews)
        return self.model.transforms.preview_scales(self.model.prior.stride)

    def previews(self, box: Box, scale: int) -> Iterator[tuple[Box, np.ndarray]]:
        """A box whose corner is on multiples of `scale`, in parts, at 1/scale of its size: pixels
        (ceil(h / scale), ceil(w / scale), 3) straight from the latents, without a post-filter."""
        stride, bits = self.model.prior.stride, self.model.prior.mean_bits
        for block in blocks_of(box, self.side):
            cells = block.cells(stride)
            y_hat = self.tiles.gather(cells, stride)
            if self.model.bundle.synthesis is None:
                x = units_of(
                    self.model.transforms.preview(y_hat, self.gain_index, bits, stride // scale)
                )
            else:
                small = self.model.bundle.synthesis.previews[scale]
                x = np.concatenate(list(run(small, [y_hat], len(y_hat), self.gain_index)))
            top = (block.top - cells.top * stride) // scale
            left = (block.left - cells.left * stride) // scale
            height, width = -(-block.height // scale), -(-block.width // scale)
            yield block, x[top : top + height, left : left + width]

    def _block(self, box: Box, linear: bool, planes: post_filter.Filter | None) -> np.ndarray:
        """A box by ONNX Runtime, with what the tiles around it contribute."""
        if planes is not None:
            outer = box.grown(post_filter.MARGIN, self.image)
            x = post_filter.apply(planes, self._block(outer, linear, None))
            return x[box.within(outer)]
        stride, bits = self.model.prior.stride, self.model.prior.mean_bits
        window = box.cells(stride).grown(self.model.bundle.halo, self.image.cells(stride))
        y_hat = self.tiles.gather(window, stride)
        around = window.times(stride)
        if linear:
            x = self.model.transforms.linear_synthesis(y_hat, self.gain_index, bits)
            return units_of(x[box.within(around)])
        inner = Box(box.left - around.left, box.top - around.top, box.width, box.height)
        return units_of(self.model.transforms.synthesis(y_hat, self.gain_index, bits, inner))

    def _bands(self, box: Box, linear: bool) -> Iterator[tuple[Box, np.ndarray]]:
        """A box by the integer synthesis, as wide as it is, as it comes."""
        synthesis = self.model.bundle.synthesis
        assert synthesis is not None
        program = synthesis.linear if linear else synthesis.synthesis
        stride = program.rate
        grid = self.image.cells(stride)
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
        for x in run(program, latents(), window.height, self.gain_index, self.check):
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
            yield ready, made[ready.within(Box(outer.left, top, outer.width, len(kept)))]
            done = end
            count = max(0, done - post_filter.MARGIN - top)
            kept, top = kept[count:], top + count


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

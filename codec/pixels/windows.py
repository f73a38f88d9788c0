"""Large images in windows: tiles to latents and back, with margins so that no seam is seen and memory
is bounded by the window.

The prior works on one tile at a time and sees zeros outside it; the float transforms see the image (or
the neighbouring tiles' latents) as far as it shows, the bundle's `halo`, in cells of the latents' grid. So
g_s of a window equals that of the whole image to within a hundredth of a level.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ...formats import Contents
from ...formats.sections import FILTER
from ...formats.tiles import Box, tile_boxes, tiles_touching
from ..exact.latents import Quantised, quantise, to_hyper_symbols
from ..models.transforms import Transforms
from . import post_filter
from .images import Picture, fill_transparent, to_network

if TYPE_CHECKING:
    from ..models.bundle import Bundle

BLOCK = 1024  # pixels on a side that are synthesised at once, at least


def cells_of(box: Box, stride: int) -> Box:
    """The cells of the latents' grid that a box of pixels touches."""
    left, top = box.left // stride, box.top // stride
    return Box(left, top, -(-box.right // stride) - left, -(-box.bottom // stride) - top)


def read_tile(
    picture: Picture, box: Box, stride: int, halo: int
) -> tuple[np.ndarray, Box, np.ndarray | None]:
    """The network's input for one tile with its margin, float32 (1, 3, H, W); the tile's cells in the window's
    grid; and the tile's alpha, uint8 (h, w), or None."""
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
    return to_network(colour, stride), cells, alpha


def quantise_tile(
    transforms: Transforms,
    bundle: Bundle,
    x: np.ndarray,
    cells: Box,
    size: tuple[int, int],
    row: int,
    effort: int,
    tune: str,
) -> Quantised:
    """Latents of one tile. x, cells: from read_tile; size: width and height of the tile in pixels; effort: 0..9,
    see refine.STEPS; tune: what is saved, what shows (ssimulacra2), squared error (psnr) or structure (ms-ssim). A model
    without a gradient is not refined."""
    from ..search.refine import STEPS, refine

    prior = bundle.prior
    window = transforms.analysis(x, row)
    y = np.ascontiguousarray(window[cells.top : cells.bottom, cells.left : cells.right])
    z_hat = to_hyper_symbols(transforms.hyper_analysis(y, row))
    bits_per_error = bundle.bits_per_error(row)
    if STEPS[effort] == 0 or bits_per_error is None:
        error_bits: float | np.ndarray = prior.rounding_bits
        if effort and tune == "ssimulacra2":
            from ..search.masking import worth

            inside = slice(cells.top, cells.bottom), slice(cells.left, cells.right)
            error_bits = error_bits * worth(x, prior.program["stride"])[inside]
        return quantise(prior, row, y, z_hat, error_bits if effort else None)
    from ..search.distortion import LostStructure, SquaredError, Synthesis, Target, Visible
    from ..search.ms_ssim import SIDE

    stride = prior.program["stride"]
    weight = np.zeros((1, 1, *x.shape[2:]), np.float32)
    top, left = (n * stride for n in (cells.top, cells.left))
    weight[:, :, top : top + size[1], left : left + size[0]] = 1
    synthesis = Synthesis(transforms, row, prior.program["mean_bits"], bundle.halo)
    target = Target(x, weight, bits_per_error)
    distortion: SquaredError | Visible | LostStructure = SquaredError(synthesis, target)
    if tune == "ssimulacra2":
        distortion = Visible(synthesis, target, stride, Box(left, top, *size))
    if tune == "ms-ssim" and min(size) >= SIDE:
        distortion = LostStructure(synthesis, target, stride)
    return refine(prior, row, window, cells, z_hat, distortion, effort)


def decoded_tile(
    transforms: Transforms,
    quantised: Quantised,
    x: np.ndarray,
    cells: Box,
    size: tuple[int, int],
    row: int,
    program: dict,
) -> tuple[np.ndarray, np.ndarray]:
    """What g_s makes of a tile by itself, and what it should be: float32 (h, w, 3) both. The other arguments are those of
    `quantise_tile`."""
    width, height = size
    top, left = (n * program["stride"] for n in (cells.top, cells.left))
    wanted = x[0, :, top : top + height, left : left + width].transpose(1, 2, 0)
    box = Box(0, 0, width, height)
    return transforms.synthesis(quantised.y_hat, row, program["mean_bits"], box), wanted


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
    return rows * (-(-wanted.width // side) + 2)


def blocks_of(wanted: Box, side: int) -> list[Box]:
    """The rectangles that are synthesised one after the other: a plain file's at once, else of the size
    of a tile, or of several where tiles are small, counted from the corner of what is wanted."""
    if not side:
        return [wanted]
    step = side * max(1, BLOCK // side)
    return [
        Box(wanted.left + box.left, wanted.top + box.top, box.width, box.height)
        for box in tile_boxes(wanted.width, wanted.height, step)
    ]


def _around(boxes: list[Box]) -> Box:
    return Box(0, 0, boxes[-1].right, boxes[-1].bottom)


def synthesise(
    transforms: Transforms,
    tiles: TileCache,
    box: Box,
    image: Box,
    row: int,
    program: dict,
    halo: int,
    linear: bool = False,
    planes: post_filter.Filter | None = None,
) -> np.ndarray:
    """g_s of a box of the image, with what the tiles around it contribute: float32 (h, w, 3). linear: only its
    linear path; planes: the file's post-filter, if it has one."""
    if planes is not None:
        outer = box.grown(post_filter.MARGIN, image)
        x = synthesise(transforms, tiles, outer, image, row, program, halo, linear)
        top, left = box.top - outer.top, box.left - outer.left
        return post_filter.apply(planes, x)[top : top + box.height, left : left + box.width]
    stride = program["stride"]
    window = cells_of(box, stride).grown(halo, cells_of(image, stride))
    y_hat, bits = tiles.gather(window, stride), program["mean_bits"]
    top, left = box.top - window.top * stride, box.left - window.left * stride
    if linear:
        x = transforms.linear_synthesis(y_hat, row, bits)
        return x[top : top + box.height, left : left + box.width]
    return transforms.synthesis(y_hat, row, bits, Box(left, top, box.width, box.height))


def preview(
    transforms: Transforms, tiles: TileCache, box: Box, row: int, program: dict, scale: int
) -> np.ndarray:
    """A box of the image, its corner on multiples of `scale`, at 1/scale of its size, straight from the
    latents: float32 (ceil(h / scale), ceil(w / scale), 3)."""
    stride = program["stride"]
    cells = cells_of(box, stride)
    y_hat = tiles.gather(cells, stride)
    x = transforms.preview(y_hat, row, program["mean_bits"], stride // scale)
    top, left = (box.top - cells.top * stride) // scale, (box.left - cells.left * stride) // scale
    return x[top : top - (-box.height // scale), left : left - (-box.width // scale)]

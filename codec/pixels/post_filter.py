"""The post-filter: a small symmetric filter fitted to one image and sent in its file, which takes
back some of what coding did.

g_s is one network for all images; what it leaves of this one still depends, a little, on what lies
around each pixel, and more or less so where much happens. The encoder knows the original, fits a
Wiener filter to each of three colour planes and sends its weights where they save more than they
cost. The idea, and the choice by local activity, are those of the adaptive loop filter of VVC (Tsai
et al. 2013, Karczewicz et al. 2021); here it is outside of any loop: latents are the same without.
What a filter does is integers alone (docs/format/specification.md, section 6); how the encoder
finds one is its own affair.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...formats import DamagedFileError
from ..exact.native import pixels as native_pixels

MARGIN = 3  # pixels beyond a pixel that a filter may see
# Of images for which a filter is looked for: smaller ones never pay for it
LEAST_PIXELS = 128 * 128
MOST_PIXELS = 1 << 22  # about, of the part of large images that is decoded to fit it
ENOUGH_PIXELS = 1 << 17  # of a tile: for 48 weights, a part of its rows is
STRIP = 32  # rows at a time: their arrays stay in the processor's caches
LEAST, MOST = -8192, 8191  # of the pixel units that are filtered: levels -0.5 to 255.5
FINE = 5  # fractional bits of the place between two knots
TOP_ACTIVITY = 6  # of the last knot, about the log2 of a mean second difference in levels
REST = 13  # log2 of the sum of second differences from which on activity counts
DROPPED = 4  # bits that what a knot gives loses before shares of two are added
RANGE = 64 * 255.0  # pixel units in the range of a pixel
KNOTS = (1, 2, 4, 8)
LEAST_SHIFT = 5
# Squared errors of red, green and blue are these times those of the planes, see `to_planes`.
PLANE_WORTH = 3.0, 2.0, 6.0
# (knots, radius) that the encoder tries, and the finest of them: chosen on Kodak, where more knots
# and wider filters gain little more than they cost.
SHAPES = ((1, 1), (1, 2), (4, 1), (4, 2))


@dataclass(frozen=True)
class PlaneFilter:
    """Of one plane. mantissas: int8 (knots, 2 r (r + 1)), weights times 2^shift of the second
    differences in the order of `offsets`; radius: r, 1 to 3."""

    mantissas: np.ndarray
    radius: int
    shift: int


# Of the planes of `to_planes`, the last ones perhaps left out
Filter = tuple["PlaneFilter | None", ...]


def pack(planes: Filter) -> bytes:
    """The content of a file's section."""
    parts = []
    for plane in planes:
        if plane is None:
            parts.append(b"\0")
            continue
        knots = KNOTS.index(len(plane.mantissas))
        head = knots << 6 | plane.radius << 4 | plane.shift - LEAST_SHIFT
        parts += [bytes([head]), plane.mantissas.astype(np.int8).tobytes()]
    return b"".join(parts)


def read(content: bytes) -> Filter:
    """The inverse of `pack`. Raises DamagedFileError for anything that it does not write."""
    planes: list[PlaneFilter | None] = []
    offset = 0
    while offset < len(content) and len(planes) < len(PLANE_WORTH):
        head = content[offset]
        offset += 1
        radius = head >> 4 & 3
        if not radius:
            if head:
                raise DamagedFileError("the file's filter has an unknown form")
            planes.append(None)
            continue
        knots, taps = KNOTS[head >> 6], 2 * radius * (radius + 1)
        if offset + knots * taps > len(content):
            raise DamagedFileError("the file's filter is cut short")
        mantissas = np.frombuffer(content, np.int8, knots * taps, offset).reshape(knots, taps)
        offset += knots * taps
        planes.append(PlaneFilter(mantissas, radius, (head & 15) + LEAST_SHIFT))
    if offset < len(content) or not planes or planes[-1] is None:
        raise DamagedFileError("the file's filter is longer than its planes")
    return tuple(planes)


def offsets(radius: int) -> list[tuple[int, int]]:
    """Rows and columns from a pixel to its neighbours within a radius, one of each opposite two."""
    reach = range(-radius, radius + 1)
    return [(i, j) for i in range(radius + 1) for j in reach if i or j > 0]


def to_planes(x: np.ndarray) -> list[np.ndarray]:
    """Sums and differences of red, green and blue that are orthogonal: r + g + b, r - b, 2g - r -
    b; of x's type."""
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    return [r + g + b, r - b, 2 * g - r - b]


def add_planes(x: np.ndarray, changes: list[np.ndarray | None]) -> None:
    """Add changes to x, (h, w, 3), in place: what errors of planes, over PLANE_WORTH, stand for."""
    parts = ((1, 1, 1), (1, 0, -1), (-1, 2, -1))
    for change, factors in zip(changes, parts):
        for channel, factor in enumerate(factors):
            if change is not None and factor:
                x[..., channel] += change * factor


def apply(planes: Filter, x: np.ndarray) -> np.ndarray:
    """Filtered pixel units, int32 (h, w, 3), of int16 or int32 ones; at the sides the last pixels
    repeat."""
    filtered = native_pixels.apply(planes, x)
    return apply_numpy(planes, x) if filtered is None else filtered


def apply_numpy(planes: Filter, x: np.ndarray) -> np.ndarray:
    """`apply`, the reference."""
    out = np.empty(x.shape, np.int32)
    most = max(len(p.mantissas) for p in planes if p is not None)
    for strip in _strips(x, most > 1):
        out[strip.rows] = strip.pixels
        changes: list[np.ndarray | None] = []
        for plane, padded in zip(planes, strip.planes):
            if plane is None:
                changes.append(None)
                continue
            near = _second_differences(padded, plane.radius, MARGIN)
            shape = near.shape[1:]
            # below 2^29, so exact in float64, which has fast products
            sums = plane.mantissas.astype(np.float64) @ near.reshape(len(near), -1)
            part = _mixed(sums.astype(np.int32), strip.activity, plane.shift)
            changes.append(part.reshape(shape))
        add_planes(out[strip.rows], changes)
    return out


def _rescale(a: np.ndarray, shift: int) -> np.ndarray:
    return a + (1 << shift - 1) >> shift


def _mixed(sums: np.ndarray, activity: np.ndarray, shift: int) -> np.ndarray:
    """The change of a plane: int32 (n,), of what each knot gives, int32 (knots, n)."""
    knots = len(sums)
    if knots == 1:
        return _rescale(sums[0], shift)
    place = activity.ravel() * (knots - 1) // TOP_ACTIVITY
    knot, share = place >> FINE, place & (1 << FINE) - 1
    sums = _rescale(sums, DROPPED)
    columns = np.arange(sums.shape[1])
    lower, upper = sums[knot, columns], sums[np.minimum(knot + 1, knots - 1), columns]
    return _rescale(((1 << FINE) - share) * lower + share * upper, shift + FINE - DROPPED)


class Fit:
    """Normal equations of the filters, of as much of an image as is added. grey: of the plane of
    means alone, which is all that grey pictures show."""

    def __init__(self, grey: bool = False) -> None:
        self.pixels = 0
        knots, radius = SHAPES[-1]
        self._knots, self._taps = knots, offsets(radius)
        planes, size = 1 if grey else len(PLANE_WORTH), knots * len(self._taps)
        self._squares = np.zeros((planes, size, size))
        self._products = np.zeros((planes, size))

    def add(self, decoded: np.ndarray, original: np.ndarray) -> None:
        """decoded: pixel units, integers (h, w, 3); original: float32 (h, w, 3), in -0.5..0.5."""
        h, w = decoded.shape[:2]
        radius = SHAPES[-1][1]
        worth = np.array(PLANE_WORTH, np.float32)
        for strip in _strips(decoded, True, every=max(1, h * w // ENOUGH_PIXELS)):
            self.pixels += (strip.rows.stop - strip.rows.start) * w
            hats = _hats(strip.activity, self._knots)
            error = original[strip.rows] - strip.pixels * np.float32(1 / RANGE)
            wanted = [plane / n for plane, n in zip(to_planes(error), worth)]
            for k, (padded, error) in enumerate(zip(strip.planes[: len(self._products)], wanted)):
                near = _second_differences(padded, radius, MARGIN).reshape(len(self._taps), -1)
                near = near * np.float32(1 / RANGE)
                terms = (hats[:, None] * near).reshape(-1, near.shape[1])
                # sums of double numbers: their order, another on each machine, then moves no weight
                terms, error = terms.astype(np.float64), error.astype(np.float64)
                self._squares[k] += terms @ terms.T
                self._products[k] += terms @ error.ravel()

    def best(self, bits_per_error: float, pixels: int) -> Filter | None:
        """The filter that saves most; None where none pays. bits_per_error: what a squared error of
        1 is worth, of one channel of one pixel; pixels: of the image."""
        planes: list[PlaneFilter | None] = []
        total = -8.0 * 3  # the section's type, its length, and the end of the list
        share = pixels / max(1, self.pixels)
        for k, worth in enumerate(PLANE_WORTH[: len(self._products)]):
            chosen, most = None, -8.0
            for shape in SHAPES:
                plane, less = self._solved(k, *shape)
                saved = less * worth * share * bits_per_error - 8.0 * (1 + plane.mantissas.size)
                if plane.mantissas.any() and saved > most:
                    chosen, most = plane, saved
            planes.append(chosen)
            total += most
        while planes and planes[-1] is None:
            planes.pop()
        return tuple(planes) if planes and total > 0 else None

    def _solved(self, k: int, knots: int, radius: int) -> tuple[PlaneFilter, float]:
        """The best filter of a shape for plane k, and by how much it makes the sum of squared
        errors less."""
        chosen = [i for i, at in enumerate(self._taps) if max(map(abs, at)) <= radius]
        every = (self._knots, len(self._taps))
        squares = self._squares[k].reshape(*every, *every)[:, chosen][:, :, :, chosen]
        products = self._products[k].reshape(every)[:, chosen]
        if knots == 1:  # shares of the knots add up to one
            squares, products = squares.sum((0, 2))[None, :, None], products.sum(0)[None]
        size = products.size
        squares, products = squares.reshape(size, size), products.ravel()
        # a share of a squared level at every pixel keeps it from following noise
        ridge = 1e-6 * squares.trace() / size + 1e-9 * self.pixels + 1e-12
        weights = np.linalg.solve(squares + ridge * np.eye(size), products)
        largest = max(np.abs(weights).max(), 1e-9)
        shift = int(np.clip(np.floor(np.log2(127 / largest)), LEAST_SHIFT, LEAST_SHIFT + 15))
        mantissas = np.clip(np.rint(weights * 2.0**shift), -127, 127)
        rounded = mantissas * 2.0**-shift
        less = 2 * rounded @ products - rounded @ squares @ rounded
        plane = PlaneFilter(mantissas.astype(np.int8).reshape(knots, -1), radius, shift)
        return plane, float(less)


class _Strip(NamedTuple):
    """rows: of the image; pixels: int32, of these rows, limited; planes: int32, of these rows and
    MARGIN pixels around; activity: int32 (h, w), of the rows."""

    rows: slice
    pixels: np.ndarray
    planes: list[np.ndarray]
    activity: np.ndarray


def _strips(x: np.ndarray, active: bool, every: int = 1) -> Iterator[_Strip]:
    """An image cut into strips, with what lies around them; or some of the strips."""
    height = x.shape[0]
    for top in range(0, height, STRIP * every):
        bottom = min(top + STRIP, height)
        rows = np.clip(np.arange(top - MARGIN, bottom + MARGIN), 0, height - 1)
        around = np.clip(x[rows].astype(np.int32), LEAST, MOST)
        pixels = around[MARGIN:-MARGIN]
        around = np.pad(around, ((0, 0), (MARGIN, MARGIN), (0, 0)), mode="edge")
        planes = to_planes(around)
        activity = _activity(planes[0]) if active else np.zeros(0, np.int32)
        yield _Strip(slice(top, bottom), pixels, planes, activity)


def _second_differences(padded: np.ndarray, radius: int, margin: int) -> np.ndarray:
    """What the neighbours on either side of a pixel have more than it, summed: int32 (taps, h, w)
    of a plane with a margin around it."""
    h, w = (n - 2 * margin for n in padded.shape)
    near = offsets(radius)
    out = np.empty((len(near), h, w), np.int32)
    twice = 2 * padded[margin : margin + h, margin : margin + w]
    for (i, j), difference in zip(near, out):
        rows, columns = margin + i, margin + j
        np.subtract(padded[rows : rows + h, columns : columns + w], twice, out=difference)
        rows, columns = margin - i, margin - j
        difference += padded[rows : rows + h, columns : columns + w]
    return out


def _activity(padded: np.ndarray) -> np.ndarray:
    """About 2^FINE log2(1 + a mean of second differences), 0 to TOP_ACTIVITY 2^FINE: int32 (h, w),
    of the sum of the four of radius 1 over 3x3 pixels."""
    around = MARGIN - 1  # a pixel more on each side, for the sum
    size = np.abs(_second_differences(padded, 1, around)).sum(0, dtype=np.int32)
    size = size[:-2] + size[1:-1] + size[2:]
    size = size[:, :-2] + size[:, 1:-1] + size[:, 2:]
    # Sums stay below 2^24, so float32 holds them: its exponent is the place of the top bit, its
    # mantissa begins with the bits below.
    bits = (size + (1 << REST)).astype(np.float32).view(np.int32) >> 23 - FINE
    return np.minimum(bits - (127 + REST << FINE), TOP_ACTIVITY << FINE)


def _hats(activity: np.ndarray, knots: int) -> np.ndarray:
    """The share of each knot at each pixel: float32 (knots, h w), which add up to one."""
    place = (activity.ravel() * (knots - 1) // TOP_ACTIVITY) * np.float32(math.ldexp(1, -FINE))
    shares = np.abs(place - np.arange(knots, dtype=np.float32)[:, None])
    return np.maximum(0, 1 - shares, out=shares)

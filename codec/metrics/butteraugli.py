"""Butteraugli with NumPy alone: how visible the differences between two images are, 0 for none.

Jyrki Alakuijala's metric as `butteraugli_main` of libjxl 0.7 computes it by default: a screen of 80
candela per square metre for white, new high frequencies counted 0.8 times as much as lost ones.
Later versions weigh slightly differently. Both images are taken to opponent colours after the eye
has adapted to the neighbourhood, then split into four bands of frequencies. Differences in them,
along lines of nine pixels (the Malta filter), are summed up and divided by what the original's own
texture hides. The same is done at half the size and added. Held against that program's results in
tests/benchmarks/test_butteraugli.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .xyb import linear_of_srgb

f32 = np.float32
MIN_SIDE = 8
WHITE = f32(80)  # candela per square metre
ASYMMETRY = 0.8
KERNEL_REACH = 2.25  # of a blur, in sigmas
BLOCK = 64  # rows or columns of a blur at a time
STRIP = 32  # rows of the Malta filter at a time

# Cone absorbances of linear RGB in candela per square metre, and their offsets
ABSORBANCE = np.array(
    [
        [0.29956550340058319, 0.63373087833825936, 0.077705617820981968],
        [0.22158691104574774, 0.69391388044116142, 0.0987313588422],
        [0.02, 0.02, 0.20480129041026129],
    ],
    f32,
)
OFFSET = np.array([1.7557483643287353, 1.7557483643287353, 12.226454707163354], f32)[:, None, None]
GAMMA_SCALE, GAMMA_BIAS, GAMMA_OFFSET = 19.245013259874995, 9.9710635769299145, -23.16046239805755

SIGMA_ADAPTATION, SIGMA_LOW, SIGMA_MEDIUM, SIGMA_HIGH = (
    1.2,
    7.15593339443,
    3.22489901262,
    1.56416327805,
)
# Low frequencies to a space where squares may be summed
LOW_SCALE = np.array([32.2217497012, 13.7697791434, 47.504615728], f32)
BLUE_BY_LUMA = f32(-0.362267051518)
SUPPRESSION, SUPPRESSION_FLOOR = f32(46.0), f32(0.653020556257)
CLAMP_SLOPE = f32(0.724216145665)

# Squared differences: (high, medium, low) frequencies of X, Y and B
SQUARES = ((400.0, 1.50815703118, 0), (2150.0, 10.6195433239, 16.2176043152),
           (29.2353797994, 0.844626970982, 0.703646627719))  # fmt: skip

# Masking
MASK_SCALE, MASK_BIAS, MASK_SIGMA, MASK_ERROR = 6.19424080439, 12.61050594197, 2.7, f32(10)
MASK_OF_AC = (2.5485944793, 0.451936922203, 0.829591754942)
MASK_OF_DC = (0.505054525019, 3.87449418804, 0.20025578522)
GLOBAL_SCALE = 1 / (17.8 * 0.79079917404)
HALF_SIZE_SHARE, KEPT = f32(0.5), f32(1 - 0.3 * 0.5)

# Lines through a pixel, by what lies on one side of it as (down, right); four occur twice.
LINES = (
    (1, ((0, 1), (0, 2), (0, 3), (0, 4))),
    (1, ((1, 0), (2, 0), (3, 0), (4, 0))),
    (1, ((1, 1), (2, 2), (3, 3))),
    (1, ((1, -1), (2, -2), (3, -3))),
    (2, ((1, 0), (2, -1), (3, -1), (4, -1))),
    (2, ((1, 0), (2, 1), (3, 1), (4, 1))),
    (2, ((0, 1), (1, 2), (1, 3), (1, 4))),
    (2, ((0, 1), (-1, 2), (-1, 3), (-1, 4))),
    (1, ((1, 1), (2, 1), (3, 2))),
    (1, ((1, -1), (2, -1), (3, -2))),
    (1, ((1, 1), (1, 2), (2, 3))),
    (1, ((1, -1), (1, -2), (2, -3))),
)
# Every other pixel of the lines, for lower frequencies.
SPARSE_LINES = (
    (1, ((0, 2), (0, 4))), (1, ((2, 0), (4, 0))), (1, ((2, 2), (3, 3))), (1, ((2, -2), (3, -3))),
    (1, ((2, -1), (4, -1))), (1, ((2, 1), (4, 1))), (1, ((1, 2), (1, 4))), (1, ((-1, 2), (-1, 4))),
    (1, ((2, 1), (3, 2))), (1, ((2, -1), (3, -2))), (1, ((1, 2), (2, 3))), (1, ((-1, 2), (-2, 3))),
    (1, ((-1, 2), (-2, 4))), (1, ((1, 2), (2, 4))), (1, ((2, 1), (4, 2))), (1, ((2, -1), (4, -2))),
)  # fmt: skip
DENSE_SCALE, SPARSE_SCALE = 0.39905817637, 0.611612573796
REACH = 4  # of a line
# Weight and norm of the Malta filter
MALTA_ULTRA = ((173.5, 5.0), (1.10039032555, 71.7800275169))  # X, Y
MALTA_HIGH = ((6923.99476109, 8051.15833247), (18.7237414387, 4498534.45232))
MALTA_MEDIUM = ((8246.75321353, 1009002.70582), (37.0819870399, 130262059.556))


@dataclass(frozen=True)
class Bands:
    """An image by frequency, float32: low and medium (3, H, W) of X, Y and B; high and ultra (2, H,
    W) of X and Y."""

    low: np.ndarray
    medium: np.ndarray
    high: np.ndarray
    ultra: np.ndarray


def butteraugli(original: np.ndarray, distorted: np.ndarray) -> tuple[float, float]:
    """The largest error, and the 3-norm (the mean of the norms of powers 3, 6 and 12) of all.

    Both images sRGB uint8 (H, W, 3); NaN for both where a side is below 8 pixels.
    """
    if min(original.shape[:2]) < MIN_SIDE:
        return float("nan"), float("nan")
    errors = error_map(original, distorted)
    cubes = (errors.astype(np.float64) ** 3).ravel()
    norms = [np.mean(cubes**k) ** (1 / (3 * k)) for k in (1, 2, 4)]
    return float(errors.max()), float(np.mean(norms))


def error_map(original: np.ndarray, distorted: np.ndarray) -> np.ndarray:
    """float32 (H, W): how visible each pixel's difference is; 1 is about the threshold."""
    p, q = (linear_of_srgb()[np.moveaxis(image, 2, 0)] for image in (original, distorted))
    errors = _errors(p, q)
    if min(-(-side // 2) for side in errors.shape) >= MIN_SIDE:
        half = _errors(_halve(p), _halve(q)).repeat(2, 0).repeat(2, 1)
        errors *= KEPT
        errors += HALF_SIZE_SHARE * half[: errors.shape[0], : errors.shape[1]]
    return errors


def _halve(linear: np.ndarray) -> np.ndarray:
    """2x2 means of (3, H, W), an odd last row or column repeated."""
    _, h, w = linear.shape
    x = np.pad(linear, ((0, 0), (0, h % 2), (0, w % 2)), mode="edge") * f32(0.25)
    return x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]


def _errors(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The map of one size; p, q: linear light, float32 (3, H, W)."""
    a, b = (_bands(_opponent_colours(linear)) for linear in (p, q))
    ac, dc = (np.zeros(p.shape[1:], f32) for _ in range(2))
    root = ASYMMETRY**0.5
    for c in range(2):
        weight, norm = MALTA_ULTRA[c]
        weights = (weight * ASYMMETRY, weight / ASYMMETRY)
        _add_malta(ac, a.ultra[c], b.ultra[c], weights, norm, LINES, DENSE_SCALE)
        weight, norm = MALTA_HIGH[c]
        weights = (weight * root, weight / root)
        _add_malta(ac, a.high[c], b.high[c], weights, norm, SPARSE_LINES, SPARSE_SCALE)
        weight, norm = MALTA_MEDIUM[c]
        _add_malta(ac, a.medium[c], b.medium[c], (weight,) * 2, norm, SPARSE_LINES, SPARSE_SCALE)
        _add_asymmetric(ac, a.high[c], b.high[c], SQUARES[0][c])
    for c in range(3):
        ac += f32(SQUARES[1][c]) * np.square(a.medium[c] - b.medium[c])
        dc += f32(SQUARES[2][c]) * np.square(a.low[c] - b.low[c])
    texture, other = (_blur(_texture(x), MASK_SIGMA) for x in (a, b))
    ac += MASK_ERROR * np.square(texture - other)
    texture = _erode(texture)
    return np.sqrt(dc * _mask(texture, *MASK_OF_DC) + ac * _mask(texture, *MASK_OF_AC))


def _opponent_colours(linear: np.ndarray) -> np.ndarray:
    """X (red against green), Y and B, float32 (3, H, W), each cone's signal scaled by what it is
    adapted to: a blurred image."""
    bright = linear * WHITE
    adapted = np.stack([_blur(plane, SIGMA_ADAPTATION) for plane in bright])
    shape = linear.shape
    adapted = (ABSORBANCE @ adapted.reshape(3, -1)).reshape(shape) + OFFSET
    adapted = np.maximum(adapted, OFFSET)
    response = np.log(adapted + f32(GAMMA_BIAS)) * f32(GAMMA_SCALE) + f32(GAMMA_OFFSET)
    gain = np.maximum(response / adapted, f32(1e-4))
    cones = (ABSORBANCE @ bright.reshape(3, -1)).reshape(shape) + OFFSET
    cones = np.maximum(cones * gain, OFFSET)
    return np.stack([cones[0] - cones[1], cones[0] + cones[1], cones[2]])


def _bands(xyb: np.ndarray) -> Bands:
    """The image split by three blurs, what hardly shows near zero taken out, what shows put up."""
    low = np.stack([_blur(plane, SIGMA_LOW) for plane in xyb])
    rest = xyb - low
    low[2] += BLUE_BY_LUMA * low[1]
    low *= LOW_SCALE[:, None, None]
    medium = np.stack([_blur(plane, SIGMA_MEDIUM) for plane in rest])
    high = rest[:2] - medium[:2]
    medium[0] = _without_near_zero(medium[0], 0.29)
    medium[1] = _stressed_near_zero(medium[1], 0.1)
    # Red against green shows less where brightness changes.
    share = SUPPRESSION / (high[1] * high[1] + SUPPRESSION)
    high[0] *= share * (1 - SUPPRESSION_FLOOR) + SUPPRESSION_FLOOR
    ultra = high
    high = np.stack([_blur(plane, SIGMA_HIGH) for plane in high])
    ultra[0] = _without_near_zero(ultra[0] - high[0], 0.04)
    high[0] = _without_near_zero(high[0], 1.5)
    high[1] = _clamp(high[1], 28.4691806922)
    ultra[1] = _clamp(ultra[1] - high[1], 5.19175294647) * f32(2.69313763794)
    high[1] = _stressed_near_zero(high[1] * f32(2.155), 0.132)
    return Bands(low, medium, high, ultra)


def _without_near_zero(x: np.ndarray, width: float) -> np.ndarray:
    return x - np.clip(x, f32(-width), f32(width))


def _stressed_near_zero(x: np.ndarray, width: float) -> np.ndarray:
    return x + np.clip(x, f32(-width), f32(width))


def _clamp(x: np.ndarray, limit: float) -> np.ndarray:
    """Beyond the limit, less than one for one."""
    inside = np.clip(x, f32(-limit), f32(limit))
    return inside + (x - inside) * CLAMP_SLOPE


def _blur(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of float32 (H, W) by products with band matrices, a block at a time."""
    height, width = x.shape
    rows, columns = np.empty_like(x), np.empty_like(x)
    for start, stop, first, last, matrix in _band_blocks(height, sigma):
        np.matmul(matrix, x[first:last], out=rows[start:stop])
    for start, stop, first, last, matrix in _band_blocks(width, sigma):
        columns[:, start:stop] = rows[:, first:last] @ matrix.T
    return columns


@lru_cache(64)
def _band_blocks(side: int, sigma: float) -> list[tuple[int, int, int, int, np.ndarray]]:
    """The blur along a side in blocks: (start, stop) of outputs, (first, last) of inputs, and the
    matrix between. Two taps to each side are mirrored at borders; longer kernels are cut off there
    and scaled to sum 1, as the reference does."""
    reach = max(1, int(KERNEL_REACH * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    blocks = []
    for start in range(0, side, BLOCK):
        stop = min(start + BLOCK, side)
        first, last = max(start - reach, 0), min(stop + reach, side)
        matrix = np.zeros((stop - start, last - first))
        for i in range(start, stop):
            at = np.arange(i - reach, i + reach + 1)
            if reach == 2:
                at = np.where(at < 0, -1 - at, np.where(at >= side, 2 * side - 1 - at, at))
            inside = (at >= 0) & (at < side)
            np.add.at(matrix[i - start], at[inside] - first, taps[inside])
        matrix /= matrix.sum(1, keepdims=True)
        blocks.append((start, stop, first, last, matrix.astype(f32)))
    return blocks


def _sides(a: np.ndarray, b: np.ndarray, small: float, big: float) -> tuple[np.ndarray, np.ndarray]:
    """How far b, seen from the side of zero where a lies, falls below small |a|; how far above big
    |a|."""
    towards = np.where(a < 0, -b, b)
    size = np.abs(a)
    return np.maximum(f32(small) * size - towards, 0), np.maximum(towards - f32(big) * size, 0)


def _add_asymmetric(to: np.ndarray, a: np.ndarray, b: np.ndarray, weight: float) -> None:
    """Squared differences, and more where the distorted image has less or more than the
    original."""
    below, above = _sides(a, b, 0.4, 1.0)
    to += f32(0.8 * weight * ASYMMETRY) * np.square(a - b)
    to += f32(0.8 * weight / ASYMMETRY) * np.square(below + above)


def _add_malta(
    to: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    weights: tuple[float, float],
    norm: float,
    lines: tuple,
    scale: float,
) -> None:
    """Squared sums of differences along lines; weights: of any difference, of one-sided ones."""
    by_difference, by_side = (
        f32(scale * (part * weight) ** 0.5 / 8.5 * norm)
        for part, weight in zip((0.5, 0.33), weights)
    )
    below, above = _sides(a, b, 0.55, 1.05)
    one_sided = np.where(a < 0, above - below, below - above)
    difference = by_difference * (a - b) + by_side * one_sided
    difference /= f32(norm) + f32(0.5) * (np.abs(a) + np.abs(b))
    _add_lines(to, difference, lines)


def _add_lines(to: np.ndarray, x: np.ndarray, lines: tuple) -> None:
    """Adds to each pixel the squares of the sums along lines through it; zeros outside."""
    height, width = x.shape
    stride = width + 2 * REACH
    above = REACH + 1
    padded = np.zeros((height + 2 * above, stride), f32)
    padded[above : above + height, REACH : REACH + width] = x
    flat = padded.ravel()
    offsets = {offset for _, line in lines for offset in line}
    for top in range(0, height, STRIP):
        rows = min(STRIP, height - top)
        size = rows * stride
        origin = (top + above) * stride
        pairs = {}
        for down, right in offsets:
            shift = down * stride + right
            pairs[down, right] = (
                flat[origin - shift : origin - shift + size]
                + flat[origin + shift : origin + shift + size]
            )
        total = np.zeros(size, f32)
        line_sum = np.empty(size, f32)
        for times, line in lines:
            np.add(flat[origin : origin + size], pairs[line[0]], out=line_sum)
            for offset in line[1:]:
                line_sum += pairs[offset]
            line_sum *= line_sum
            if times > 1:
                line_sum *= f32(times)
            total += line_sum
        to[top : top + rows] += total.reshape(rows, stride)[:, REACH : REACH + width]


def _texture(bands: Bands) -> np.ndarray:
    """What hides errors, float32 (H, W): the size of high frequencies, under a root."""
    x = (bands.ultra[0] + bands.high[0]) * f32(2.5)
    y = (bands.ultra[1] + bands.high[1]) * f32(0.4)
    size = np.sqrt(x * x + y * y)
    bias = MASK_SCALE * MASK_BIAS
    return np.sqrt(f32(MASK_SCALE) * size + f32(bias)) - f32(bias**0.5)


def _erode(x: np.ndarray) -> np.ndarray:
    """A mean of the three smallest of a pixel, twice itself, twice itself again, and its eight
    neighbours three pixels away: texture near a smooth place hides nothing there."""
    height, width = x.shape
    step = 3
    padded = np.full((height + 2 * step, width + 2 * step), f32(np.inf))
    padded[step:-step, step:-step] = x
    lowest, second = x.copy(), 2 * x
    third = second.copy()
    for down in (0, step, 2 * step):
        for right in (0, step, 2 * step):
            if down == right == step:
                continue
            v = padded[down : down + height, right : right + width]
            rest = np.maximum(lowest, v)
            np.minimum(lowest, v, out=lowest)
            v = np.maximum(second, rest)
            np.minimum(second, rest, out=second)
            np.minimum(third, v, out=third)
    return f32(0.45) * lowest + f32(0.3) * second + f32(0.25) * third


def _mask(texture: np.ndarray, scale: float, slope: float, offset: float) -> np.ndarray:
    """How much a squared error counts, float32 (H, W)."""
    return np.square(f32(GLOBAL_SCALE) * (1 + f32(scale) / (f32(slope) * texture + f32(offset))))

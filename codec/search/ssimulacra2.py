"""SSIMULACRA 2 as the encoder sees it: of a decoded image, which way its pixels should move.

The weighted sum of errors before the last curve (metrics/ssimulacra2.py is the exact metric), of
the 25 of 108 terms with a weight above 0.1, with Gaussians of 11 taps that sum to one at borders
too: a tile's border is not the image's. Training has the same sum in torch
(training/losses/ssimulacra2.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..exact.native import floats as native
from ..metrics.recursive_gaussian import SIGMA
from ..metrics.ssimulacra2 import C2, FACTOR, MIN_SIDE, WEIGHTS, B, X, Y
from ..metrics.xyb import LMS, LMS_BIAS

LEAST_WEIGHT = 0.1  # of the terms that count
# Channel, scale (sides divided by 2^scale) -> weights of
# (structure, new edges, lost edges) as means, then the same as 4-norms.
TERMS: dict[tuple[int, int], tuple[float, ...]] = {
    (c, scale): tuple(round(w, 7) if w > LEAST_WEIGHT else 0 for w in weights.tolist())
    for c, scales in enumerate(WEIGHTS)
    for scale, weights in enumerate(scales)
    if weights.max() > LEAST_WEIGHT
}
PER_SQUARED_ERROR = 4000.0  # about the sum's ratio to the mean squared error of the same image
SCALES = 5  # the sixth has no weight
REACH = 5
LEAST_LMS = 1e-6
LEAST_POWER = 1e-20  # of a 4-norm: below, errors are those of float32

_TAPS = np.exp(-0.5 * (np.arange(REACH + 1) / SIGMA) ** 2).astype(np.float32)


@dataclass(frozen=True)
class Channel:
    """One channel of the original at one scale: p, its blur and variance, float32 (h, w); 1 / (1 +
    |p - blur|); its terms' weights."""

    p: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    edge: np.ndarray
    weights: tuple[float, ...]


def channels_of(x: np.ndarray) -> list[dict[int, Channel]]:
    """Per scale, the channels that count, of an original: float32 (3, H, W), sRGB in 0..1."""
    linear, _ = _linear(x)
    scales: list[dict[int, Channel]] = []
    for scale in range(SCALES):
        if min(linear.shape[1:]) < MIN_SIDE:
            break
        wanted = sorted(c for c, s in TERMS if s == scale)
        planes, _ = _xyb(linear, wanted)
        channels = {}
        for c in wanted:
            p = planes[c]
            mean = _blur(p)
            variance = _blur(p * p) - mean * mean
            edge = 1 / (1 + np.abs(p - mean))
            channels[c] = Channel(p, mean, variance, edge, TERMS[c, scale])
        scales.append(channels)
        linear = _halve(linear)
    return scales


def slope(scales: list[dict[int, Channel]], x_hat: np.ndarray) -> tuple[float, np.ndarray]:
    """The sum of errors of a decoded image, and its gradient by the pixels, float32 (3, H, W).

    scales: of the original; x_hat: float32 (3, H, W), sRGB in 0..1.
    """
    linear, by_srgb = _linear(x_hat)
    levels, shapes, total = [], [], 0.0
    for channels in scales:
        planes, slopes = _xyb(linear, sorted(channels))
        by_planes = {}
        for c, channel in channels.items():
            error, by_planes[c] = _errors(channel, planes[c])
            total += error
        levels.append(_xyb_back(by_planes, slopes))
        shapes.append(linear.shape)
        linear = _halve(linear)
    gradient = None
    for own, shape in zip(reversed(levels), reversed(shapes)):
        gradient = own if gradient is None else own + _halve_back(gradient, shape)
    if gradient is None:
        return 0.0, np.zeros_like(x_hat)
    return FACTOR * total, gradient * (np.float32(FACTOR) * by_srgb)


def _errors(channel: Channel, q: np.ndarray) -> tuple[float, np.ndarray]:
    """Weighted errors of one channel, and their gradient by it."""
    mean_weights, fourth_weights = channel.weights[:3], channel.weights[3:]
    p, m1 = channel.p, channel.mean
    m2 = _blur(q)
    by_q, by_mean, total = np.zeros_like(q), np.zeros_like(q), 0.0
    if mean_weights[0] or fourth_weights[0]:
        apart = m1 - m2
        similar = 1 - apart * apart
        top = 2 * (_blur(p * q) - m1 * m2) + np.float32(C2)
        below = 1 / (channel.variance + (_blur(q * q) - m2 * m2) + np.float32(C2))
        d = 1 - similar * top * below
        error, by_d = _norms(np.maximum(d, 0), mean_weights[0], fourth_weights[0])
        total += error
        by_d *= below
        by_both = by_d * similar
        by_square = by_both * top * below
        by_mean += 2 * (by_both * m1 - by_d * top * apart - by_square * m2)
        by_q += 2 * (q * _blur_back(by_square) - p * _blur_back(by_both))
    if any(mean_weights[1:]) or any(fourth_weights[1:]):
        off = q - m2
        e = (1 + np.abs(off)) * channel.edge - 1
        new, by_new = _norms(np.maximum(e, 0), mean_weights[1], fourth_weights[1])
        lost, by_lost = _norms(np.maximum(-e, 0), mean_weights[2], fourth_weights[2])
        total += new + lost
        by_off = (by_new - by_lost) * channel.edge * np.sign(off)
        by_q += by_off
        by_mean -= by_off
    return total, by_q + _blur_back(by_mean)


def _norms(error: np.ndarray, mean: float, fourth: float) -> tuple[float, np.ndarray]:
    """Weighted mean and 4-norm of errors of 0 and more, and the gradient by them, which is 0
    at 0."""
    n, total = error.size, 0.0
    by_error = np.zeros_like(error)
    if mean:
        total += mean * float(error.mean(dtype=np.float64))
        by_error += np.float32(mean / n) * (error > 0)
    if fourth:
        cube = error * error * error
        power = float((cube * error).mean(dtype=np.float64))
        if power > LEAST_POWER:
            total += fourth * power**0.25
            by_error += np.float32(fourth * power**-0.75 / n) * cube
    return total, by_error


def _linear(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sRGB to linear light, clipped to 0..1, and its slope, which the clip leaves."""
    x = np.clip(x, 0, 1)
    base = (np.maximum(x, np.float32(0.04)) + np.float32(0.055)) / np.float32(1.055)
    power = np.exp(np.float32(1.4) * np.log(base))  # several times as fast as **
    dark = x <= 0.04045
    slope = np.where(dark, np.float32(1 / 12.92), np.float32(2.4 / 1.055) * power)
    return np.where(dark, x * np.float32(1 / 12.92), power * base), slope


def _xyb(linear: np.ndarray, wanted: list[int]) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """The channels asked for, in SSIMULACRA 2's ranges, and the slopes of the cube roots, (2 or 3,
    h, w)."""
    rows = np.array(LMS if B in wanted else LMS[:2], np.float32)
    lms = np.maximum(np.tensordot(rows, linear, 1) + np.float32(LMS_BIAS), np.float32(LEAST_LMS))
    root = np.exp(np.log(lms) * np.float32(1 / 3))
    slopes = root / (3 * lms)
    root -= np.float32(LMS_BIAS ** (1 / 3))
    y = np.float32(0.5) * (root[0] + root[1])
    planes = {Y: y + np.float32(0.01)}
    if X in wanted:
        planes[X] = 7 * (root[0] - root[1]) + np.float32(0.42)
    if B in wanted:
        planes[B] = root[2] - y + np.float32(0.55)
    return planes, slopes


def _xyb_back(by_planes: dict[int, np.ndarray], slopes: np.ndarray) -> np.ndarray:
    """Gradient by the channels to that by linear RGB, (3, h, w)."""
    by_root = np.zeros_like(slopes)
    for c, by_plane in by_planes.items():
        if c == X:
            by_root[0] += 7 * by_plane
            by_root[1] -= 7 * by_plane
            continue
        half = np.float32(0.5 if c == Y else -0.5) * by_plane
        by_root[0] += half
        by_root[1] += half
        if c == B:
            by_root[2] += by_plane
    by_root *= slopes
    return np.tensordot(np.array(LMS[: len(slopes)], np.float32).T, by_root, 1)


def _halve(x: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels of (C, h, w); an odd last row or column is left out."""
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    pairs = x[:, :h:2, :w] + x[:, 1:h:2, :w]
    return np.float32(0.25) * (pairs[:, :, ::2] + pairs[:, :, 1::2])


def _halve_back(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, np.float32)
    h, w = 2 * g.shape[1], 2 * g.shape[2]
    out[:, :h, :w] = np.repeat(np.repeat(np.float32(0.25) * g, 2, 1), 2, 2)
    return out


def _blur(x: np.ndarray) -> np.ndarray:
    """Gaussian of SIGMA, (h, w); at borders the taps that are there sum to one."""
    made = native.blur(x, _TAPS, _sums(x.shape[0]), _sums(x.shape[1]), back=False)
    if made is not None:
        return made
    for axis in (0, 1):
        x = _convolve(x, axis) / np.expand_dims(_sums(x.shape[axis]), 1 - axis)
    return x


def _blur_back(g: np.ndarray) -> np.ndarray:
    """The transpose of `_blur`."""
    made = native.blur(g, _TAPS, _sums(g.shape[0]), _sums(g.shape[1]), back=True)
    if made is not None:
        return made
    for axis in (0, 1):
        g = _convolve(g / np.expand_dims(_sums(g.shape[axis]), 1 - axis), axis)
    return g


def _convolve(x: np.ndarray, axis: int) -> np.ndarray:
    """The taps along an axis, zeros outside."""
    out = x * _TAPS[0]
    x = x.swapaxes(0, axis)
    view = out.swapaxes(0, axis)
    for i in range(1, min(len(_TAPS), len(x))):
        view[i:] += _TAPS[i] * x[:-i]
        view[:-i] += _TAPS[i] * x[i:]
    return out


@lru_cache(32)
def _sums(side: int) -> np.ndarray:
    """Of the taps that are inside, float32 (side,)."""
    return _convolve(np.ones((side, 1), np.float32), 0)[:, 0]

"""libjxl's linear light and XYB of sRGB pixels, float32 rounding for float32 rounding.

The roundings are part of SSIMULACRA 2, see recursive_gaussian.py. A fused multiply-add is a product
and a sum in float64, rounded once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

f32 = np.float32
# Linear light above 0.04045 is a quotient of polynomials, lowest power first.
NUMERATOR = (2.200248328e-04, 1.043637593e-02, 1.624820318e-01, 7.961564959e-01, 8.210152774e-01)
DENOMINATOR = (2.631846970e-01, 1.076976492, 4.987528350e-01, -5.512498495e-02, 6.521209011e-03)
# Linear RGB to the absorbances of three kinds of cones, plus a bias before the cube root.
LMS = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.55180986650955360),
)
LMS_BIAS = 0.0037930732552754493
RED, GREEN, BLUE = np.array(LMS, f32).T
BIAS = f32(LMS_BIAS)
# The cube root's first guess by its exponent, as an integer
GUESS, GUESS_SLOPE = np.int32(0x54800000), np.int32(0x002AAAAA)


@lru_cache(1)
def linear_of_srgb() -> np.ndarray:
    """float32 (256,): linear light, 0 to 1, of a byte."""
    x = np.arange(256).astype(f32) * f32(1 / 255)
    upper, lower = np.full(256, f32(NUMERATOR[4])), np.full(256, f32(DENOMINATOR[4]))
    for a, b in zip(NUMERATOR[3::-1], DENOMINATOR[3::-1]):
        upper = (upper.astype(float) * x + f32(a)).astype(f32)
        lower = (lower.astype(float) * x + f32(b)).astype(f32)
    return np.where(x > f32(0.04045), upper / lower, x * (f32(1) / f32(12.92))).astype(f32)


def xyb(linear: np.ndarray) -> np.ndarray:
    """linear: float32 (3, ...), RGB -> float32 (3, ...): X about -0.02 to 0.03, Y and B 0
    to 0.85."""
    red, green, blue = linear.astype(np.float64)
    roots = []
    term, mixed = np.empty_like(red), np.empty(red.shape, f32)
    for r, g, b in zip(RED, GREEN, BLUE):
        np.multiply(blue, float(b), out=term)
        term += float(BIAS)
        for value, weight in ((green, g), (red, r)):
            np.copyto(mixed, term, casting="same_kind")
            np.multiply(value, float(weight), out=term)
            term += mixed
        np.copyto(mixed, term, casting="same_kind")
        roots.append(_cube_root_less(np.maximum(mixed, 0, out=mixed), np.cbrt(BIAS)))
    x, y, s = roots
    out = np.empty_like(linear)
    np.subtract(x, y, out=out[0])
    np.add(x, y, out=out[1])
    out[:2] *= f32(0.5)
    out[2] = s
    return out


def _cube_root_less(x: np.ndarray, bias: np.float32) -> np.ndarray:
    """The cube root of float32 x >= 0, less the bias: four steps of Newton's method for its
    reciprocal, from a guess by the exponent."""
    r = (GUESS - (x.view(np.int32) >> 23) * GUESS_SLOPE).view(f32)
    x64 = x.astype(np.float64)
    third = (x * f32(1 / 3)).astype(np.float64)
    fourth, step, power = np.empty_like(x), np.empty_like(x64), np.empty_like(x)
    for _ in range(3):
        np.multiply(r, r, out=power)
        power *= power
        np.multiply(r, f32(4 / 3), out=fourth)
        np.copyto(step, power)
        step *= third
        np.subtract(fourth, step, out=step)
        np.copyto(r, step, casting="same_kind")
    np.multiply(r, r, out=power)
    power *= power
    np.copyto(step, power)
    step *= x64
    np.subtract(r, step, out=step)
    np.copyto(fourth, step, casting="same_kind")
    np.copyto(step, fourth)
    step *= float(f32(1 / 3))
    step += r
    np.copyto(r, step, casting="same_kind")
    r *= r
    np.copyto(step, r)
    step *= x64
    step -= float(bias)
    np.copyto(r, step, casting="same_kind")
    return r

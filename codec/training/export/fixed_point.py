"""Float layers as integers: steps of activations, weights whose sums fit int32, rounding that
follows the data.

An activation's integer is its value times 2^fraction, a fraction for each channel. Where a layer's
input and output are free, that costs nothing at run time: the weights take the differences up, and
every layer shifts by one number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ...exact.program import HIGH, LOW, bounds

SUM = 2.0**31
MOST_WEIGHT = 32767
MOST_FRACTION = 24
MOST_SHIFT = 30
DAMPING = 1e-4  # of the mean of the inputs' squares, where weights are rounded
SLOPE = 3277  # of the leaky ReLU of g_s: 0.1 in units of 2^-15


@dataclass
class Moments:
    """What a layer's input is on calibration images: products of channels and of a constant 1, (K +
    1, K + 1), as a mean."""

    total: np.ndarray
    count: int = 0

    def add(self, x: np.ndarray) -> None:
        """x: float32 (n, K)."""
        one = np.concatenate([x, np.ones((len(x), 1), np.float32)], 1)
        self.total += one.T @ one
        self.count += len(x)

    def of_integers(self, fraction: np.ndarray) -> np.ndarray:
        """Those of the integers that stand for the input, float64."""
        scale = np.append(2.0**fraction, 1.0)
        return self.total.astype(np.float64) / max(1, self.count) * np.outer(scale, scale)


@dataclass
class Writer:
    """Collects layers of programs, and their arrays."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def conv(
        self,
        name: str,
        weight: np.ndarray,
        bias: np.ndarray,
        fraction: np.ndarray,
        out: np.ndarray,
        *,
        free: bool,
        low: int = LOW,
        high: int = HIGH,
        moments: Moments | None = None,
    ) -> tuple[dict, np.ndarray]:
        """A convolution: its layer, without registers, and the fractions of its output.

        weight: float64 (D, K), or (C, 3, 3); bias: (D,). fraction: of its input. out: of its
        output; where they are free they may become less, so that weights are finer. low, high: the
        least and the most that its input can be. Raises ValueError where no shift keeps its sums
        within int32.
        """
        depthwise = weight.ndim == 3
        scale = 2.0 ** -fraction.astype(np.float64)
        real = weight * (scale[:, None, None] if depthwise else scale)
        squares = None if moments is None else moments.of_integers(fraction)
        finest = _finest(real.reshape(len(real), -1), bias, low, high)
        out = out.astype(np.int64)
        if free:
            shift = _best_shift(real, finest, out, squares)
            out = np.minimum(out, finest - shift)
        else:
            shift = int(min(MOST_SHIFT, (finest - out).min()))
        while shift >= 1:
            factor = 2.0 ** (shift + out).astype(np.float64)
            scaled = real * (factor[:, None, None] if depthwise else factor[:, None])
            integers, rest = round_weights(scaled, bias * factor, squares)
            least, most = bounds(integers, rest, shift, low, high)
            if np.abs(integers).max() <= MOST_WEIGHT and least >= -SUM and most < SUM:
                self.arrays[f"{name}.weight"] = integers.astype(np.int16)
                self.arrays[f"{name}.bias"] = rest.astype(np.int32)
                layer = {
                    "op": "depthwise3x3" if depthwise else "conv1x1",
                    "weight": f"{name}.weight", "bias": f"{name}.bias", "shift": shift,
                }  # fmt: skip
                return layer, out
            shift -= 1
        raise ValueError(f"{name}: no shift keeps its sums within 32 bits")

    def sums(
        self,
        name: str,
        weight: np.ndarray,
        bias: np.ndarray,
        fraction: np.ndarray,
        *,
        low: int = LOW,
        high: int = HIGH,
        most: np.ndarray | None = None,
        moments: Moments | None = None,
    ) -> tuple[dict, np.ndarray]:
        """A convolution whose sums stay as they are, int32: its layer, and the fractions of its
        output, as fine as they can be, but at most `most`. The other arguments are those of `conv`.
        Raises ValueError as it does."""
        real = weight * 2.0 ** -fraction.astype(np.float64)
        squares = None if moments is None else moments.of_integers(fraction)
        out = _finest(real, bias, low, high)
        if most is not None:
            out = np.minimum(out, most)
        for _ in range(3):
            factor = 2.0 ** out.astype(np.float64)
            integers, rest = round_weights(real * factor[:, None], bias * factor, squares)
            rows = [bounds(w[None], b[None], 1, low, high) for w, b in zip(integers, rest)]
            wide = np.array([least < -SUM or most >= SUM for least, most in rows])
            wide |= np.abs(integers).max(1) > MOST_WEIGHT
            if not wide.any():
                self.arrays[f"{name}.weight"] = integers.astype(np.int16)
                self.arrays[f"{name}.bias"] = rest.astype(np.int32)
                layer = {"op": "sums", "weight": f"{name}.weight", "bias": f"{name}.bias"}
                return layer, out
            out = out - wide
        raise ValueError(f"{name}: its sums do not fit 32 bits")

    def factors(self, name: str, gain: np.ndarray, out: np.ndarray, most: int) -> dict:
        """What sums are multiplied by, float64 (256, C), positive, times 2^out: int16, and a shift
        for each, at most `most`; what a layer names them by."""
        factor = gain * 2.0 ** out.astype(np.float64)
        shift = np.floor(np.log2(MOST_WEIGHT / factor))
        if shift.min() < 1:
            raise ValueError(f"{name}: gains too large for integers")
        shift = np.minimum(shift, most)
        self.arrays[f"{name}.multiplier"] = np.rint(factor * 2.0**shift).astype(np.int16)
        self.arrays[f"{name}.shift"] = shift.astype(np.uint8)
        return {"multiplier": f"{name}.multiplier", "shift": f"{name}.shift"}

    def row(self, name: str, gain: np.ndarray, fraction: np.ndarray, out: np.ndarray) -> dict:
        """Gains, float64 (256, C), as int16 with a shift for each gain index."""
        factor = gain * 2.0 ** (out - fraction).astype(np.float64)
        shift = np.floor(np.log2(MOST_WEIGHT / np.abs(factor).max(1)))
        if shift.min() < 1:
            raise ValueError(f"{name}: gains too large for integers")
        shift = np.minimum(shift, MOST_SHIFT)
        self.arrays[f"{name}.multiplier"] = np.rint(factor * 2.0 ** shift[:, None]).astype(np.int16)
        self.arrays[f"{name}.shift"] = shift.astype(np.uint8)
        return {"op": "row", "multiplier": f"{name}.multiplier", "shift": f"{name}.shift"}

    def dequantise(self, name: str, gain: np.ndarray, out: np.ndarray) -> dict:
        """What latents, as they are stored, are multiplied by: float64 (256, M), positive; a shift
        for each."""
        return {"op": "dequantise"} | self.factors(name, gain, out, 46)


def fractions(largest: np.ndarray, headroom: float) -> np.ndarray:
    """Fractional bits, for each channel, with which values up to headroom * largest fit int16."""
    room = HIGH / (headroom * np.maximum(largest.astype(np.float64), 1e-6))
    return np.minimum(np.floor(np.log2(room)), MOST_FRACTION).astype(np.int64)


def _finest(real: np.ndarray, bias: np.ndarray, low: int, high: int = HIGH) -> np.ndarray:
    """For each output the exponent with which its weights may be multiplied so that sums fit int32,
    and they int16."""
    up, down = np.maximum(real, 0).sum(1), -np.minimum(real, 0).sum(1)
    largest = np.maximum(up * high - down * low, down * high - up * low) + np.abs(bias)
    # a share is left for rounding; the result is proven after it
    sums = np.log2(0.98 * SUM / np.maximum(largest, 1e-12))
    weights = np.log2(MOST_WEIGHT / np.maximum(np.abs(real).max(1), 1e-12))
    return np.floor(np.minimum(np.minimum(sums, weights), 62)).astype(np.int64)


def _best_shift(
    real: np.ndarray, finest: np.ndarray, out: np.ndarray, squares: np.ndarray | None
) -> int:
    """The shift with the least noise, as a mean of logarithms over outputs: of rounding the weights
    and the result."""
    inputs = real[0].size * HIGH**2 / 64 if squares is None else np.trace(squares[:-1, :-1])
    best, least = 1, math.inf
    for shift in range(1, MOST_SHIFT + 1):
        fraction = np.minimum(out, finest - shift).astype(np.float64)
        noise = 4.0**-fraction * (4.0**-shift * inputs + 1)
        cost = float(np.log(noise).sum())
        if cost < least:
            best, least = shift, cost
    return best


def round_weights(
    scaled: np.ndarray, bias: np.ndarray, squares: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Integers for weights, float64 (D, ...), and biases (D,): int64 both.

    squares: mean products of the inputs and of a constant 1, (K + 1, K + 1). With them each weight
    takes over what the rounding of those before it did to the output (Frantar et al. 2022, "GPTQ";
    before it LeCun 1990), and the bias what is left.
    """
    if squares is None:
        return np.rint(scaled).astype(np.int64), np.rint(bias).astype(np.int64)
    size = len(squares)
    damped = squares + DAMPING * np.trace(squares) / size * np.eye(size)
    # the largest inputs first, the constant last
    order = np.append(np.argsort(-np.diag(squares)[:-1], kind="stable"), size - 1)
    damped = damped[np.ix_(order, order)]
    inverse = np.linalg.inv(damped)
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    rest = np.concatenate([scaled, bias[:, None]], 1)[:, order]
    out = np.empty_like(rest)
    for k in range(size):
        out[:, k] = np.rint(rest[:, k])
        error = (rest[:, k] - out[:, k]) / upper[k, k]
        rest[:, k:] -= np.outer(error, upper[k, k:])
    back = np.empty_like(out)
    back[:, order] = out
    return back[:, :-1].astype(np.int64), back[:, -1].astype(np.int64)

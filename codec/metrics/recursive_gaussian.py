"""libjxl's recursive Gaussian blur, float32 rounding for float32 rounding.

Charalampidis, "Recursive implementation of the Gaussian filter using truncated cosine functions",
2016: three resonators, each with one cosine as its response, which a second input cancels after ten
samples. So the filter has nine taps. What rounding adds is never cancelled, though: the poles lie
on the unit circle, so that an error made in the first sample still rings in the last. Where an
image is flat that noise is most of a variance, and SSIMULACRA 2, whose weights were fitted with it,
moves by a point near a score of 90. Hence every rounding of the reference is made here too: a fused
multiply-add is a product and a sum in float64, both exact enough, rounded once.

Two scans, since the reference has two: along rows it takes four samples at a time, with the
recursion written out for them; along columns, one at a time. Outside, all is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SIGMA = 1.5
N = 5  # half the period of the slowest cosine, (57) for SIGMA
SPAN = 2 * N  # from the sample that enters to the one that leaves
DELAY = N - 1  # samples from one's entry until it is the output's middle
GROUP = 4
ALIGNED = 8  # samples before the first group


@dataclass(frozen=True)
class Coefficients:
    """float64 that float32 can hold: `previous` and `input` (3, 1) of a single step; of a group,
    with one row for every output, `by_y1`, `by_y2` and `by_input` (4, 3, 1)."""

    previous: np.ndarray
    input: np.ndarray
    by_y1: np.ndarray
    by_y2: np.ndarray
    by_input: np.ndarray


@lru_cache(1)
def coefficients() -> Coefficients:
    """Of the paper; numbers in brackets are its equations."""
    omega = np.pi / (2 * N) * np.array([1, 3, 5])
    p = np.array([1, -1, 1]) / np.tan(omega / 2)  # (37)
    r = np.array([1, -1, 1]) * p * p / np.sin(omega)  # (44)
    rho = np.exp(-0.5 * SIGMA**2 * omega**2) / N  # (50)
    pairs = [p[i] * r[j] - r[i] * p[j] for i, j in ((1, 2), (2, 0), (0, 1))]
    zeta = np.array([pairs[0] / pairs[2], pairs[1] / pairs[2], 1])  # (52)
    beta = np.linalg.solve([p, r, zeta], [1, N * N - SIGMA**2, zeta @ rho])  # (53) to (56)
    n = -beta * np.cos(omega * (N + 1))  # (33): y = n (new + old) - d y1 - y2
    d = -2 * np.cos(omega)
    # Put into itself three times.
    y1 = [-d, d**2 - 1, 2 * d - d**3, d**4 - 3 * d**2 + 1]
    y2 = [-np.ones(3), d, 1 - d**2, d**3 - 2 * d]
    x = [n, -d * n, d**2 * n - n, 2 * d * n - d**3 * n]
    return Coefficients(*(_as_float32(part) for part in (d, n, y1, y2, x)))


def _as_float32(values) -> np.ndarray:
    return np.asarray(values).astype(np.float32).astype(np.float64)[..., None]


def scan_in_groups(x: np.ndarray) -> np.ndarray:
    """The blur over the first axis as the reference does rows; float32 (n, m) -> (n, m)."""
    n, m = x.shape
    c = coefficients()
    padded = np.zeros((SPAN + n + GROUP + DELAY, m), np.float32)
    padded[SPAN : SPAN + n] = x
    out = np.empty((n, m), np.float32)
    y1, y2 = np.zeros((3, m)), np.zeros((3, m))
    y, product = np.empty((GROUP, 3, m)), np.empty((GROUP, 3, m))
    single = np.empty((GROUP, 3, m), np.float32)
    sums32, sums = np.empty((GROUP, m), np.float32), np.empty((GROUP, m))

    def advance(at: int, count: int) -> None:
        """Outputs `at` to `at + count` into y and single. Additions in the reference's order."""
        step = at + DELAY
        np.add(padded[step : step + count], padded[step + SPAN :][:count], out=sums32[:count])
        np.copyto(sums[:count], sums32[:count])
        part, rounded, to = y[:count], single[:count], product[:count]
        np.multiply(sums[0], c.by_input[:count], out=part)
        np.copyto(rounded, part, casting="same_kind")
        np.copyto(part, rounded)
        terms = [(sums[i], c.by_input[: count - i], i) for i in range(1, count)]
        terms += [(y2, c.by_y2[:count], 0), (y1, c.by_y1[:count], 0)]
        for value, factor, first in terms:
            np.multiply(value, factor, out=to[first:])
            part[first:] += to[first:]
            np.copyto(rounded[first:], part[first:], casting="same_kind")
            np.copyto(part[first:], rounded[first:])
        if at >= 0:
            done = out[at : at + count]
            np.add(rounded[:, 1], rounded[:, 2], out=done)
            done += rounded[:, 0]

    at = -DELAY
    while at < n:
        if ALIGNED <= at < n - DELAY - (GROUP - 1):
            advance(at, GROUP)
            y2[:], y1[:] = y[2], y[3]
            at += GROUP
        else:
            advance(at, 1)
            y1, y2 = y2, y1
            y1[:] = y[0]
            at += 1
    return out


class ScanDown:
    """The blur over rows as the reference does columns, fed with rows as they come."""

    def __init__(self) -> None:
        self._ahead = DELAY  # rows still to come before the first output
        self._seen: np.ndarray | None = None

    def feed(self, rows: np.ndarray) -> np.ndarray:
        """float32 (n, m) -> (n, m), the outputs DELAY rows earlier, or fewer at the start. After
        the last row come DELAY rows of zeros."""
        m = rows.shape[1]
        if self._seen is None:
            self._seen = np.zeros((SPAN, m), np.float32)
            self._y = np.zeros((2, 3, m))
        c = coefficients()
        inputs = np.concatenate([self._seen, rows])
        self._seen = inputs[-SPAN:].copy()
        warm = min(self._ahead, len(rows))
        self._ahead -= warm
        out = np.empty((len(rows) - warm, m), np.float32)
        y1, y2 = self._y
        y, term, rounded = np.empty((3, m)), np.empty((3, m)), np.empty((3, m), np.float32)
        total32, total = np.empty(m, np.float32), np.empty(m)
        for k in range(len(rows)):
            np.add(inputs[k], inputs[k + SPAN], out=total32)
            np.copyto(total, total32)
            np.multiply(y1, c.previous, out=y)
            y += y2
            np.copyto(rounded, y, casting="same_kind")
            np.copyto(y, rounded)
            np.multiply(total, c.input, out=term)
            term -= y
            np.copyto(rounded, term, casting="same_kind")
            y1, y2 = y2, y1
            np.copyto(y1, rounded)
            if k >= warm:
                np.add(rounded[1], rounded[2], out=out[k - warm])
                out[k - warm] += rounded[0]
        self._y = np.stack([y1, y2])
        return out

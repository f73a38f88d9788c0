"""Bjontegaard delta rate between rate-distortion curves, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Curve = tuple[list[float], list[float]]  # rates, qualities


def rising(rates: list[float], qualities: list[float]) -> Curve:
    """The points in order of rate, less those whose quality is not above all before them."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(zip(rates, qualities)):
        if not kept or quality > kept[-1][1]:
            kept.append((rate, quality))
    return [r for r, _ in kept], [q for _, q in kept]


def bd_rate(anchor: Curve, test: Curve) -> tuple[float, tuple[float, float]]:
    """Bjontegaard delta rate of `test` against `anchor`, each (rates, qualities), in per cent.

    PCHIP (Fritsch and Carlson 1980) of log rate over quality, integrated exactly over the common
    quality range, which is returned too. NaN where the ranges do not overlap. Points at which
    quality does not rise with rate are dropped.
    """
    from scipy.interpolate import PchipInterpolator

    (ra, qa), (rt, qt) = rising(*anchor), rising(*test)
    if len(qa) < 2 or len(qt) < 2:
        return float("nan"), (float("nan"), float("nan"))
    low, high = max(qa[0], qt[0]), min(qa[-1], qt[-1])
    if low >= high:
        return float("nan"), (low, high)
    area = [PchipInterpolator(q, np.log(r)).integrate(low, high) for r, q in ((ra, qa), (rt, qt))]
    return float(100 * np.expm1((area[1] - area[0]) / (high - low))), (low, high)


def rate_at(rates: list[float], qualities: list[float], quality: float) -> float:
    """Rate at a quality, by PCHIP of log rate; NaN outside the curve."""
    from scipy.interpolate import PchipInterpolator

    r, q = rising(rates, qualities)
    if len(q) < 2 or not q[0] <= quality <= q[-1]:
        return float("nan")
    return float(np.exp(PchipInterpolator(q, np.log(r))(quality)))


def bootstrap(
    anchor: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    samples: int = 300,
    level: float = 0.95,
    seed: int = 0,
    scale: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the BD-rate of mean curves over images (Efron 1979), in per
    cent.

    anchor, test: (rates, qualities), each (images, points), the same images in the same order, so
    that both curves of a sample are means over the same images. scale: applied to the mean
    qualities. NaN with fewer than two images.
    """
    images = len(anchor[0])
    if images < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), samples)
    means = [draws @ array / images for array in (*anchor, *test)]
    if scale is not None:
        means[1], means[3] = scale(means[1]), scale(means[3])
    values = [
        bd_rate((a.tolist(), b.tolist()), (c.tolist(), d.tolist()))[0] for a, b, c, d in zip(*means)
    ]
    tail = 50 * (1 - level)
    if np.all(np.isnan(values)):
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)

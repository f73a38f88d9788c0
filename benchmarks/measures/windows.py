"""Bytes of one codec against another's at equal quality, within ranges of quality that people use.

A BD-rate covers whatever range two mean curves share. Here the range is given, and each image has
its own curves: one quality setting gives very different scores to a sky and to a forest, so that
means over images at a setting are means over unlike things.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..metrics import Metric
from ..run import Point
from .bdrate import rising

COVERED = 0.5  # of a window, by both curves, for an image to count
SAMPLES = 300  # of the bootstrap


@dataclass(frozen=True)
class Change:
    """Of bytes, in per cent, negative for fewer: the mean over images of logarithms; its 95 %
    interval by bootstrap over images (NaN for one image); how many images count; and the worst of
    them."""

    percent: float
    low: float
    high: float
    images: int
    worst_image: str
    worst: float


class Curves:
    """Every codec's curve on every image by one metric: log of bits per pixel over quality."""

    def __init__(self, points: list[Point], metric: Metric) -> None:
        from scipy.interpolate import PchipInterpolator

        grouped: dict[tuple[str, str], list[Point]] = {}
        for p in points:
            grouped.setdefault((p.codec, p.image), []).append(p)
        self._metric = metric
        self._curves: dict[tuple[str, str], tuple[float, float, PchipInterpolator]] = {}
        self.images = list(dict.fromkeys(p.image for p in points))
        for key, group in grouped.items():
            values = metric.quality(np.array([p.value(metric.name) for p in group]))
            rates = [8 * p.bytes / (p.width * p.height) for p in group]
            known = [(r, q) for r, q in zip(rates, values) if np.isfinite(q)]
            r, q = rising([r for r, _ in known], [float(q) for _, q in known])
            if len(q) > 1:
                integral = PchipInterpolator(q, np.log(r)).antiderivative()
                self._curves[key] = q[0], q[-1], integral

    def change(self, codec: str, against: str, window: tuple[float, float]) -> Change | None:
        """None where no image's curves cover enough of the window."""
        low, high = self._metric.span(window)
        logs: dict[str, float] = {}
        for image in self.images:
            pair = [self._curves.get((name, image)) for name in (against, codec)]
            if pair[0] is None or pair[1] is None:
                continue
            (a0, a1, anchor), (b0, b1, test) = pair[0], pair[1]
            start, stop = max(low, a0, b0), min(high, a1, b1)
            if stop - start < COVERED * (high - low):
                continue
            areas = [float(f(stop) - f(start)) for f in (anchor, test)]
            logs[image] = (areas[1] - areas[0]) / (stop - start)
        if not logs:
            return None
        values = np.array(list(logs.values()))
        worst = max(logs, key=lambda image: logs[image])
        return Change(
            _percent(values.mean()), *_interval(values), len(values), worst, _percent(logs[worst])
        )


def _percent(log: float) -> float:
    return round(100 * math.expm1(log), 2)


def _interval(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2:
        return math.nan, math.nan
    draws = np.random.default_rng(0).integers(0, len(values), (SAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return _percent(low), _percent(high)


def label(window: tuple[float, float]) -> str:
    """A window as people read it."""
    return f"{window[0]:g} to {window[1]:g}"


def table(
    points: list[Point], metrics: list[Metric], codecs: list[str], others: list[str]
) -> dict[str, dict]:
    """metric -> window -> codec -> the codec it is held against -> [per cent, low, high, images,
    worst image, worst per cent], None for NaN."""
    result: dict[str, dict] = {}
    for metric in (m for m in metrics if m.windows):
        curves = Curves(points, metric)
        for window in metric.windows:
            for codec in codecs:
                for other in others:
                    found = curves.change(codec, other, window)
                    if found is None:
                        continue
                    of_window = result.setdefault(metric.name, {}).setdefault(label(window), {})
                    low, high = (None if math.isnan(v) else v for v in (found.low, found.high))
                    of_window.setdefault(codec, {})[other] = [
                        found.percent, low, high, found.images, found.worst_image, found.worst,
                    ]  # fmt: skip
    return result

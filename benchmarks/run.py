"""Run codecs over a dataset: one point for every image, codec and quality."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .cache import Cache, image_hash
from .codecs import CodecError, PeerCodec
from .datasets import Dataset
from .metrics import Measure, choose_measures


@dataclass
class Point:
    """One image coded once. bytes: the whole file; payload_bytes: without headers and tables; both
    whole numbers but where a point is a mean of many. values: what was measured, by the names of
    the metrics; NaN where a metric is not defined."""

    codec: str
    quality: float
    image: str
    width: int
    height: int
    bytes: float
    payload_bytes: float
    values: dict[str, float]

    def value(self, metric: str) -> float:
        """NaN where it was not measured."""
        return self.values.get(metric, math.nan)


COLUMNS = ("codec", "quality", "image", "width", "height", "bytes", "payload_bytes")


def run(
    dataset: Dataset,
    codecs: list[PeerCodec],
    step: Callable[[], None],
    jobs: int = 1,
    cache: Cache | None = None,
    measures: list[Measure] | None = None,
) -> list[Point]:
    """Every codec at every quality on every image, `jobs` images at a time; `step` is called once
    per point. The points come in the order of the images. measures: PSNR alone if left out.

    Points in the cache are not computed again. Raises CodecError where a codec changes an image's
    size.
    """
    cache = cache or Cache(None)
    wanted = choose_measures("psnr") if measures is None else measures
    keys = {metric.name: m.key(metric) for m in wanted for metric in m.metrics}

    def one(number: int) -> list[Point]:
        name, image = dataset.image(number)
        key = image_hash(image)
        height, width = image.shape[:2]
        points = []
        for codec in codecs:
            for quality in codec.qualities:
                known = cache.get(key, codec.identity, quality)
                lacking = [m for m in wanted if any(m.key(x) not in known for x in m.metrics)]
                if lacking or "bytes" not in known:
                    known |= measure(codec, image, quality, lacking)
                    cache.put(key, codec.identity, quality, known)
                values = {metric: known[kept] for metric, kept in keys.items()}
                size = known["bytes"], known["payload_bytes"]
                points.append(Point(codec.name, quality, name, width, height, *size, values))
                step()
        return points

    # Threads will do: the codecs and NumPy spend their time outside Python's lock.
    pool = ThreadPoolExecutor(jobs)
    try:
        return [point for points in pool.map(one, range(len(dataset))) for point in points]
    finally:
        pool.shutdown(cancel_futures=True)


def measure(codec: PeerCodec, image: np.ndarray, quality: float, measures: list[Measure]) -> dict:
    """Encode and decode once: bytes of the file and of its payload, and values by `Measure.key`."""
    data = codec.encode(image, quality)
    back = codec.decode(data)
    if back.shape != image.shape:
        raise CodecError(f"{codec.name}: gave {back.shape} back for an image of {image.shape}")
    result: dict[str, float] = {"bytes": len(data), "payload_bytes": (codec.payload or len)(data)}
    for m in measures:
        values = m(image, back)
        result |= {m.key(metric): values[metric.name] for metric in m.metrics}
    return result


def row(point: Point) -> dict:
    """A point as a row of a table: None for NaN, and no more digits than matter."""
    digits = {"ms_ssim": 6, "quality": 3}
    values = {name: getattr(point, name) for name in COLUMNS} | point.values
    for name, value in values.items():
        if isinstance(value, float):
            values[name] = None if math.isnan(value) else round(value, digits.get(name, 4))
    return values

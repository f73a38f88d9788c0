"""Run codecs over a dataset: one point for every image, codec and quality."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields

import numpy as np

from .cache import Cache, image_hash
from .codecs import CodecError, PeerCodec
from .datasets import Dataset
from .metrics import ALWAYS, ON_DEMAND, VERSION


@dataclass
class Point:
    """One image coded once. bytes: the whole file; payload_bytes: without headers and tables.
    psnr, psnr_yuv: dB; ms_ssim: 0..1; NaN where a metric is not defined or was not asked for."""

    codec: str
    quality: float
    image: str
    width: int
    height: int
    bytes: int
    payload_bytes: int
    psnr: float
    psnr_yuv: float = math.nan
    ms_ssim: float = math.nan
    ssimulacra2: float = math.nan


MEASURED = [f.name for f in fields(Point)][5:]


def run(
    dataset: Dataset,
    codecs: list[PeerCodec],
    step: Callable[[], None],
    jobs: int = 1,
    cache: Cache | None = None,
    metrics: tuple[str, ...] = (),
) -> list[Point]:
    """Every codec at every quality on every image, `jobs` images at a time; `step` is called once per
    point. The points come in the order of the images. metrics: names in ON_DEMAND to measure too.

    Points in the cache are not computed again. Raises CodecError where a codec changes an image's size.
    """
    cache = cache or Cache(None)
    wanted = {**ALWAYS, **{name: ON_DEMAND[name] for name in metrics}}

    def one(number: int) -> list[Point]:
        name, image = dataset.image(number)
        key = image_hash(image)
        height, width = image.shape[:2]
        points = []
        for codec in codecs:
            for quality in codec.qualities:
                known = cache.get(key, codec.identity, quality)
                if known.get("version", 1) != VERSION:
                    known = {}
                lacking = {n: f for n, f in wanted.items() if n not in known}
                if lacking or "bytes" not in known:
                    known |= measure(codec, image, quality, lacking) | {"version": VERSION}
                    cache.put(key, codec.identity, quality, known)
                chosen = {n: known[n] for n in ("bytes", "payload_bytes", *wanted)}
                points.append(Point(codec.name, quality, name, width, height, **chosen))
                step()
        return points

    # Threads will do: the codecs and NumPy spend their time outside Python's lock.
    pool = ThreadPoolExecutor(jobs)
    try:
        return [point for points in pool.map(one, range(len(dataset))) for point in points]
    finally:
        pool.shutdown(cancel_futures=True)


def measure(
    codec: PeerCodec, image: np.ndarray, quality: float, metrics: dict[str, Callable]
) -> dict:
    """Encode and decode once: bytes of the file and of its payload, and the metrics."""
    data = codec.encode(image, quality)
    back = codec.decode(data)
    if back.shape != image.shape:
        raise CodecError(f"{codec.name}: gave {back.shape} back for an image of {image.shape}")
    values = {name: function(image, back) for name, function in metrics.items()}
    size = {"bytes": len(data), "payload_bytes": (codec.payload or len)(data)}
    return {**size, **values}


def row(point: Point) -> dict:
    """A point as a row of a table: None for NaN, and no more digits than matter."""
    digits = {"ms_ssim": 6, "quality": 3}
    values = asdict(point)
    for name, value in values.items():
        if isinstance(value, float):
            values[name] = None if math.isnan(value) else round(value, digits.get(name, 4))
    return values

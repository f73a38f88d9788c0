"""Run codecs over a dataset, and what the points amount to."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from .codecs import PeerCodec
from .datasets import Dataset
from .metrics import bd_rate, ms_ssim, ms_ssim_db, psnr

ANCHOR = "JPEG"


@dataclass
class Point:
    """One image coded once. bytes: the whole file; payload_bytes: without headers and tables."""

    codec: str
    quality: int
    image: str
    width: int
    height: int
    bytes: int
    payload_bytes: int
    psnr: float
    ms_ssim: float


def run(
    dataset: Dataset, codecs: list[PeerCodec], step: Callable[[], None], jobs: int = 1
) -> list[Point]:
    """Every codec at every quality on every image, `jobs` images at a time; `step` is called once per
    point. The points come in the order of the images."""

    def one(number: int) -> list[Point]:
        name, image = dataset.image(number)
        points = []
        for codec in codecs:
            for quality in codec.qualities:
                data = codec.encode(image, quality)
                back = codec.decode(data)
                points.append(
                    Point(
                        codec.name,
                        quality,
                        name,
                        image.shape[1],
                        image.shape[0],
                        len(data),
                        codec.payload(data),
                        psnr(image, back),
                        ms_ssim(image, back),
                    )
                )
                step()
        return points

    # Threads will do: the codecs and NumPy spend their time outside Python's lock.
    with ThreadPoolExecutor(jobs) as pool:
        return [point for points in pool.map(one, range(len(dataset))) for point in points]


def curves(points: list[Point], metric: str = "psnr", headers: bool = True) -> dict:
    """Per codec, (bits per pixel, quality): means over images at each quality setting.

    metric: `psnr` (mean of per-image dB) or `ms_ssim` (dB of the mean). headers: whole files, or payloads.
    """
    grouped: dict[tuple[str, int], list[Point]] = {}
    for p in points:
        grouped.setdefault((p.codec, p.quality), []).append(p)
    result: dict[str, tuple[list[float], list[float]]] = {}
    for (codec, _), group in sorted(grouped.items(), key=lambda item: item[0]):
        size = [p.bytes if headers else p.payload_bytes for p in group]
        bpp = sum(8 * s / (p.width * p.height) for s, p in zip(size, group)) / len(group)
        value = sum(getattr(p, metric) for p in group) / len(group)
        if math.isnan(value):
            continue
        rates, qualities = result.setdefault(codec, ([], []))
        rates.append(bpp)
        qualities.append(ms_ssim_db(value) if metric == "ms_ssim" else value)
    return result


def bd_table(points: list[Point]) -> list[dict]:
    """BD-rate of every codec against Pillow's default JPEG, with the window of each figure."""
    rows: list[dict] = [{"codec": name} for name in curves(points)]
    for key, metric, headers in (
        ("psnr", "psnr", True),
        ("psnr_without_headers", "psnr", False),
        ("ms_ssim", "ms_ssim", True),
    ):
        by_codec = curves(points, metric, headers)
        for row in rows:
            if row["codec"] in by_codec and ANCHOR in by_codec:
                value, window = bd_rate(by_codec[ANCHOR], by_codec[row["codec"]])
                row[key] = None if math.isnan(value) else round(value, 2)
                row[f"{key}_window_db"] = [round(w, 2) for w in window]
    return rows


def environment() -> dict:
    """Facts about this machine and its libraries that a reader of the results needs."""
    from importlib.metadata import version

    names = ("aei-codec", "numpy", "pillow", "onnxruntime")
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "versions": {name: version(name) for name in names},
    }


def save(path: Path, dataset: Dataset, codecs: list[PeerCodec], points: list[Point]) -> None:
    """`path` as JSON (everything) and beside it as CSV (the points)."""
    results = {
        "dataset": dataset.name,
        "images": len(dataset),
        "environment": environment(),
        "codecs": {c.name: {"settings": c.settings, "version": c.version} for c in codecs},
        "bd_rate_against_jpeg": bd_table(points),
        "curves": {
            "psnr": curves(points),
            "psnr_without_headers": curves(points, headers=False),
            "ms_ssim_db": curves(points, "ms_ssim"),
        },
        "points": [asdict(p) for p in points],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1)
    path.write_text(text.replace("NaN", "null") + "\n", encoding="utf-8")
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(points[0])))
        writer.writeheader()
        writer.writerows(asdict(p) for p in points)


def load(path: Path) -> tuple[dict, list[Point]]:
    """Results that `save` wrote. Raises ValueError where the file is something else."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        points = [
            Point(**{**p, "ms_ssim": math.nan if p["ms_ssim"] is None else p["ms_ssim"]})
            for p in results["points"]
        ]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: not the JSON results of aei bench") from None
    return results, points

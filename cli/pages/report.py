"""The page of a benchmark's results: charts, tables, and every image by every codec at equal
bytes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...benchmarks.cache import image_hash
from ...benchmarks.codecs import PeerCodec
from ...benchmarks.datasets import Dataset
from ...benchmarks.match import match_bytes
from ...benchmarks.metrics import ms_ssim_db
from ...benchmarks.results import curves
from ...benchmarks.run import Point
from ...benchmarks.style import styles
from .pages import page, picture, small_uri

MAX_SINGLE = 60  # datasets of more images are shown by their means only


def report(facts: dict, points: list[Point], pictures: dict | None) -> str:
    """The page as text. facts, points: as `results.load` gives them; pictures: of
    `coded_pictures`."""
    data = {
        key: facts[key]
        for key in (
            "dataset", "images", "environment", "codecs", "left_out", "anchor", "bd_rate",
            "bd_rate_per_image", "windows", "timings", "published",
        )
    }  # fmt: skip
    data["styles"] = styles({name: c["family"] for name, c in facts["codecs"].items()})
    data["metrics"] = {
        name: m["label"] for name, m in facts["metrics"].items() if curves(points, name)
    }
    data["curves"] = {m: _curves(points, m) for m in data["metrics"]}
    data["bare"] = {m: _curves(points, m, headers=False) for m in data["metrics"]}
    names = list(dict.fromkeys(p.image for p in points))
    data["single"] = _single(points, list(data["metrics"])) if len(names) <= MAX_SINGLE else {}
    data["pictures"] = pictures
    title = f"Image codecs on {facts['dataset']}, {facts['images']} images"
    return page("report.html", title, data, ("viewer.js", "chart.js", "report.js"))


def _curves(points: list[Point], metric: str, headers: bool = True) -> dict:
    return {
        name: _pairs(rates, quality)
        for name, (rates, quality) in curves(points, metric, headers).items()
    }


def _pairs(rates: list[float], quality: list[float]) -> list[list[float]]:
    return [[round(r, 4), round(q, 3)] for r, q in sorted(zip(rates, quality))]


def _single(points: list[Point], metrics: list[str]) -> dict:
    """Per image, metric and codec, the curve: [bits per pixel, quality] of every point."""
    result: dict = {}
    for p in sorted(points, key=lambda p: p.bytes):
        for metric in metrics:
            value = p.value(metric)
            value = float(ms_ssim_db(value)) if metric == "ms_ssim" else value
            if not np.isnan(value):
                of_image = result.setdefault(p.image, {}).setdefault(metric, {})
                bpp = round(8 * p.bytes / (p.width * p.height), 4)
                of_image.setdefault(p.codec, []).append([bpp, round(value, 2)])
    return result


def coded_pictures(
    dataset: Dataset,
    codecs: list[PeerCodec],
    bpp: float,
    step: Callable[[], None],
    jobs: int = 1,
) -> dict:
    """Every image of the dataset by every codec at the file size nearest to `bpp`, for the page's
    slider.

    `step` is called once per image.
    """

    def one(number: int) -> dict:
        name, image = dataset.image(number)
        height, width = image.shape[:2]
        target = round(bpp * width * height / 8)
        original, original_psnr = small_uri(image)
        shown = []
        for codec in codecs:
            shown.append(picture(image, codec, match_bytes(codec, image, target), small=True))
        step()
        return {
            "name": name,
            "width": width,
            "height": height,
            "hash": image_hash(image),
            "original": original,
            "original_psnr": round(original_psnr, 1),
            "pictures": shown,
        }

    with ThreadPoolExecutor(jobs) as pool:
        return {"bpp": bpp, "images": list(pool.map(one, range(len(dataset))))}


def for_pictures(codecs: list[PeerCodec]) -> list[PeerCodec]:
    """aei, and the first lossy codec of each family that browsers show: the others' pictures would
    need large copies of the pixels, so they are shown when asked for."""
    chosen: dict[str, PeerCodec] = {}
    for codec in codecs:
        if not codec.slow and not codec.lossless and (codec.mime or codec.family == "aei"):
            chosen.setdefault(codec.family, codec)
    return list(chosen.values())

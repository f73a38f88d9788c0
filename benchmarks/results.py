"""What the points of a benchmark amount to, and the files they are kept in."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np

from .bdrate import Curve, bd_rate, bootstrap
from .codecs import PeerCodec
from .datasets import Dataset
from .environment import environment
from .metrics import ms_ssim_db
from .run import MEASURED, Point, row

Grid = tuple[np.ndarray, np.ndarray]  # bits per pixel and metric, each (images, qualities)
ANCHOR = "JPEG"
METRICS = {
    "psnr": "PSNR (dB)",
    "psnr_yuv": "PSNR YCbCr 6:1:1 (dB)",
    "ms_ssim": "MS-SSIM (dB)",
    "ssimulacra2": "SSIMULACRA 2",
}


def grids(points: list[Point], metric: str = "psnr", headers: bool = True) -> dict[str, Grid]:
    """Per codec, bits per pixel and metric as arrays (images, qualities), both in the order of the
    points; codecs without the metric are left out. headers: whole files, or payloads."""
    grouped: dict[str, dict[str, list[Point]]] = {}
    for p in points:
        grouped.setdefault(p.codec, {}).setdefault(p.image, []).append(p)
    result = {}
    for codec, images in grouped.items():
        rows = [sorted(group, key=lambda p: p.quality) for group in images.values()]
        size = np.array([[p.bytes if headers else p.payload_bytes for p in r] for r in rows])
        pixels = np.array([[p.width * p.height for p in r] for r in rows])
        value = np.array([[getattr(p, metric) for p in r] for r in rows], float)
        if not np.isnan(value).any():
            result[codec] = 8 * size / pixels, value
    return result


def curves(points: list[Point], metric: str = "psnr", headers: bool = True) -> dict[str, Curve]:
    """Per codec, (bits per pixel, quality): means over images at each quality setting.

    metric: a key of METRICS, as the mean of the images' values; `ms_ssim` as dB of the mean.
    """
    return {
        codec: mean_curve(*grid, metric) for codec, grid in grids(points, metric, headers).items()
    }


def mean_curve(rates: np.ndarray, values: np.ndarray, metric: str) -> Curve:
    """Means over images of arrays (images, qualities)."""
    quality = values.mean(axis=0).tolist()
    if metric == "ms_ssim":
        quality = [float(ms_ssim_db(q)) for q in quality]
    return rates.mean(axis=0).tolist(), quality


def bd_table(points: list[Point], anchor: str = ANCHOR, interval: bool = True) -> list[dict]:
    """BD-rate of every codec against `anchor`, with the window of each figure and its bootstrap interval
    over images (95 %)."""
    rows: list[dict] = [{"codec": name} for name in grids(points)]
    columns = [(metric, metric, True) for metric in METRICS]
    columns.insert(1, ("psnr_without_headers", "psnr", False))
    for key, metric, headers in columns:
        by_codec = grids(points, metric, headers)
        for entry in rows:
            name = entry["codec"]
            if name not in by_codec or anchor not in by_codec or by_codec[name][0].shape[1] < 2:
                continue
            pair = [by_codec[anchor], by_codec[name]]
            value, window = bd_rate(*(mean_curve(*grid, metric) for grid in pair))
            entry[key] = None if math.isnan(value) else round(value, 2)
            entry[f"{key}_window"] = [None if math.isnan(w) else round(w, 2) for w in window]
            if interval and name != anchor and entry[key] is not None and len(pair[0][0]) > 1:
                scale = ms_ssim_db if metric == "ms_ssim" else None
                entry[f"{key}_interval"] = [
                    round(x, 2) for x in bootstrap(pair[0], pair[1], scale=scale)
                ]
    return rows


def bd_per_image(points: list[Point], metric: str = "psnr", anchor: str = ANCHOR) -> dict:
    """Per codec, the BD-rate against `anchor` of each image alone (None where curves do not meet)."""
    by_codec = grids(points, metric)
    if anchor not in by_codec:
        return {}
    result = {}
    for name, grid in by_codec.items():
        if name == anchor or grid[0].shape[1] < 2:
            continue
        values = []
        for i in range(len(grid[0])):
            one = [
                mean_curve(r[i : i + 1], v[i : i + 1], metric) for r, v in (by_codec[anchor], grid)
            ]
            value = bd_rate(*one)[0]
            values.append(None if math.isnan(value) else round(value, 2))
        result[name] = values
    return result


def summary(
    dataset: Dataset,
    codecs: list[PeerCodec],
    left_out: dict[str, str],
    points: list[Point],
    timings: dict | None = None,
    published: dict | None = None,
    anchor: str = ANCHOR,
) -> dict:
    """Everything that the JSON file holds; see docs/BENCHMARK.md for its fields."""
    images = {p.image: [p.width, p.height] for p in points}
    return {
        "format": 2,
        "dataset": dataset.name,
        "images": len(dataset),
        "environment": environment(),
        "codecs": {
            c.name: {
                "settings": c.settings, "version": c.version, "family": c.family or c.name,
                "identity": c.identity, "lossless": c.lossless, **_overhead(c, dataset, points),
            }
            for c in codecs
        },
        "left_out": left_out,
        "anchor": anchor,
        "bd_rate": bd_table(points, anchor),
        "bd_rate_per_image": {"images": list(images), **bd_per_image(points, "psnr", anchor)},
        "curves": {metric: _short(curves(points, metric)) for metric in METRICS},
        "curves_without_headers": {"psnr": _short(curves(points, "psnr", headers=False))},
        "timings": timings,
        "published": published or {},
        "points": points,
    }  # fmt: skip


def _overhead(codec: PeerCodec, dataset: Dataset, points: list[Point]) -> dict:
    """Bytes of a grey picture of the first image's size at the lowest quality, and the mean bytes of
    headers and tables (None where they were not told apart)."""
    grey = np.full_like(dataset.image(0)[1], 128)
    own = [p.bytes - p.payload_bytes for p in points if p.codec == codec.name]
    return {
        "grey_bytes": len(codec.encode(grey, codec.qualities[0])),
        "header_bytes": round(sum(own) / len(own), 1) if codec.payload and own else None,
    }


def _short(by_codec: dict[str, Curve]) -> dict:
    return {
        name: {"bpp": [round(x, 5) for x in rates], "quality": [round(x, 4) for x in quality]}
        for name, (rates, quality) in by_codec.items()
    }


def to_json(results: dict) -> str:
    """`summary` as JSON: small parts indented, the points as one row per line, columns named once."""
    rows = [row(p) for p in results["points"]]
    columns = [k for k in rows[0] if any(r[k] is not None for r in rows)] if rows else []
    shown = {k: v for k, v in results.items() if k != "points"}
    text = _lines(shown).rstrip()[:-2].rstrip()
    dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
    table = ",\n  ".join(dump([r[k] for k in columns]) for r in rows)
    return f'{text},\n "columns": {dump(columns)},\n "points": [\n  {table}\n ]\n}}\n'


def _lines(value: object, depth: int = 0) -> str:
    """JSON with one line per dictionary entry and lists on one line: compact, and diffs stay readable."""
    if isinstance(value, dict) and value:
        pad = " " * (depth + 1)
        inner = ",\n".join(
            f"{pad}{json.dumps(k)}: {_lines(v, depth + 1)}" for k, v in value.items()
        )
        return "{\n" + inner + "\n" + " " * depth + "}"
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def to_csv(points: list[Point]) -> str:
    """The points as a tidy table, one row per image, codec and quality."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(row(points[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(p) for p in points)
    return out.getvalue()


def load(path: Path) -> tuple[dict, list[Point]]:
    """Results from their JSON file. Raises ValueError where the file is something else."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        names = results["columns"]
        points = []
        for values in results["points"]:
            fields: dict = {
                name: math.nan if value is None and name in MEASURED else value
                for name, value in zip(names, values)
            }
            points.append(Point(**fields))
        if not points or results["format"] != 2:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: not the JSON results of this version's aei bench") from None
    return results, points

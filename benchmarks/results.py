"""What the points of a benchmark amount to, and the files they are kept in."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np

from ..codec.reading import as_data
from .codecs import PeerCodec
from .datasets import Dataset
from .environment import environment
from .measures.bdrate import Curve, bd_rate, bootstrap
from .measures.windows import table as window_table
from .metrics import BUILT_IN, Metric, ms_ssim_db
from .run import COLUMNS, Point, row

Grid = tuple[np.ndarray, np.ndarray]  # bits per pixel and metric, each (images, qualities)
ANCHOR = "JPEG"
FORMAT = 3  # 2 had no "metrics" and no "windows"


def metrics_of(facts: dict) -> dict[str, Metric]:
    """The metrics of results by name, as their JSON describes them."""
    return {
        name: Metric(
            name, m["label"], tuple((w[0], w[1]) for w in m["windows"]), m["smaller_is_better"]
        )
        for name, m in facts["metrics"].items()
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
        value = np.array([[p.value(metric) for p in r] for r in rows], float)
        if not np.isnan(value).any():
            result[codec] = 8 * size / pixels, value
    return result


def curves(points: list[Point], metric: str = "psnr", headers: bool = True) -> dict[str, Curve]:
    """Per codec, (bits per pixel, value): means over images at each quality setting.

    metric: its name, as the mean of the images' values; `ms_ssim` as dB of the mean.
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


def bd_table(
    points: list[Point],
    anchor: str = ANCHOR,
    interval: bool = True,
    metrics: dict[str, Metric] = BUILT_IN,
) -> list[dict]:
    """BD-rate of every codec against `anchor`, with the window of each figure and its bootstrap
    interval over images (95 %)."""
    rows: list[dict] = [{"codec": name} for name in dict.fromkeys(p.codec for p in points)]
    columns = [(name, metric, True) for name, metric in metrics.items()]
    columns.insert(1, ("psnr_without_headers", BUILT_IN["psnr"], False))
    for key, metric, headers in columns:
        by_codec = grids(points, metric.name, headers)
        for entry in rows:
            name = entry["codec"]
            if name not in by_codec or anchor not in by_codec or by_codec[name][0].shape[1] < 2:
                continue
            pair = [by_codec[anchor], by_codec[name]]
            value, window = bd_rate(*(_quality_curve(*grid, metric) for grid in pair))
            if metric.smaller_is_better:
                window = -window[1], -window[0]
            entry[key] = None if math.isnan(value) else round(value, 2)
            entry[f"{key}_window"] = [None if math.isnan(w) else round(w, 2) for w in window]
            if interval and name != anchor and entry[key] is not None and len(pair[0][0]) > 1:
                entry[f"{key}_interval"] = [
                    round(x, 2) for x in bootstrap(pair[0], pair[1], scale=metric.quality)
                ]
    return rows


def _quality_curve(rates: np.ndarray, values: np.ndarray, metric: Metric) -> Curve:
    """As `mean_curve`, of something that rises with quality."""
    return rates.mean(axis=0).tolist(), np.asarray(metric.quality(values.mean(axis=0))).tolist()


def bd_per_image(points: list[Point], metric: str = "psnr", anchor: str = ANCHOR) -> dict:
    """Per codec, the BD-rate against `anchor` of each image alone (None where curves do not
    meet)."""
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
    metrics: dict[str, Metric] = BUILT_IN,
) -> dict:
    """Everything that the JSON file holds; see docs/guide/benchmark.md for its fields."""
    images = {p.image: [p.width, p.height] for p in points}
    own = [c.name for c in codecs if c.family == "aei"] or [c.name for c in codecs]
    others = [c.name for c in codecs if c.name not in own and not c.lossless]
    return {
        "format": FORMAT,
        "dataset": dataset.name,
        "images": len(dataset),
        "environment": environment(),
        "codecs": {
            c.name: {
                "settings": c.settings, "version": c.version, "family": c.family or c.name,
                "identity": c.identity, "lossless": c.lossless, "tuned_for": c.tuned_for,
                **_overhead(c, dataset, points),
            }
            for c in codecs
        },
        "left_out": left_out,
        "anchor": anchor,
        "metrics": _described(metrics),
        "bd_rate": bd_table(points, anchor, True, metrics),
        "bd_rate_per_image": {"images": list(images), **bd_per_image(points, "psnr", anchor)},
        "windows": window_table(points, list(metrics.values()), own, others),
        "curves": {name: _short(curves(points, name)) for name in metrics},
        "curves_without_headers": {"psnr": _short(curves(points, "psnr", headers=False))},
        "timings": timings,
        "published": published or {},
        "points": points,
    }  # fmt: skip


def _overhead(codec: PeerCodec, dataset: Dataset, points: list[Point]) -> dict:
    """Bytes of a grey picture of the first image's size at the lowest quality, and the mean bytes
    of headers and tables (None where they were not told apart)."""
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
    """`summary` as JSON: small parts indented, the points as one row per line, columns named
    once."""
    rows = [row(p) for p in results["points"]]
    columns = [k for k in rows[0] if any(r[k] is not None for r in rows)] if rows else []
    shown = {k: v for k, v in results.items() if k != "points"}
    text = _lines(shown).rstrip()[:-2].rstrip()
    dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
    table = ",\n  ".join(dump([r[k] for k in columns]) for r in rows)
    return f'{text},\n "columns": {dump(columns)},\n "points": [\n  {table}\n ]\n}}\n'


def _lines(value: object, depth: int = 0) -> str:
    """JSON with one line per dictionary entry and lists on one line: compact, and diffs stay
    readable."""
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
        results = json.loads(bytes(as_data(path)))
        names = results["columns"]
        if results["format"] == FORMAT - 1:
            known = {name: metric for name, metric in BUILT_IN.items() if name in names}
            results |= {"metrics": _described(known), "windows": {}}
        points = []
        for row_ in results["points"]:
            fields = dict(zip(names, row_))
            values = {
                name: math.nan if fields.get(name) is None else fields[name]
                for name in results["metrics"]
            }
            points.append(Point(**{name: fields[name] for name in COLUMNS}, values=values))
        if not points or results["format"] not in (FORMAT - 1, FORMAT):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: not the JSON results of this version's aei bench") from None
    return results, points


def _described(metrics: dict[str, Metric]) -> dict:
    """For `metrics_of`."""
    return {
        name: {
            "label": m.label,
            "windows": [list(window) for window in m.windows],
            "smaller_is_better": m.smaller_is_better,
        }
        for name, m in metrics.items()
    }

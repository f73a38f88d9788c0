"""Slim bundles against the one they were made from: bytes, speed, BD-rate, and files of one read by
the other.

    python -m aei.benchmarks.studies.slim photo-1 int8.bundle half.bundle --limit 6 -o slim.json

prints the table of docs/guide/slim.md. All bundles must have one fingerprint.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path

import click
import numpy as np

from ...codec import Codec
from ...codec.models.bundle import located
from ...codec.pixels.quality import psnr
from ...formats import AeiError
from ..datasets import load_dataset
from ..measures.bdrate import bd_rate

QUALITIES = (10, 40, 70, 95)
PAIRS = ("own", "read_by_base", "reads_base")  # who wrote and who read


def curves(codecs: list[Codec], dataset: str, limit: int | None, qualities: tuple[float, ...]):
    """Mean bits per pixel and mean PSNR per quality: for every codec by PAIRS, (rates, dB).

    The first codec is the base. Every file is read by its writer and by the base, the base's by
    all.
    """
    data = load_dataset(dataset, limit)
    sums = np.zeros((len(codecs), len(PAIRS), 2, len(qualities)))
    for i in range(len(data)):
        image = data.image(i)[1]
        for k, quality in enumerate(qualities):
            files = [codec.encode(image, quality) for codec in codecs]
            for c, (codec, file) in enumerate(zip(codecs, files)):
                pairs = ((file, codec), (file, codecs[0]), (files[0], codec))
                for p, (coded, reader) in enumerate(pairs):
                    if p == 0 or c > 0:
                        back = np.asarray(reader.decode(coded).convert("RGB"))
                    rate = 8 * len(coded) / image[..., 0].size
                    sums[c, p, :, k] += rate, psnr(image, back)
    return sums / len(data)


def times(codecs: list[Codec], dataset: str, repeats: int, quality: float) -> list[dict]:
    """CPU milliseconds of encoding and decoding one photograph on one thread, the codecs in turn,
    and the median over the rounds of their ratio to the first codec's."""
    image = load_dataset(dataset, 1).image(0)[1]
    files = [codec.encode(image, quality) for codec in codecs]
    seconds = np.zeros((repeats + 1, len(codecs), 2))
    for r in range(repeats + 1):  # the first is a warm-up
        for c, codec in enumerate(codecs):
            start = time.process_time()
            codec.encode(image, quality)
            between = time.process_time()
            codec.decode(files[c])
            seconds[r, c] = between - start, time.process_time() - between
    seconds = seconds[1:]
    ratios = np.median(seconds / seconds[:, :1], 0)
    return [
        {
            f"{what}_{unit}": round(float(values[c, j]), digits)
            for j, what in enumerate(("encode", "decode"))
            for unit, values, digits in (
                ("ms", 1000 * np.median(seconds, 0), 1),
                ("ratio", ratios, 3),
            )
        }
        for c in range(len(codecs))
    ]


def compare(
    paths: list[Path], dataset: str, limit: int | None, qualities: tuple[float, ...], repeats: int
) -> dict:
    """The measurements of some bundles, the first being the base. Raises AeiError for several
    fingerprints."""
    codecs = [Codec(path, threads=1) for path in paths]
    if len({codec.bundle.fingerprint for codec in codecs}) > 1:
        raise AeiError("the bundles have several priors: only slim ones of one model compare")
    timed = times(codecs, dataset, repeats, statistics.median_high(qualities))
    points = curves(codecs, dataset, limit, qualities)
    base = points[0, 0].tolist()
    rows = []
    for codec, path, row, measured in zip(codecs, paths, timed, points):
        rates = {pair: bd_rate(base, curve.tolist())[0] for pair, curve in zip(PAIRS, measured)}
        rows.append(
            {
                "name": codec.bundle.name,
                "bytes": sum(p.stat().st_size for p in path.iterdir() if p.is_file()),
                "slimmed": codec.bundle.manifest.get("slimmed", []),
                **row,
                "bd_rate": {pair: round(value, 2) for pair, value in rates.items()},
                "bits_per_pixel": measured[0, 0].round(4).tolist(),
                "psnr": measured[0, 1].round(3).tolist(),
            }
        )
    return {
        "fingerprint": codecs[0].bundle.fingerprint.hex(),
        "dataset": dataset,
        "images": len(load_dataset(dataset, limit)),
        "qualities": qualities,
        "repeats": repeats,
        "threads": 1,
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "bundles": rows,
    }


def table(results: dict) -> str:
    """The rows as Markdown."""
    lines = [
        "| bundle | MB | encode, CPU ms | decode, CPU ms | against base | BD-rate | its files "
        "read by base | base's files read by it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results["bundles"]:
        rates = " | ".join(f"{row['bd_rate'][pair]:+.1f} %" for pair in PAIRS)
        lines.append(
            f"| {row['name']} | {row['bytes'] / 1e6:.2f} | {row['encode_ms']:.0f} | "
            f"{row['decode_ms']:.0f} | "
            f"{row['decode_ratio']:.2f} | {rates} |"
        )
    return "\n".join(lines)


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dataset", default="kodak", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Use only the first so many images.")
@click.option("--repeats", default=7, show_default=True, help="Rounds of timing.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Measurements as JSON.")
def main(
    bundles: tuple[Path, ...], dataset: str, limit: int | None, repeats: int, output: Path | None
) -> None:
    """Compare BUNDLES with the first of them; `photo-1` is the one shipped."""
    paths = [located(path) for path in bundles]
    results = compare(paths, dataset, limit, QUALITIES, repeats)
    if output is not None:
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    click.echo(table(results))


if __name__ == "__main__":
    main()

"""`aei encode` and `aei decode` over a folder, as a user runs them: speed, memory, ratio, and AVIF
at the same PSNR.

python -m aei.benchmarks.studies.folder photos/ --limit 300 --jobs 1 --jobs 2 -o folder.json
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np

from ...codec.pixels.quality import psnr
from ..datasets import load_dataset

AVIF_QUALITIES = (30, 45, 60, 75, 88)


def run_command(*args: str) -> dict:
    """Run an `aei` command with --json: its summary, wall and CPU seconds, and peak resident memory
    in MB."""
    start, load = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "aei.cli.main", *args, "--json"], stdout=out
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        out.seek(0)
        lines = out.read().splitlines()
    if process.returncode:
        raise RuntimeError(f"aei {' '.join(args)} ended with {process.returncode}: {lines[-1:]}")
    summary = json.loads(lines[-1])
    images, pixels = summary["summary"]["done"], summary["megapixels_per_second"]
    return {
        "images": images,
        "wall_s": round(wall, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "images_per_s": round(images / wall, 3),
        "megapixels_per_s": round(pixels * summary["seconds"] / wall, 3),
        "peak_memory_mb": round(usage.ru_maxrss / 1024),  # kB on Linux
        "bytes_in": summary["bytes_in"],
        "bytes_out": summary["bytes_out"],
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }


def against_avif(source: Path, aei_file: Path, decoded: Path) -> dict:
    """Bytes of an image as aei and as AVIF (Pillow's default speed) at the same PSNR; NaN beyond
    AVIF's range."""
    from PIL import Image

    with Image.open(source) as image:
        original = np.asarray(image.convert("RGB"))
    with Image.open(decoded) as image:
        quality = psnr(original, np.asarray(image.convert("RGB")))
    sizes, qualities = [], []
    for setting in AVIF_QUALITIES:
        file = io.BytesIO()
        Image.fromarray(original).save(file, "AVIF", quality=setting)
        with Image.open(file) as image:
            qualities.append(psnr(original, np.asarray(image.convert("RGB"))))
        sizes.append(float(len(file.getvalue())))
    return {
        "image": source.name,
        "psnr": round(quality, 3),
        "source": source.stat().st_size,
        "aei": aei_file.stat().st_size,
        "avif": _size_at(sizes, qualities, quality),
    }


def _size_at(sizes: list[float], qualities: list[float], quality: float) -> float:
    """Bytes at a PSNR, by PCHIP of their logarithm; NaN outside the points."""
    from scipy.interpolate import PchipInterpolator

    return float(np.exp(PchipInterpolator(qualities, np.log(sizes), extrapolate=False)(quality)))


@click.command()
@click.argument("folder")
@click.option("--limit", default=300, show_default=True)
@click.option("--jobs", "all_jobs", type=int, multiple=True, default=(1, 2), show_default=True)
@click.option("-q", "--quality", default=50, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(folder: str, limit: int, all_jobs: tuple[int, ...], quality: int, output: Path) -> None:
    """Measure the many-files commands on the first images of FOLDER."""
    paths = load_dataset(folder, limit).paths
    results: dict = {"images": len(paths), "quality": quality, "cpus": os.cpu_count(), "runs": []}
    with tempfile.TemporaryDirectory() as place:
        names = Path(place) / "list"
        names.write_bytes(b"\0".join(os.fsencode(path.resolve()) for path in paths))
        for jobs in all_jobs:
            small, back = Path(place) / f"small{jobs}", Path(place) / f"back{jobs}"
            for args in (
                ["encode", "--from-list", str(names), "-o", str(small), "-q", str(quality)],
                ["decode", str(small), "-o", str(back), "--keep-extension"],
            ):
                args += ["--keep-extension"] if args[0] == "encode" else []
                run = {"command": args[0], "jobs": jobs, **run_command(*args, "-j", str(jobs))}
                click.echo(json.dumps(run))
                results["runs"].append(run)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            rows = list(
                pool.map(
                    lambda path: against_avif(
                        path, small / f"{path.name}.aei", back / f"{path.name}.aei.png"
                    ),
                    paths,
                )
            )
    within = [row for row in rows if row["avif"] == row["avif"]]
    aei, avif = (sum(row[name] for row in within) for name in ("aei", "avif"))
    ratios = [row["aei"] / row["avif"] for row in within]
    results["against_avif"] = {
        "images": len(within),
        "mean_psnr": round(float(np.mean([row["psnr"] for row in rows])), 3),
        "aei_to_source": round(sum(r["aei"] for r in rows) / sum(r["source"] for r in rows), 4),
        "aei_to_avif_total": round(aei / avif, 4),
        "aei_to_avif_median": round(float(np.median(ratios)), 4),
        "aei_smaller_on": round(float(np.mean([r < 1 for r in ratios])), 4),
    }
    click.echo(json.dumps(results["against_avif"]))
    output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What an engine costs beside the work itself, for images so small that it counts: threads of one
process, the same with a manifest in Parquet, and Ray on this machine.

python -m aei.benchmarks.studies.engines kodak/ --images 1000 (needs the extra `ray`)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 64
PARTS = 4  # of a run, whose speeds show whether it slows down


def crops(photographs: Path, folder: Path, count: int) -> None:
    """So many squares out of photographs, each another, as PNG."""
    from PIL import Image

    pictures = [Image.open(path).convert("RGB") for path in sorted(photographs.glob("*.png"))]
    random = np.random.default_rng(1)
    for i in range(count):
        picture = pictures[i % len(pictures)]
        left, top = (int(random.integers(0, side - SIDE)) for side in picture.size)
        square = picture.crop((left, top, left + SIDE, top + SIDE))
        square.save(folder / f"{i:06}.png", compress_level=1)


def timed(source: Path, target: Path, *options: str) -> dict[str, Any]:
    """One run of `aei encode`: seconds until the first image is done, and from there for each of
    the others; and a hash of all files."""
    command = [sys.executable, "-m", "aei.cli.main", "encode", str(source), "-o", str(target)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--json", *options], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    times = [time.perf_counter() - start for line in process.stdout if '"status": "done"' in line]
    if process.wait():
        sys.exit(f"aei encode {' '.join(options)} failed")
    whole = time.perf_counter() - start
    digest = hashlib.sha256()
    for path in sorted(target.glob("*.aei")):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    ends = [times[len(times) * (i + 1) // PARTS - 1] for i in range(PARTS)]
    rates = [len(times) / PARTS / (b - a) for a, b in zip([times[0], *ends], ends)]
    return {
        "images": len(times),
        "seconds": round(whole, 1),
        "until_first": round(times[0], 1),
        "ms_each": round(1e3 * (times[-1] - times[0]) / max(1, len(times) - 1), 2),
        "images_per_second": [round(rate, 1) for rate in rates],
        "files": digest.hexdigest()[:16],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    jobs = f"--jobs={arguments.workers}"
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "in").mkdir()
        crops(arguments.photographs, top / "in", arguments.images)
        for i, options in enumerate(([], [f"--manifest={top / 'rows.parquet'}"], ["--engine=ray"])):
            found = timed(top / "in", top / f"out{i}", jobs, *options)
            what = " ".join(options).replace(str(top), "") or "threads"
            print(json.dumps({"engine": what, "load": os.getloadavg()[0], **found}), flush=True)


if __name__ == "__main__":
    main()

"""An archive of large photographs, as a user makes, checks and reads it: `aei encode`, `verify`,
`thumbnail`, `decode` and `gallery`, beside an older aei and Pillow's AVIF.

python -m aei.benchmarks.studies.archive photos/ --other "old/bin/python -m aei.cli.main" -o a.json

The machine may be busy: what is compared runs one after the other on the same few photographs, and
CPU seconds count rather than those of the clock. What takes long, or is known after a few, runs on
the first photographs alone (`--decode-limit`, `--verify-limit`, `--avif-limit`, `--other-limit`),
and every number says of how many photographs it is. A run that was cut off leaves what it had
measured, and the same command goes on from there.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..datasets import load_dataset

# Who, what, of how many photographs, what it took.
Step = tuple[str, str, int, dict[str, float]]
OURS = [sys.executable, "-m", "aei.cli.main"]
TO_AVIF = """
import sys
from pathlib import Path
from PIL import Image
out, *sources = map(Path, sys.argv[1:])
for source in sources:
    with Image.open(source) as image:
        image.save(out / (source.stem + ".avif"), exif=image.getexif())
"""
FROM_AVIF = """
import sys
from pathlib import Path
from PIL import Image
out, *sources = map(Path, sys.argv[1:])
for source in sources:
    with Image.open(source) as image:
        image.save(out / (source.stem + ".png"), compress_level=2)
"""
SMALL_AVIF = """
import sys
from PIL import Image
with Image.open(sys.argv[1]) as image:
    image.thumbnail((256, 256), reducing_gap=2.0)
    image.save(sys.argv[2])
"""


def measured(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds, and peak resident memory in MB, of a command that has to succeed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{shlex.join(command)}: {said.read().decode()[-500:]}")
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "memory_mb": usage.ru_maxrss / 1024,  # kB on Linux
    }


@dataclass(frozen=True)
class Asked:
    """What of it to measure: jobs, quality, the older aei, and on how many photographs decoding,
    the comparing encoder, Pillow's AVIF and the older aei run."""

    jobs: int
    quality: float
    other: list[str] | None
    decode_limit: int
    verify_limit: int
    avif_limit: int
    other_limit: int

    @property
    def how(self) -> list[str]:
        """Options of `aei encode`."""
        return ["-f", "-j", str(self.jobs), "-q", str(self.quality)]


def steps(photos: list[Path], first: int, kept: Path, place: Path, asked: Asked) -> Iterator[Step]:
    """Every step on some photographs, of which `first` came before. Files that the newest aei made
    stay in `kept`, the others in `place`."""
    decoded = max(0, asked.decode_limit - first)
    yield from of_aei(OURS, "aei", photos, kept, place / "aei", asked, decoded)
    again = photos[: max(0, asked.verify_limit - first)]
    if again:
        out = ["-o", str(place / "again"), "--verify", *asked.how]
        took = measured([*OURS, "encode", *map(str, again), *out])
        yield "aei", "encode --verify", len(again), took
    some = photos[: max(0, asked.avif_limit - first)]
    if some:
        yield from of_avif(some, place / "AVIF")
    old = photos[: max(0, asked.other_limit - first)]
    if asked.other and old:
        made = place / "older made"
        yield from of_aei(asked.other, "older aei", old, made, place / "older", asked, len(old))


def of_aei(
    command: list[str], who: str, photos: list[Path], made: Path, place: Path, asked: Asked,
    decoded: int,
) -> Iterator[Step]:  # fmt: skip
    """One aei: encode into `made`, check, thumbnails; decode the first few. Of commands that take
    one file each, one after the other is counted as one; the older aei has no `verify`, but `info
    --check`."""
    count, jobs = len(photos), ["-j", str(asked.jobs)]
    place.mkdir(parents=True)
    made.mkdir(exist_ok=True)
    took = measured([*command, "encode", *map(str, photos), "-o", str(made), *asked.how])
    yield who, "encode", count, took
    files = [str(made / (photo.stem + ".aei")) for photo in photos]
    if command is OURS:
        yield who, "verify", count, measured([*OURS, "verify", *files, *jobs])
        quick = [*OURS, "verify", *files, "--quick", *jobs]
        yield who, "verify --quick", count, measured(quick)
    else:
        checked = summed([*command, "info", file, "--check"] for file in files)
        yield who, "verify", count, checked
    small = str(place / "small.png")
    each = summed([*command, "thumbnail", file, small, "-f"] for file in files)
    yield who, "thumbnail", count, each
    some = files[:decoded]
    if some:
        took = measured([*command, "decode", *some, "-o", str(place), *jobs])
        yield who, "decode", len(some), took
    yield who, "bytes", count, {"bytes": float(sum(Path(file).stat().st_size for file in files))}


def of_avif(photos: list[Path], place: Path) -> Iterator[Step]:
    """Pillow's AVIF at its defaults, which encodes and decodes with every core."""
    count, back = len(photos), place / "back"
    back.mkdir(parents=True)
    encode = [sys.executable, "-c", TO_AVIF, str(place), *map(str, photos)]
    yield "AVIF", "encode", count, measured(encode)
    files = [place / (photo.stem + ".avif") for photo in photos]
    small = str(place / "small.png")
    each = summed([sys.executable, "-c", SMALL_AVIF, str(file), small] for file in files)
    yield "AVIF", "thumbnail", count, each
    decode = [sys.executable, "-c", FROM_AVIF, str(back), *map(str, files)]
    yield "AVIF", "decode", count, measured(decode)
    yield "AVIF", "bytes", count, {"bytes": float(sum(file.stat().st_size for file in files))}


def whole(kept: Path, place: Path, count: int, jobs: int) -> Iterator[Step]:
    """What is done with the whole folder in one process: thumbnails, checksums, gallery."""
    small = [*OURS, "thumbnail", str(kept), "-o", str(place / "small")]
    yield "aei", "thumbnails of the folder", count, measured(small)
    quick = [*OURS, "verify", str(kept), "--quick", "-j", str(jobs)]
    yield "aei", "checksums of the folder", count, measured(quick)
    site = [*OURS, "gallery", str(kept), "-o", str(place / "site")]
    yield "aei", "gallery", count, measured(site)


def summed(commands: Iterator[list[str]]) -> dict[str, float]:
    """Several commands one after the other: seconds added, the largest memory."""
    all_of_them = [measured(command) for command in commands]
    return {
        "wall_s": sum(one["wall_s"] for one in all_of_them),
        "cpu_s": sum(one["cpu_s"] for one in all_of_them),
        "memory_mb": max(one["memory_mb"] for one in all_of_them),
    }


def added(total: dict[str, float], count: int, more: dict[str, float]) -> None:
    """Add photographs, seconds and bytes; of memory keep the largest."""
    total["photographs"] = total.get("photographs", 0) + count
    for name, value in more.items():
        if name == "memory_mb":
            total[name] = max(total.get(name, 0), value)
        else:
            total[name] = total.get(name, 0) + value


@click.command()
@click.argument("folder")
@click.option("--limit", default=60, show_default=True)
@click.option("--decode-limit", default=60, show_default=True)
@click.option("--verify-limit", default=30, show_default=True, help="Of `aei encode --verify`.")
@click.option("--avif-limit", default=30, show_default=True)
@click.option("--other-limit", default=2, show_default=True)
@click.option("--at-once", default=4, show_default=True, help="Photographs of each turn.")
@click.option("--jobs", default=2, show_default=True)
@click.option("-q", "--quality", default=75.0, show_default=True)
@click.option("--other", help="Command of an older aei.")
@click.option("--made", type=click.Path(path_type=Path), required=True,
              help="New folder for the .aei files, which stay there.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(folder: str, limit: int, at_once: int, other: str | None, made: Path, output: Path,
         **how: Any) -> None:  # fmt: skip
    """Measure the first photographs of FOLDER; what is there is written after each turn."""
    paths = [path.resolve() for path in load_dataset(folder, limit).paths]
    asked = Asked(other=None if other is None else shlex.split(other), **how)
    before: dict[str, Any] = {"photographs": 0, "totals": {}}
    if output.exists():
        before = json.loads(output.read_text(encoding="utf-8"))
    totals: dict[str, dict[str, dict[str, float]]] = before["totals"]

    def note(done: int, found: Iterator[Step] | list[Step]) -> None:
        for who, what, count, took in found:
            added(totals.setdefault(who, {}).setdefault(what, {}), count, took)
            facts = {"photographs": done, "jobs": asked.jobs, "quality": asked.quality,
                     "source_bytes": sum(path.stat().st_size for path in paths[:done]),
                     "cpus": os.cpu_count(), "load": os.getloadavg()[0],
                     "totals": totals}  # fmt: skip
            output.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        click.echo(json.dumps({"done": done, "load": round(os.getloadavg()[0], 1)}))

    made.mkdir(parents=True, exist_ok=True)
    for first in range(before["photographs"], len(paths), at_once):
        some = paths[first : first + at_once]
        with tempfile.TemporaryDirectory() as place:
            all_of_them = list(steps(some, first, made, Path(place), asked))
        note(first + len(some), all_of_them)
    with tempfile.TemporaryDirectory() as place:
        note(len(paths), whole(made, Path(place), len(paths), asked.jobs))


if __name__ == "__main__":
    main()

"""An archive of large photographs, as a user makes, checks and reads it: `aei encode`, `verify`,
`thumbnail` and `decode`, beside an older aei and Pillow's AVIF, a few photographs of each in turn.

python -m aei.benchmarks.studies.archive photos/ --other "old/bin/python -m aei.cli.main" -o a.json

The machine may be busy: what is compared runs one after the other on the same few photographs, and
CPU seconds count rather than those of the clock.
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
from pathlib import Path

import click

from ..datasets import load_dataset

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


def steps(
    photos: list[Path], place: Path, other: list[str] | None, jobs: int, quality: float
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Every step on some photographs: who, what, and what it took. Of commands that take one file
    each, one after the other is counted as one."""
    names = [str(path) for path in photos]
    who = {"aei": OURS} | ({"older aei": other} if other else {})
    for name in [*who, "AVIF"]:
        (place / name).mkdir()
        (place / name / "back").mkdir()
    options = ["-j", str(jobs), "-q", str(quality)]
    for name, command in who.items():
        out = ["-o", str(place / name)]
        yield name, "encode", measured([*command, "encode", *names, *out, *options])
    avif = [sys.executable, "-c", TO_AVIF, str(place / "AVIF"), *names]
    yield "AVIF", "encode", measured(avif)
    checked = ["-f", "-j", str(jobs), "-q", str(quality), "--verify"]
    out = ["-o", str(place / "aei" / "again")]
    yield "aei", "encode --verify", measured([*OURS, "encode", *names, *out, *checked])
    yield "aei", "verify", measured([*OURS, "verify", str(place / "aei"), "-R", "-j", str(jobs)])
    quick = [*OURS, "verify", str(place / "aei"), "-R", "--quick", "-j", str(jobs)]
    yield "aei", "verify --quick", measured(quick)
    made = {name: sorted((place / name).glob("*.a*")) for name in [*who, "AVIF"]}
    if other:
        yield "older aei", "verify", summed([*other, "info", str(f), "--check"]
                                            for f in made["older aei"])  # fmt: skip
    small = place / "small.png"
    for name, command in who.items():
        each = ([*command, "thumbnail", str(file), str(small), "-f"] for file in made[name])
        yield name, "thumbnail", summed(each)
    each = ([sys.executable, "-c", SMALL_AVIF, str(f), str(small)] for f in made["AVIF"])
    yield "AVIF", "thumbnail", summed(each)
    for name, command in who.items():
        out = ["-o", str(place / name / "back"), "-j", str(jobs)]
        yield name, "decode", measured([*command, "decode", *map(str, made[name]), *out])
    back = [sys.executable, "-c", FROM_AVIF, str(place / "AVIF" / "back")]
    yield "AVIF", "decode", measured([*back, *map(str, made["AVIF"])])
    for name, files in made.items():
        yield name, "bytes", {"bytes": float(sum(file.stat().st_size for file in files))}


def summed(commands: Iterator[list[str]]) -> dict[str, float]:
    """Several commands one after the other: seconds added, the largest memory."""
    all_of_them = [measured(command) for command in commands]
    return {
        "wall_s": sum(one["wall_s"] for one in all_of_them),
        "cpu_s": sum(one["cpu_s"] for one in all_of_them),
        "memory_mb": max(one["memory_mb"] for one in all_of_them),
    }


def added(total: dict[str, float], more: dict[str, float]) -> None:
    """Add seconds and bytes; of memory keep the largest."""
    for name, value in more.items():
        if name == "memory_mb":
            total[name] = max(total.get(name, 0), value)
        else:
            total[name] = total.get(name, 0) + value


@click.command()
@click.argument("folder")
@click.option("--limit", default=60, show_default=True)
@click.option("--at-once", default=4, show_default=True, help="Photographs of each turn.")
@click.option("--jobs", default=2, show_default=True)
@click.option("-q", "--quality", default=75.0, show_default=True)
@click.option("--other", help="Command of an older aei.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(
    folder: str, limit: int, at_once: int, jobs: int, quality: float, other: str | None,
    output: Path,
) -> None:  # fmt: skip
    """Measure the first photographs of FOLDER; what is there is written after each turn."""
    paths = load_dataset(folder, limit).paths
    older = None if other is None else shlex.split(other)
    totals: dict[str, dict[str, dict[str, float]]] = {}
    for first in range(0, len(paths), at_once):
        some = [path.resolve() for path in paths[first : first + at_once]]
        with tempfile.TemporaryDirectory() as place:
            for who, what, took in steps(some, Path(place), older, jobs, quality):
                added(totals.setdefault(who, {}).setdefault(what, {}), took)
        done = first + len(some)
        source = sum(path.stat().st_size for path in paths[:done])
        facts = {"photographs": done, "source_bytes": source, "jobs": jobs, "quality": quality,
                 "cpus": os.cpu_count(), "load": os.getloadavg()[0], "totals": totals}  # fmt: skip
        output.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        click.echo(json.dumps({"done": done, "load": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()

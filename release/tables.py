"""Tables of the documentation, made from the committed results and from nothing else.

    python release/tables.py [ROOT]

puts those of docs/results/*.json between `<!-- bench NAME -->` and `<!-- bench end -->` of the
pages that show them, below ROOT, the project's folder. Nothing is measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from aei.benchmarks import publish, results, speed
from aei.benchmarks.studies import slim

LARGE = 1.0  # seconds from which on a hundredth is precise enough
PAGES = {  # page -> its tables
    "README.md": ("kodak", "cifar10"),
    "docs/guide/benchmark.md": ("speed", "sizes"),
    "docs/guide/web.md": ("browser",),
    "docs/guide/slim.md": ("slim",),
}


def of_a_dataset(name: str, make: Callable[[dict], str]) -> Callable[[Path], str]:
    def table(folder: Path) -> str:
        facts, points = results.load(folder / f"{name}.json")
        return make({**facts, "points": points})

    return table


def seconds(value: float) -> str:
    return f"{value:.3f}" if value < LARGE else f"{value:.2f}"


def speed_table(folder: Path) -> str:
    """All codecs at the size of Kodak, by two threads."""
    runs = json.loads((folder / "speed.json").read_text("utf-8"))["runs"]
    (run,) = (r for r in runs if r["threads"] == 2 and len(r["rows"]) > 2)
    return speed.table(run["rows"]) + "\n"


def sizes_table(folder: Path) -> str:
    """aei and the one before at other sizes."""
    runs = json.loads((folder / "speed.json").read_text("utf-8"))["runs"]
    heads = ["megapixels", "threads"]
    for what in ("encode", "decode"):
        heads += [f"{what}, s", "before", "MB", "before"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for run in (r for r in runs if len(r["rows"]) == 2):
        cells = [f"{run['megapixels']:g}", str(run["threads"])]
        for what in ("encode", "decode"):
            cells += [seconds(row[f"{what}_s"]) for row in run["rows"]]
            cells += [str(row[f"{what}_mb"]) for row in run["rows"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def browser_table(folder: Path) -> str:
    lines = [
        "| megapixels | workers | first picture, weights from this machine's disk, s "
        "| next ones, s | longest block of the page, ms |",
        "|---|---|---|---|---|",
    ]
    for row in json.loads((folder / "browser.json").read_text("utf-8")):
        megapixels = round(row["megapixels"], 2 if row["megapixels"] < 1 else 0)
        lines.append(
            f"| {megapixels:g} | {row['workers']} | {row['cold_s']:.2f} | {row['warm_s']:.2f} "
            f"| {row['longest_block_ms']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def slim_table(folder: Path) -> str:
    return slim.table(json.loads((folder / "slim.json").read_text("utf-8"))).rstrip() + "\n"


TABLES: dict[str, Callable[[Path], str]] = {
    "kodak": of_a_dataset("kodak", publish.kodak_table),
    "cifar10": of_a_dataset("cifar10", publish.cifar10_table),
    "speed": speed_table,
    "sizes": sizes_table,
    "browser": browser_table,
    "slim": slim_table,
}


def renewed(root: Path, page: str) -> str:
    """A page with the tables of the committed results. Raises ValueError where it has no place for
    one."""
    text = (root / page).read_text("utf-8")
    for name in PAGES[page]:
        text = publish.put(text, name, TABLES[name](root / "docs" / "results"), page)
    return text


def main() -> None:
    root = Path(*sys.argv[1:2])
    for page in PAGES:
        (root / page).write_text(renewed(root, page), encoding="utf-8")


if __name__ == "__main__":
    main()

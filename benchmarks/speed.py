"""How fast aei is, as ratios: to an older aei and to other codecs, in turn, in one run.

    python -m aei.benchmarks.speed --before /path/to/older/bin/python -o docs/results/speed.json

Every contender runs in a process of its own that is held to a number of CPUs. One image after the
other, each contender codes it once, then all again: what else the machine does meets all alike.
Ratios are of medians of the seconds on the clock. `env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE`
before it, and nothing else running. At other sizes than the photographs' own (--megapixels) aei
alone is timed, as it is and as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .environment import environment

WORKER = Path(__file__).with_name("speed_worker.py")
SIDES = {
    0.1: (384, 256),
    0.4: (768, 512),
    2.0: (1728, 1152),
    12.0: (4240, 2832),
    24.0: (6000, 4000),
}


@dataclass(frozen=True)
class Contender:
    """Who is timed: the codec's name for speed_worker, its settings, and whose Python runs it."""

    label: str
    codec: str
    settings: dict
    python: str


def contenders(before: str | None, aei: dict, peers: bool) -> list[Contender]:
    """aei as it is, as it was, and the others at their defaults."""
    own = sys.executable
    found = [Contender("aei", "aei", aei, own)]
    if before is not None:
        found.append(Contender("aei before", "aei", aei, before))
    if peers:
        found += [
            Contender("JPEG", "JPEG", {}, own),
            Contender("WebP", "WEBP", {}, own),
            Contender("AVIF", "AVIF", {}, own),
            Contender("HEIC", "HEIF", {}, own),
            Contender("JPEG XL", "JXL", {}, own),
            Contender("mbt2018-mean (random weights)", "mbt2018-mean", {"quality": 4}, own),
        ]
    return found


def environment_of(python: str) -> dict[str, str]:
    """Of a process of a Python: another one than this has packages of its own."""
    return {k: v for k, v in os.environ.items() if python == sys.executable or k != "PYTHONPATH"}


class Worker:
    """A process that codes images when it is asked to."""

    def __init__(self, contender: Contender, threads: int):
        self.contender = contender
        self._process = subprocess.Popen(
            [contender.python, str(WORKER), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment_of(contender.python),
        )  # fmt: skip

    def ask(self, image: Path) -> dict:
        """Seconds of one encoding and one decoding. Raises RuntimeError where the process died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"codec": self.contender.codec, "settings": self.contender.settings}
        self._process.stdin.write(json.dumps(request | {"image": str(image)}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.contender.label}: the process that codes has died")
        return json.loads(line)

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def measure(who: list[Contender], images: list[Path], threads: int, repeats: int) -> list[dict]:
    """Median times of each contender over images and repeats, the first of each image not
    counted."""
    workers = [Worker(contender, threads) for contender in who]
    times: dict[str, dict[str, list[float]]] = {c.label: {} for c in who}
    try:
        for image in images:
            for repeat in range(repeats + 1):
                for worker in workers:
                    answer = worker.ask(image)
                    if repeat:
                        for name, value in answer.items():
                            times[worker.contender.label].setdefault(name, []).append(value)
    finally:
        for worker in workers:
            worker.close()
    rows = []
    for contender in who:
        found = times[contender.label]
        row = {"codec": contender.label, "threads": threads, "settings": contender.settings}
        for name in ("encode_s", "encode_cpu_s", "decode_s", "decode_cpu_s"):
            row[name] = round(statistics.median(found[name]), 5)
        for name in ("encode_mb", "decode_mb"):
            if None not in found[name]:
                row[name] = round(max(found[name]))
        rows.append(row)
    return rows


def cold(pythons: dict[str, str], image: Path, repeats: int) -> list[dict]:
    """Seconds of whole commands: `aei decode` of a file, and the imports that no command can do
    without. Modules are compiled the first time, as an installed package's are."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        compiled = {"PYTHONPYCACHEPREFIX": str(Path(folder) / "compiled")}

        def run_it(command: list[str]) -> None:
            environment = environment_of(command[0]) | compiled
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)

        commands = {}
        for label, python in pythons.items():
            file = Path(folder) / f"{label}.aei"
            run = [python, "-m", "aei.cli.main"]
            run_it([*run, "encode", str(image), "-o", str(file), "--quiet"])
            out = str(Path(folder) / "out.ppm")
            commands[f"{label}, decode"] = [
                *run,
                "decode",
                str(file),
                "-o",
                out,
                "--force",
                "--quiet",
            ]
        commands["import numpy, PIL.Image"] = [sys.executable, "-c", "import numpy, PIL.Image"]
        seconds: dict[str, list[float]] = {label: [] for label in commands}
        for _ in range(repeats + 1):
            for label, command in commands.items():
                start = time.perf_counter()
                run_it(command)
                seconds[label].append(time.perf_counter() - start)
        for label, values in seconds.items():
            rows.append({"command": label, "seconds": round(statistics.median(values[1:]), 4)})
    return rows


def enlarged(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image of another size, mirrored side by side, so that its texture stays as fine as it
    is."""
    h, w = image.shape[:2]
    pad = ((0, max(0, height - h)), (0, max(0, width - w)), (0, 0))
    return np.pad(image[:height, :width], pad, mode="symmetric")


def table(rows: list[dict]) -> str:
    """Rows as Markdown, with ratios to aei."""
    own = rows[0]
    lines = [
        "| codec | encode, ms | times aei's | decode, ms | times aei's |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        encode, decode = (row[n] / own[n] for n in ("encode_s", "decode_s"))
        lines.append(
            f"| {row['codec']} | {1e3 * row['encode_s']:.0f} | {encode:.2f} "
            f"| {1e3 * row['decode_s']:.0f} | {decode:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path, help="photographs to code")
    parser.add_argument("--before", metavar="PYTHON", help="a Python whose aei is an older one")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--megapixels", type=float, nargs="*", choices=list(SIDES), default=[])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("-q", "--quality", type=float, default=75)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--plot", type=Path, help="a picture of it")
    options = parser.parse_args()
    from PIL import Image

    aei = {"quality": options.quality, "effort": options.effort}
    who = contenders(options.before, aei, not options.no_peers)
    result: dict = {"environment": environment(), "repeats": options.repeats, "runs": []}
    with tempfile.TemporaryDirectory() as folder:
        pixels = []
        for i, path in enumerate(options.images):
            with Image.open(path) as image:
                pixels.append(np.asarray(image.convert("RGB")))
            np.save(Path(folder) / f"{i}.npy", pixels[-1])
        own = [contender for contender in who if contender.codec == "aei"]
        mean = sum(p.shape[0] * p.shape[1] for p in pixels) / len(pixels) / 1e6
        sizes = [(round(mean, 3), who, [Path(folder) / f"{i}.npy" for i in range(len(pixels))])]
        for megapixels in options.megapixels:
            other = Path(folder) / f"{megapixels}.npy"
            np.save(other, enlarged(pixels[0], *SIDES[megapixels]))
            sizes.append((megapixels, own, [other]))
        for threads in options.threads:
            for megapixels, timed, images in sizes:
                rows = measure(timed, images, threads, options.repeats)
                run = {"megapixels": megapixels, "threads": threads, "rows": rows}
                result["runs"].append(run)
                head = f"{megapixels:g} megapixels, {threads} threads"
                print(f"\n{head}\n\n{table(rows)}", flush=True)
    pythons = {"aei": sys.executable}
    if options.before:
        pythons["aei before"] = options.before
    result["cold"] = cold(pythons, options.images[0], options.repeats)
    for row in result["cold"]:
        print(f"{row['command']}: {row['seconds']:.3f} s")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.plot is not None:
        from .plots import plot_speed

        plot_speed(result, options.plot)


if __name__ == "__main__":
    main()

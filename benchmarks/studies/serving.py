"""How many requests `aei serve` answers, how fast, and whether its memory stays flat:
python -m aei.benchmarks.studies.serving kodak/ (needs wrk, and the extra `serve`)."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from ...codec import encode_many
from .loaders import cpu_seconds, resident

CONNECTIONS = (1, 8, 64)
REQUESTS = 10_000  # between two looks at memory
# What is asked for: a name, a query, an Accept header
ASKED = (
    ("the file itself", "photo", "image/x-aei"),
    ("WebP, 192 wide", "photo?width=192", "image/webp"),
    ("AVIF, 384 wide", "photo?width=384", "image/avif"),
    ("WebP, whole", "photo", "image/webp"),
    ("WebP, 32 wide, of 128", "small?width=32", "image/webp"),
)


def fill(folder: Path, photographs: Path) -> None:
    """The pictures that are asked for: one of 768x512, and one of 128x128 cut out of it."""
    from PIL import Image

    photo = Image.open(sorted(photographs.glob("*.png"))[22]).convert("RGB")
    small = photo.crop((200, 100, 328, 228))
    for name, data in zip(("photo", "small"), encode_many([photo, small], 75, jobs=1)):
        (folder / f"{name}.aei").write_bytes(data)


def start(folder: Path, workers: int) -> tuple[subprocess.Popen[bytes], str]:
    """A server of a folder that answers, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "aei.cli.main", "serve", str(folder)]
    command += ["--port", str(port), "--workers", str(workers), "--queue", "1000"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/health")
            return process, address
        except OSError:
            time.sleep(0.1)
    process.kill()
    sys.exit("the server did not start")


def load(
    address: str, asked: tuple[str, str, str], connections: int, seconds: float
) -> dict[str, Any]:
    """What wrk measures of one request, asked for again and again."""
    what, path, accept = asked
    said = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--latency", "--timeout", "30s",
         "-H", f"Accept: {accept}", f"{address}/images/{path}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    facts: dict[str, Any] = {"what": what, "connections": connections}
    for key, line in (("p50", "50%"), ("p99", "99%")):
        found = re.search(rf"^\s+{line}\s+([\d.]+)(us|ms|s)\s*$", said, re.MULTILINE)
        if found:
            factor = {"us": 1e-3, "ms": 1, "s": 1e3}[found[2]]
            facts[f"{key}_ms"] = round(float(found[1]) * factor, 1)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    total = re.search(r"(\d+) requests in", said)
    facts["requests_per_second"] = float(rate[1]) if rate else 0.0
    facts["requests"] = int(total[1]) if total else 0
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    facts["refused"] = int(wrong[1]) if wrong else 0
    return facts


def processes(pid: int) -> list[int]:
    """A server and its workers."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed")
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), arguments.photographs)
        process, address = start(Path(name), arguments.workers)
        try:
            pids = processes(process.pid)
            for asked in ASKED:
                load(address, asked, arguments.workers, 1)  # models are read
                for connections in CONNECTIONS:
                    before = cpu_seconds(pids)
                    facts = load(address, asked, connections, arguments.seconds)
                    spent = cpu_seconds(pids) - before
                    facts["cpu_ms"] = round(1e3 * spent / max(1, facts["requests"]), 2)
                    print(json.dumps(facts), flush=True)
            for asked in (ASKED[0], ASKED[-1]):
                memory, done = [resident(pids)], 0
                while done < REQUESTS:
                    done += load(address, asked, 8, arguments.seconds)["requests"]
                memory.append(resident(pids))
                facts = {"what": asked[0], "requests": done, "megabytes": memory}
                print(json.dumps(facts), flush=True)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()

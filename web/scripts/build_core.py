"""Compiles the native core to WebAssembly: codec/exact/native, and what web/core adds, with the
compiler that is pinned below.

    python web/scripts/build_core.py [-o core.wasm]

The compiler is Zig's clang, from the Python registry: pip install ziglang==0.13.0. Binaryen's
wasm-opt, from the npm registry (npm ci in web/), makes the module smaller.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "0.13.0"
WEB = Path(__file__).resolve().parent.parent
NATIVE = WEB.parent / "codec" / "exact" / "native"
SHARED = (
    "kernels.c", "pixels.c", "entropy.c", "machine.c", "walk.c", "decode.c", "synthesis.c",
    "parts.c", "picture.c", "team.c",
)  # fmt: skip
OWN = ("memory.c", "checksums.c", "inflate.c", "unpack.c", "levels.c")
FAST = ("kernels.c",)  # the others are to be small
EXPORTS = (
    "malloc", "free", "aei_check", "aei_check_synthesis", "aei_guess", "aei_decode",
    "aei_open_picture", "aei_feed_picture", "aei_close_picture", "aei_post_filter", "web_crc32",
    "web_sha256_start", "web_sha256_add", "web_sha256_end", "web_inflate", "web_unpack_open",
    "web_unpack", "web_unpack_ended", "web_unpack_close", "web_rgba", "web_unfilter", "web_reduce",
)  # fmt: skip
# AEI_ISA is the name that the core asks for first; the kernels are those for 128-bit vectors.
FLAGS = [
    "-target", "wasm32-freestanding", "-mcpu=generic+simd128+bulk_memory", "-std=c11",
    "-ffp-contract=off", "-fno-math-errno", "-fno-sanitize=all", "-fvisibility=hidden", "-g0",
    "-DAEI_ISA=plain", "-DAEI_DECODER", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
]  # fmt: skip
LINK = [
    "--no-entry", "--strip-all", "--gc-sections", "--stack-first", "-z", "stack-size=524288",
    "--max-memory=4294967296",
]  # fmt: skip
OPTIMISER = WEB / "node_modules" / "binaryen" / "bin" / "wasm-opt"
SHRINK = [
    "-Oz", "--converge", "--low-memory-unused", "--traps-never-happen", "--enable-simd",
    "--enable-bulk-memory", "--enable-sign-ext", "--enable-mutable-globals",
]  # fmt: skip


def compiler() -> list[str] | None:
    """The command of the pinned compiler, or None where it is not installed."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not OPTIMISER.exists():
        return None
    command = [sys.executable, "-m", "ziglang"]
    found = subprocess.run([*command, "version"], capture_output=True, text=True, check=False)
    return command if found.stdout.strip() == VERSION else None


def build(out: Path) -> None:
    """Write the module. Raises SystemExit without the compiler, CalledProcessError where it
    fails."""
    command = compiler()
    if command is None:
        raise SystemExit(f"needs: pip install ziglang=={VERSION}; npm ci in web/")
    folders = [NATIVE, WEB / "core"]
    include = [f"-I{folder}" for folder in (WEB / "core" / "include", *folders)]
    objects = []
    with tempfile.TemporaryDirectory() as work:
        for folder, names in zip(folders, (SHARED, OWN)):
            for name in names:
                objects.append(f"{work}/{folder.name}-{name}.o")
                speed = ["-O3", "-fno-unroll-loops"] if name in FAST else ["-Os"]
                step = [*command, "cc", *FLAGS, *speed, *include, "-c", str(folder / name)]
                subprocess.run([*step, "-o", objects[-1]], check=True)
        exports, linked = [f"--export={name}" for name in EXPORTS], f"{work}/linked.wasm"
        subprocess.run([*command, "wasm-ld", *LINK, *exports, *objects, "-o", linked], check=True)
        subprocess.run(["node", str(OPTIMISER), *SHRINK, linked, "-o", str(out)], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=WEB / "core" / "core.wasm")
    output = parser.parse_args().output
    build(output)
    print(f"{output}: {output.stat().st_size} bytes")

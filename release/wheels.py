"""All that a release uploads, by one command: `python release/wheels.py [--out dist] [PLATFORM
...]`.

The source distribution, a wheel for each platform with the core compiled by Zig's C compiler, which
knows every platform from any (`pip install build ziglang`), and a wheel without the core, which
works on NumPy wherever there is no other. Wheels are the same for all versions of Python.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLATFORMS = {  # as wheels name it -> as Zig names it; glibc 2.17 is in every system since 2014
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
    "macosx_11_0_x86_64": "x86_64-macos.11.0",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
    "win_amd64": "x86_64-windows-gnu",
    "win_arm64": "aarch64-windows-gnu",
    "any": "",
}
CORES = {"macosx": "_core.dylib", "win": "_core.dll"}


def build(*arguments: str, **variables: str) -> None:
    command = [sys.executable, "-m", "build", "--outdir", *arguments]
    log = subprocess.run(
        command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if log.returncode:
        raise SystemExit(log.stdout.decode(errors="replace")[-4000:])


def check(path: Path, platform: str) -> None:
    """Raises SystemExit where a wheel has not the core that it should have."""
    wanted = next((name for os, name in CORES.items() if platform.startswith(os)), "_core.so")
    names = [Path(name).name for name in zipfile.ZipFile(path).namelist()]
    cores = [name for name in names if name.startswith("_core.")]
    if cores != ([] if platform == "any" else [wanted]):
        raise SystemExit(f"{path}: holds {cores or 'no core'}, {wanted} was to be there")


def wheel(platform: str, sdist: Path, out: Path) -> Path:
    """The wheel of a platform, from the source distribution."""
    variables = {"AEI_WHEEL": platform}
    if platform != "any":
        variables["AEI_CC"] = f"{sys.executable} -m ziglang cc -target {PLATFORMS[platform]}"
    with tempfile.TemporaryDirectory() as folder, tarfile.open(sdist) as packed:
        # ours, but nothing that it names may lie outside
        packed.extractall(folder, filter="data")
        (source,) = Path(folder).iterdir()
        build(str(out), "--wheel", str(source), **variables)
    (made,) = out.glob(f"aei_codec-*-py3-none-{platform}.whl")
    check(made, platform)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder, empty or new")
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=", ".join(PLATFORMS))
    arguments = parser.parse_args()
    chosen = arguments.platforms or list(PLATFORMS)
    if unknown := set(chosen) - set(PLATFORMS):
        parser.error(f"no such platform: {', '.join(unknown)}; there are {', '.join(PLATFORMS)}")
    out = arguments.out.resolve()
    if any(out.glob("*")):
        parser.error(f"{out} is not empty; name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    build(str(out), "--sdist", str(ROOT))
    (sdist,) = out.glob("*.tar.gz")
    build(str(out), "--wheel", str(ROOT / "restore"))  # the restoring networks, of Python alone
    for platform in chosen:
        made = wheel(platform, sdist, out)
        print(f"{made.name}  {made.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()

"""Rehearses a later release: `python release/rehearse.py [--wheel WHEEL] [--python PYTHON]`.

Installs this release from its wheel (built here, or the one named) in a fresh environment and a
build with another model, which encodes by default, in a second one; has each write files and read
the other's. The later one must read all, to the same pixels; this one must name the model that it
lacks, and what to do. Exit code 1 where not.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "tests" / "golden" / "context.bundle"
LEFT_OUT = shutil.ignore_patterns(
    ".git", "build", "dist", "node_modules", "*.egg-info", "__pycache__", "*.so", ".*_cache"
)
PICTURE = """
import numpy as np
from PIL import Image
y, x = np.mgrid[0:240, 0:320]
levels = 128 + 60 * np.sin(x / 9) + 40 * np.cos(y / 7)
levels = np.stack([levels, levels[::-1], levels[:, ::-1]], -1)
Image.fromarray(levels.astype(np.uint8)).save("p.png")
"""


def run(*command: object, folder: Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True)
    if ok and done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done


def later(folder: Path) -> Path:
    """A copy of the sources with one more model, and that the default."""
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=LEFT_OUT)
    shutil.copytree(MODEL, source / "codec" / "models" / "next")
    code = source / "codec" / "models" / "bundle.py"
    text = code.read_text(encoding="utf-8")
    changed, count = re.subn(r'(?m)^DEFAULT_MODEL = ".*"$', 'DEFAULT_MODEL = "next"', text)
    if count != 1:
        raise SystemExit(f"{code}: DEFAULT_MODEL is not there once")
    code.write_text(changed, encoding="utf-8")
    return source


def wheel(source: Path, out: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", out, source, folder=out)
    (made,) = out.glob("*.whl")
    return made


def environment(python: str, package: Path, folder: Path) -> Path:
    """The `aei` of a fresh environment with a wheel."""
    run(python, "-m", "venv", folder, folder=folder.parent)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    run(programs / "python", "-m", "pip", "install", "-q", package, folder=folder)
    return programs / "aei"


def check(condition: bool, what: str) -> None:
    if not condition:
        raise SystemExit(f"no: {what}")
    print(f"yes: {what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--wheel", type=Path, help="of this release; else it is built")
    parser.add_argument("--python", default=sys.executable, help="for the environments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for folder in ("this", "later"):
            (work / folder).mkdir()
        package = options.wheel.resolve() if options.wheel else wheel(ROOT, work / "this")
        old = environment(options.python, package, work / "old")
        new = environment(options.python, wheel(later(work), work / "later"), work / "new")
        run(old.with_name("python"), "-c", PICTURE, folder=work)
        for aei, out in ((old, "old"), (new, "new")):
            run(aei, "encode", "p.png", "-o", f"{out}.aei", folder=work)
        pixels = [
            run(aei, "info", "old.aei", "--pixels", "--json", folder=work).stdout
            for aei in (old, new)
        ]
        check(pixels[0] == pixels[1] != "", "a later release reads this one's file, pixel by pixel")
        run(new, "decode", "new.aei", "-o", "new.png", folder=work)
        refused = run(old, "decode", "new.aei", "-o", "x.png", folder=work, ok=False)
        print(refused.stderr.strip())
        sentence = "install the newest one" in refused.stderr and refused.stderr.count("\n") == 1
        check(refused.returncode == 1 and sentence, "this one says which model it lacks")
        named = ("--model", work / "source" / "codec" / "models" / "next")
        run(old, "decode", "new.aei", "-o", "x.png", *named, folder=work)
        check((work / "x.png").exists(), "and reads the file with that model's folder")


if __name__ == "__main__":
    main()

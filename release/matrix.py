"""Tries what a release uploads on several Pythons: `python release/matrix.py dist/ --python PYTHON
[--python PYTHON ...]`.

For each Python a fresh environment, from the source distribution and the wheels in a folder and not
from the source tree: README's first command on the unpacked source distribution, the wheel, the
wheel without the core, and the tests on the wheel. The same photograph has to become the same bytes
each time. Exit code 1 where not, or where a test fails.

A Python of another system that lies below a folder is tried with --root, and --expect compares it
with the run before.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

LIGHT = (  # what says most of an installation in a minute or two
    "tests/formats", "tests/conformance/test_golden.py", "tests/conformance/test_shipped.py",
    "tests/conformance/test_encodings.py", "tests/conformance/test_rehearsal.py", "tests/native",
    "tests/codec/test_codec.py", "tests/codec/test_models_of_tunes.py",
    "tests/codec/test_decoder_only.py", "tests/cli/test_cli.py", "tests/docs/test_readme.py",
)  # fmt: skip
FOR_TESTS = ("pytest", "pytest-xdist", "hypothesis", "safetensors")
PHOTO = "import skimage; print(skimage.__path__[0] + '/data/astronaut.png')"
SAID = "import sys, numpy; print(sys.version.split()[0], 'NumPy', numpy.__version__)"
CORE = "from aei.codec.exact.native import describe; print(describe())"
LAST = 3000  # characters of what failed


@dataclass(frozen=True)
class Environment:
    """A fresh environment below `folder`. root: what its Python takes for `/`, or None."""

    python: str
    folder: Path
    root: Path | None

    def seen(self, path: Path) -> str:
        """A path as its Python names it."""
        return str(path) if self.root is None else f"/{path.relative_to(self.root)}"

    def run(self, *command: object, where: Path) -> str:
        """What a command says, with the environment's programs first. Raises SystemExit where it
        fails."""
        programs = self.seen(self.folder / "venv" / "bin")
        line = [f"PATH={programs}:/usr/local/bin:/usr/bin:/bin", *map(str, command)]
        there = ["env", "-C", self.seen(where), *line]
        if self.root is not None:
            there = ["chroot", str(self.root), *there]
        variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        done = subprocess.run(there, env=variables, capture_output=True, text=True)
        if done.returncode:
            said = (done.stdout + done.stderr)[-LAST:]
            raise SystemExit(f"{self.python}: {' '.join(map(str, command))}\n{said}")
        return done.stdout

    def pip(self, *arguments: object) -> None:
        self.run("python", "-m", "pip", "install", "-q", *arguments, where=self.folder)


def unpacked(dist: Path, folder: Path) -> Path:
    """The source distribution of a folder, unpacked below another one."""
    (sdist,) = dist.glob("aei_codec-*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder, filter="data")
    (source,) = (p for p in folder.iterdir() if p.name.startswith("aei_codec-"))
    return source


def first_command(source: Path) -> str:
    """README's, for a shell."""
    text = (source / "README.md").read_text(encoding="utf-8")
    return text.split("<!-- first command -->")[1].split("```")[1].strip()


def encoded(environment: Environment) -> str:
    """SHA-256 of the file that an environment makes of the photograph. Says by what."""
    folder = environment.folder
    photo = environment.run("python", "-c", PHOTO, where=folder).strip()
    print(f"core: {environment.run('python', '-c', CORE, where=folder).strip()}")
    environment.run("aei", "encode", photo, "-o", "again.aei", "--force", where=folder)
    return hashlib.sha256((folder / "again.aei").read_bytes()).hexdigest()


def tried(environment: Environment, dist: Path, tests: tuple[str, ...], train: bool) -> set[str]:
    """Try one Python; the SHA-256 of the files it made, which should be one."""
    folder, clock = environment.folder, time.perf_counter()

    def done(what: str) -> None:
        nonlocal clock
        print(f"{environment.python}: {what}, {time.perf_counter() - clock:.0f} s", flush=True)
        clock = time.perf_counter()

    source = unpacked(dist, folder)
    environment.run(environment.python, "-m", "venv", "venv", where=folder)
    environment.run("bash", "-e", "-c", first_command(source), where=source)
    digests = {hashlib.sha256((source / "astronaut.aei").read_bytes()).hexdigest()}
    done(f"README's first command ({environment.run('python', '-c', SAID, where=folder).strip()})")

    shutil.copytree(dist, folder / "dist", ignore=shutil.ignore_patterns("*.tar.gz"))
    again = ("--force-reinstall", "--no-deps", "--no-index")
    for pure in (folder / "dist").glob("aei_codec-*-py3-none-any.whl"):
        environment.pip(*again, environment.seen(pure))
        digests.add(encoded(environment))
        done("the wheel without the core")
    environment.pip(*again, "--find-links", "dist", "aei-codec")
    digests.add(encoded(environment))
    done("the wheel")
    environment.pip(*FOR_TESTS)
    said = environment.run("python", "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *tests,
                           where=source)  # fmt: skip
    done(f"tests ({said.strip().splitlines()[-1]})")
    if train:
        environment.pip(f"{environment.seen(source)}[train]")
        said = environment.run("python", "-m", "pytest", "-q", "tests/training/test_training.py",
                               where=source)  # fmt: skip
        done(f"[train] and its tests ({said.strip().splitlines()[-1]})")
    return digests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dist", type=Path, help="folder of what release/wheels.py made")
    parser.add_argument("--python", action="append", help="to try; several times for several")
    parser.add_argument("--root", type=Path, help="they are below this folder (needs chroot)")
    parser.add_argument("--expect", help="SHA-256 that the photograph's file has elsewhere")
    parser.add_argument("--tests", nargs="+", default=LIGHT, help="by default the light ones")
    parser.add_argument("--train", action="store_true", help="also with the extra [train]")
    options = parser.parse_args()
    digests = {options.expect} - {None}
    root = options.root and options.root.resolve()
    for named in options.python or [sys.executable]:
        python = named if root else shutil.which(named)
        if python is None:
            raise SystemExit(f"there is no {named} here")
        inside = None if root is None else root / "tmp"
        with tempfile.TemporaryDirectory(dir=inside) as name:
            environment = Environment(python, Path(name).resolve(), root)
            digests |= tried(environment, options.dist.resolve(), options.tests, options.train)
    print(f"the photograph's file: {', '.join(sorted(digests))}")
    if len(digests) != 1:
        raise SystemExit("one photograph became several files")


if __name__ == "__main__":
    main()

"""Builds the native core, codec/exact/native, as a plain shared library, and makes README fit for
a package index; everything else is in pyproject.toml.

The kernels are compiled once for each instruction set. Whatever fails is left out: without a
compiler the package has no native core and works on NumPy.

In the environment, for release/wheels.py: AEI_WHEEL is the platform to build for, as wheels name
it (`macosx_11_0_arm64`), or `any` for a wheel without the core; AEI_CC the command of its compiler.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

FOLDER = Path("codec/exact/native")
KERNELS = ("kernels.c", "pixels.c", "floats.c")
SOURCES = (
    "entropy.c", "machine.c", "walk.c", "decode.c", "quantise.c", "synthesis.c", "parts.c",
    "picture.c", "analysis.c", "team.c", "pack.c", "search.c",
)  # fmt: skip
HEADERS = ("core.h", "walk.h", "pixels.h", "floats.h", "synthesis.h", "team.h")
# Without contraction to fused products, which would round differently from NumPy.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-g0"]
X86_64 = {
    "sse2": ["-msse2"],
    "avx2": ["-mavx2"],
    "avxvnni": ["-mavx2", "-mavxvnni"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"],
}


WHEEL = os.environ.get("AEI_WHEEL", "")
SUFFIXES = {"macosx": ".dylib", "darwin": ".dylib", "win": ".dll"}


def instruction_sets(platform: str) -> dict[str, list[str]]:
    """Flags of each set that kernels are compiled for, beside plain C."""
    if platform.endswith(("x86_64", "amd64")):
        return X86_64
    return {"neon": []} if platform.endswith(("aarch64", "arm64")) else {}


class CrossCompiler:
    """What BuildCore asks of a compiler, by the command in AEI_CC."""

    def __init__(self, command: str):
        self.command = shlex.split(command)

    def _run(self, *arguments: str) -> None:
        try:
            subprocess.run([*self.command, *arguments], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(str(error)) from None

    def compile(self, sources, folder: str, macros, extra_postargs) -> list[str]:
        defines = [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in macros]
        if "-mavx512f" in extra_postargs:  # Zig's least x86-64 is one without its registers
            extra_postargs = [*extra_postargs, "-mevex512"]
        objects = []
        for source in sources:
            objects.append(f"{folder}/{Path(source).stem}.o")
            Path(folder).mkdir(parents=True, exist_ok=True)
            position = [] if WHEEL.startswith("win") else ["-fPIC"]
            self._run(*position, *extra_postargs, *defines, "-c", source, "-o", objects[-1])
        return objects

    def link_shared_object(self, objects: list[str], path: str, libraries: list[str]) -> None:
        # Windows' C library has what libm has elsewhere
        libraries = [] if WHEEL.startswith("win") else [f"-l{name}" for name in libraries]
        self._run("-shared", "-s", *objects, "-o", path, *libraries)


class BuildCore(build_ext):
    """Compiles the kernels several times, and links a library that is no Python module."""

    def build_extension(self, ext: Extension) -> None:
        command = os.environ.get("AEI_CC") if WHEEL else None
        compiler = CrossCompiler(command) if command else self.compiler
        macros: list[tuple[str, str | None]] = []
        objects: list[str] = []

        def compile_as(names, sub: str, macros, flags) -> list[str]:
            return compiler.compile(
                [str(FOLDER / name) for name in names], f"{self.build_temp}/{sub}", macros,
                extra_postargs=[*FLAGS, *flags],
            )  # fmt: skip

        objects += compile_as(KERNELS, "plain", [("AEI_ISA", "plain"), ("AEI_PLAIN", None)], [])
        for name, flags in instruction_sets(WHEEL or self.plat_name or sys.platform).items():
            try:
                objects += compile_as(KERNELS, name, [("AEI_ISA", name)], flags)
                macros.append((f"AEI_HAVE_{name.upper()}", None))
            except CompileError as error:
                if command:
                    raise
                print(f"the native core goes without {name}: {error}")
        objects += compile_as(SOURCES, "core", macros, [])
        path = self.get_ext_fullpath(ext.name)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        compiler.link_shared_object(objects, path, libraries=["m"])

    def get_ext_filename(self, fullname: str) -> str:
        platform = WHEEL or sys.platform
        suffix = next((end for os, end in SUFFIXES.items() if platform.startswith(os)), ".so")
        return str(Path(*fullname.split("."))) + suffix


def for_an_index(text: str, address: str) -> str:
    """README with links and pictures that work elsewhere than beside the files that they lead to:
    below the repository's address, or, where pyproject.toml names none, with the names of pages in
    the place of links, and no pictures of files."""
    where = address.rstrip("/")

    def whole(match: re.Match[str]) -> str:
        mark, label, target = match.groups()
        if not where:
            return "" if mark else label
        kind = "raw" if mark else "tree" if target.endswith("/") else "blob"
        return f"{mark}[{label}]({where}/{kind}/main/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)\s]+)\)", whole, text)


def readme() -> str:
    """README, for the index."""
    # tomllib is not in Python 3.10
    found = re.search(r'^Repository = "(.*)"$', Path("pyproject.toml").read_text("utf-8"), re.M)
    return for_an_index(Path("README.md").read_text("utf-8"), found[1] if found else "")


class AnyPython(bdist_wheel):
    """One wheel for all versions of Python: the library does not know of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", WHEEL or super().get_tag()[2]


CORE = Extension(
    "aei.codec.exact.native._core",
    [str(FOLDER / name) for name in (*KERNELS, *SOURCES)],
    depends=[str(FOLDER / name) for name in HEADERS],
    optional=not os.environ.get("AEI_CC"),  # who names a compiler wants the core
)
setup(
    ext_modules=[] if WHEEL == "any" else [CORE],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": AnyPython},
    long_description=readme(),
    long_description_content_type="text/markdown",
)

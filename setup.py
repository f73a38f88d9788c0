"""Builds the native core, codec/exact/native, as a plain shared library; everything else is in
pyproject.toml.

The kernels are compiled once for each instruction set. Whatever fails is left out: without a
compiler the package has no native core and works on NumPy.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

FOLDER = Path("codec/exact/native")
KERNELS = ("kernels.c", "pixels.c")
SOURCES = (
    "entropy.c", "machine.c", "walk.c", "decode.c", "quantise.c", "synthesis.c", "parts.c",
    "picture.c", "analysis.c", "team.c", "pack.c",
)  # fmt: skip
HEADERS = ("core.h", "walk.h", "pixels.h", "synthesis.h", "team.h")
# Without contraction to fused products, which would round differently from NumPy.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-g0"]
X86_64 = {
    "sse2": ["-msse2"],
    "avx2": ["-mavx2"],
    "avxvnni": ["-mavx2", "-mavxvnni"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"],
}


def instruction_sets(platform: str) -> dict[str, list[str]]:
    """Flags of each set that kernels are compiled for, beside plain C."""
    if platform.endswith(("x86_64", "amd64")):
        return X86_64
    return {"neon": []} if platform.endswith(("aarch64", "arm64")) else {}


class BuildCore(build_ext):
    """Compiles the kernels several times, and links a library that is no Python module."""

    def build_extension(self, ext: Extension) -> None:
        compiler = self.compiler
        macros: list[tuple[str, str | None]] = []
        objects: list[str] = []

        def compile_as(names, sub: str, macros, flags) -> list[str]:
            return compiler.compile(
                [str(FOLDER / name) for name in names], f"{self.build_temp}/{sub}", macros,
                extra_postargs=[*FLAGS, *flags],
            )  # fmt: skip

        objects += compile_as(KERNELS, "plain", [("AEI_ISA", "plain"), ("AEI_PLAIN", None)], [])
        for name, flags in instruction_sets(self.plat_name or sys.platform).items():
            try:
                objects += compile_as(KERNELS, name, [("AEI_ISA", name)], flags)
                macros.append((f"AEI_HAVE_{name.upper()}", None))
            except CompileError as error:
                print(f"the native core goes without {name}: {error}")
        objects += compile_as(SOURCES, "core", macros, [])
        path = self.get_ext_fullpath(ext.name)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        compiler.link_shared_object(objects, path, libraries=["m"])

    def get_ext_filename(self, fullname: str) -> str:
        suffix = ".dylib" if sys.platform == "darwin" else ".so"
        return str(Path(*fullname.split("."))) + suffix


class AnyPython(bdist_wheel):
    """One wheel for all versions of Python: the library does not know of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            "aei.codec.exact.native._core",
            [str(FOLDER / name) for name in (*KERNELS, *SOURCES)],
            depends=[str(FOLDER / name) for name in HEADERS],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": AnyPython},
)

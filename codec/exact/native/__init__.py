"""The native core: the exact part of decoding and of encoding in C, where its library was built.

NumPy is the reference and the fallback, and gives the same integers. AEI_CORE in the environment
chooses: `numpy`, `native` (an error where there is none) or `auto`, the default. AEI_CORE_ISA
(plain, sse2, avx2, avxvnni, avx512, neon) picks an instruction set, for tests; by default it is the
best that the processor has.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

from ....formats import UnsupportedError

CHOICES = ("auto", "native", "numpy")
ISAS = ("plain", "sse2", "avx2", "avx512", "neon", "avxvnni")  # core.h numbers them so
BEST_FIRST = ("avx512", "avxvnni", "avx2", "neon", "sse2", "plain")
INTERFACE = 4  # core.h has the same
SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
LIBRARY = Path(__file__).with_name(f"_core{SUFFIX}")


@cache
def library() -> ctypes.CDLL | None:
    """The library, or None where it was not built or does not load. Calls release the GIL."""
    if not LIBRARY.exists():
        return None
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
        loaded.aei_guess.restype = None
        for name in ("aei_open_team", "aei_open_picture"):
            getattr(loaded, name).restype = ctypes.c_void_p
        known = loaded.aei_interface() == INTERFACE
    except (OSError, AttributeError):
        return None
    return loaded if known else None


@cache
def instruction_sets() -> tuple[str, ...]:
    """Those that the library has and this processor too, the best first."""
    loaded = library()
    if loaded is None:
        return ()
    has = loaded.aei_instruction_sets()
    return tuple(name for name in BEST_FIRST if has >> ISAS.index(name) & 1)


def chosen() -> str | None:
    """The instruction set that the native core is to run with; None: NumPy. Raises UnsupportedError
    where the environment asks for what is not there."""
    core = os.environ.get("AEI_CORE") or "auto"
    if core not in CHOICES:
        raise UnsupportedError(f"AEI_CORE={core}: choose {', '.join(CHOICES)}")
    if core == "numpy":
        return None
    sets = instruction_sets()
    if not sets:
        if core == "native":
            raise UnsupportedError("AEI_CORE=native: the native core was not built")
        return None
    wanted = os.environ.get("AEI_CORE_ISA") or sets[0]
    if wanted not in sets:
        raise UnsupportedError(f"AEI_CORE_ISA={wanted}: this machine has {', '.join(sets)}")
    return wanted


def describe() -> str:
    """Which core does the work, and with which instruction set, for `aei --version`."""
    isa = chosen()
    return "NumPy" if isa is None else f"native, {isa}"

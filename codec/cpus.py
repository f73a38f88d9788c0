"""CPUs: how many there are, and how many threads NumPy's linear algebra may use beside ours.

OpenBLAS takes a thread per CPU unless it is told otherwise before NumPy is loaded. Where several
images are coded at a time those threads only wait for each other: three to four times the CPU time.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator

from .forks import Lock

SETTERS = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
)

_lock = Lock()
_active: Counter[int] = Counter()  # threads that are asked for, by how many
_before = 0


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def blas_threads(most: int | None) -> Iterator[None]:
    """NumPy's products on `most` threads meanwhile; None leaves them alone.

    The number is one for the whole process: of several that are asked for at a time the least
    holds, and the first one is back when the last has ended. Does nothing with another BLAS than
    OpenBLAS.
    """
    calls = None if most is None else _openblas()
    if calls is None or most is None:
        yield
        return
    _change(calls, most, 1)
    try:
        yield
    finally:
        _change(calls, most, -1)


def _change(calls: tuple[Callable[[], int], Callable[[int], None]], most: int, by: int) -> None:
    global _before
    get, put = calls
    with _lock:
        if not _active:
            if by < 0:
                return  # of a parent, see below
            _before = get()
        _active[most] += by
        if not _active[most]:
            del _active[most]
        wanted = min([_before, *_active])
        if wanted != get():
            put(wanted)


@functools.cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Functions that get and set OpenBLAS's number of threads, where NumPy brings it along."""
    import ctypes

    import numpy as np

    try:
        # a library's symbols are those of the libraries that it needs, too
        library = ctypes.CDLL(np.linalg._umath_linalg.__file__)  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
    for getter, setter in SETTERS:
        with contextlib.suppress(AttributeError):
            get, put = getattr(library, getter), getattr(library, setter)
            get.restype, put.argtypes, put.restype = ctypes.c_int, [ctypes.c_int], None
            return get, put
    return None


def _after_fork() -> None:
    # those who asked were threads of the parent
    if _active:
        _active.clear()
        calls = _openblas()
        if calls is not None:
            calls[1](_before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

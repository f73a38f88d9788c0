"""Threads that a call of the native core shares its work with."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator

from . import library

MOST_THREADS = 16  # team.h has the same

_own = threading.local()  # .threads: of this thread's calls, meanwhile


def core_threads() -> int:
    """How many threads a call of the native core may use, here and now: one, but within
    `codec_threads`."""
    return min(getattr(_own, "threads", 1), MOST_THREADS)


@contextlib.contextmanager
def codec_threads(most: int) -> Iterator[None]:
    """Calls of the native core, from this thread, on `most` threads meanwhile."""
    before = core_threads()
    _own.threads = max(1, most)
    try:
        yield
    finally:
        _own.threads = before


@contextlib.contextmanager
def team() -> Iterator[ctypes.c_void_p]:
    """What a call of the core shares its work with, for that call alone: NULL, or as many threads
    as core_threads says, which are gone when the call is over."""
    threads, loaded = core_threads(), library()
    if threads < 2 or loaded is None:
        yield ctypes.c_void_p(None)
        return
    opened = loaded.aei_open_team(ctypes.c_int(threads))
    if opened is None:
        raise MemoryError
    made = ctypes.c_void_p(opened)
    helpers = []
    try:
        with contextlib.suppress(RuntimeError):  # no more threads: the caller does it all
            for _ in range(threads - 1):
                helper = threading.Thread(target=loaded.aei_help, args=(made,), daemon=True)
                helper.start()
                helpers.append(helper)
        yield made
    finally:
        loaded.aei_dismiss_team(made)
        for helper in helpers:
            helper.join()
        loaded.aei_close_team(made)

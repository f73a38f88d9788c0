"""Threads that a call of the native core shares its work with."""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import threading
from collections.abc import Iterator
from typing import Any

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


def _help(library: Any, team: ctypes.c_void_p, gone: Any) -> None:
    library.aei_help(team)
    gone.release()


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
                # threading.Thread would wait here until the thread has begun, a millisecond for
                # calls of ten; a helper that begins late finds less to do
                gone = _thread.allocate_lock()
                gone.acquire()
                _thread.start_new_thread(_help, (loaded, made, gone))
                helpers.append(gone)
        yield made
    finally:
        loaded.aei_dismiss_team(made)
        for gone in helpers:
            gone.acquire()
        loaded.aei_close_team(made)

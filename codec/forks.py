"""Locks in processes that fork: a child has none of its parent's threads, so a lock that one of
them held would be held in the child for ever. Ours are made anew there.

What a lock guards is set in one piece once it is ready, so a child finds it whole or does the work
again.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from functools import cached_property
from types import TracebackType

_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A lock for `with`, which the thread that holds it may take again; free in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Free it from a thread that is not there; one that forked within `with` keeps it."""
        if not self._lock._is_owned():  # type: ignore[attr-defined]
            self._lock = threading.RLock()


def _after_fork() -> None:
    for lock in list(_locks):
        lock.renew()
    # Until Python 3.11 a cached property has a lock of its own, one for all objects of its class.
    for name, module in list(sys.modules.items()):
        if name.startswith("aei."):
            for found in list(vars(module).values()):
                if isinstance(found, type):
                    for value in vars(found).values():
                        if isinstance(value, cached_property) and hasattr(value, "lock"):
                            value.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""Files that arrive in a folder: which are complete, and which were tried already."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .plan import Task

Key = tuple[Path, int | None]  # a source, and which of its frames
SETTLED = 1.5  # seconds in which a file that is complete does not change


class Arrivals:
    """What is known of the files of a watched folder: since when each is as it is, and which were
    taken. A file that was taken counts as new once it changes."""

    def __init__(self, settled: float = SETTLED) -> None:
        self.settled = settled
        self._seen: dict[Key, tuple[tuple[int, int], float]] = {}
        self._taken: dict[Key, tuple[int, int]] = {}

    def take(self, tasks: Iterable[Task], now: float) -> list[Task]:
        """Those of the tasks at hand whose source is complete, each once. now: seconds, of a clock
        that does not go back."""
        ready = []
        seen = {}
        for task in tasks:
            try:
                found = os.stat(task.source)
            except OSError:  # gone again
                continue
            state = found.st_size, found.st_mtime_ns
            key = task.source, task.frame
            if self._taken.get(key) == state:
                continue
            before, since = self._seen.get(key, (state, now))
            since = since if before == state else now
            if now - since >= self.settled:
                self._taken[key] = state
                ready.append(task)
            else:
                seen[key] = state, since
        self._seen = seen
        return ready

    @property
    def waiting(self) -> bool:
        """Whether files are there that may still be written to."""
        return bool(self._seen)

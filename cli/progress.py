"""How far a command is: a bar on a terminal, lines in a log, and what Ctrl-C says."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..formats.errors import shown
from . import output as out

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from ..codec.files.plan import Outcome, Task

TWICE = 0.3  # seconds in which the same signal is one: `timeout` sends it to a group as well
EVERY = 1.0  # seconds between lines of a log, at first
SHARE = 1 / 30  # of the time that has passed, later on: an hour is some 150 lines
NAMED = 3  # files under way that are named


Key = tuple[Path, int | None]  # a source, and which of its frames


class Progress:
    """What is done of some files, in bytes of their sources, and what is under way.

    sizes: bytes, by source and frame. Told by workers (`tick`) and by the main thread (`advance`);
    a signal may ask at any moment (`under_way`).
    """

    def __init__(self, sizes: dict[Key, int], verb: str):
        self.verb, self.sizes = verb, sizes
        self.files = self.bytes_in = self.bytes_out = 0
        self._done, self._pixels = 0.0, 0
        self._parts: dict[Key, tuple[int, int]] = {}
        self._started = self._said = time.monotonic()
        self._lock = threading.RLock()  # a signal's handler may run where it is held
        self._bar: tuple[Bar, TaskID] | None = None
        self.lines = False

    def add(self, tasks: Iterable[Task]) -> None:
        """More files that are to be worked on; time counts from now on where there were none."""
        with self._lock:
            if self.files == len(self.sizes):  # nothing was under way
                self.sizes.clear()
                self.files = self.bytes_in = self.bytes_out = self._pixels = 0
                self._done, self._started = 0.0, time.monotonic()
                self._said = self._started
            self.sizes.update({(t.source, t.frame): size_of(t.source) for t in tasks})

    def tick(self, task: Task, done: int, total: int) -> None:
        """So many pixels of a file's are done."""
        with self._lock:
            self._parts[task.source, task.frame] = done, total
        self._show()

    def advance(self, outcome: Outcome) -> None:
        """A file is done, or has failed."""
        with self._lock:
            key = outcome.source, outcome.frame
            self._parts.pop(key, None)
            self.files += 1
            self.bytes_in += outcome.bytes_in
            self.bytes_out += outcome.bytes_out
            self._done += self.sizes.get(key, 0)
            self._pixels += outcome.width * outcome.height
        self._show()

    def share(self) -> float:
        """How much is done, 0 to 1."""
        with self._lock:
            parts = sum(self.sizes.get(p, 0) * d / max(1, t) for p, (d, t) in self._parts.items())
            return min(1.0, (self._done + parts) / max(1, sum(self.sizes.values())))

    def facts(self) -> dict[str, Any]:
        """Files, share, speed, amounts and time left, in words; time only once there is an
        estimate."""
        share, passed = self.share(), time.monotonic() - self._started
        with self._lock:
            pixels = self._pixels + sum(done for done, _ in self._parts.values())
        speed = f"{pixels / passed / 1e6:.2f} MP/s" if pixels else ""
        left = f"{clock(passed * (1 - share) / share)} left" if share else ""
        return {
            "files": f"{self.files}/{len(self.sizes)} files" if len(self.sizes) > 1 else "",
            "share": f"{100 * share:.0f} %",
            "speed": speed,
            "amounts": ratio(self.bytes_in, self.bytes_out),
            "left": left,
        }

    def under_way(self) -> str:
        """The files that are being worked on, by name, and how far they are."""
        with self._lock:
            parts = [(p, d / max(1, t)) for p, (d, t) in self._parts.items()]
        names = [f"{shown(path.name)} ({100 * part:.0f} %)" for (path, _), part in parts[:NAMED]]
        return ", ".join(names) + f" and {len(parts) - NAMED} more" * (len(parts) > NAMED)

    def _show(self) -> None:
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self.share(), **self.facts())
        elif self.lines:
            self._line()

    def _line(self) -> None:
        with self._lock:
            now = time.monotonic()
            wait = max(EVERY, SHARE * (now - self._started))
            if now - self._said < wait or self.share() >= 1:
                return
            self._said = now
            facts = self.facts()
        told = ", ".join(text for text in facts.values() if text)
        print(f"aei: {self.verb}: {told}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def displayed(self) -> Iterator[None]:
        """As a bar while this lasts, if stderr is a terminal, else as lines now and then; not at
        all with --quiet or --json."""
        if out.MODE.quiet or out.MODE.json:
            yield
            return
        if not sys.stderr.isatty():
            self.lines = True
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        fields = ["files", "share", "speed", "amounts", "left"]
        if len(self.sizes) == 1:
            fields = ["share", "speed", "left"]
        columns = [TextColumn("{task.fields[" + name + "]}") for name in fields]
        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            *columns,
            console=Console(stderr=True),
            transient=True,
        )
        with bar:
            self._bar = bar, bar.add_task(self.verb, total=1.0, **self.facts())
            try:
                yield
            finally:
                self._bar = None


def of_tasks(tasks: Iterable[Task], verb: str) -> Progress:
    """The progress of files that are to be worked on."""
    progress = Progress({}, verb)
    progress.add(tasks)
    return progress


@contextlib.contextmanager
def stopping(progress: Progress) -> Iterator[Callable[[], int]]:
    """The number of the signal that asked to stop, or 0: Ctrl-C, or one that ends a service. What
    happens then is said at once; a second one ends the process at once, without half a file."""
    asked: list[int] = []
    first = 0.0

    def stop(number: int, frame: object) -> None:
        nonlocal first
        again = bool(asked)
        if again and time.monotonic() - first < TWICE:
            return
        asked.append(number)
        first = first or time.monotonic()
        if not out.MODE.quiet and not out.MODE.json:
            # straight to the terminal: a signal may come while something else is being written
            text = "stopped: files under way are lost" if again else _ending(progress)
            os.write(2, b"\naei: " + text.encode(errors="backslashreplace") + b"\n")
        if again:
            from ..codec.files.storage import remove_own_parts

            remove_own_parts()
            os._exit(128 + number)

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as of jobs in the background
                before[number] = signal.signal(number, stop)
    try:
        yield lambda: asked[0] if asked else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ending(progress: Progress) -> str:
    files = progress.under_way()
    return f"stopping; finishing {files} first (again to stop at once)" if files else "stopping"


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some: 2:05, 1:00:00."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def size_of(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


def amount(size: int) -> str:
    """Bytes in words."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def ratio(size_in: int, size_out: int) -> str:
    """Bytes before and after, in words; empty where nothing is done or nothing is made."""
    if not size_in or not size_out:
        return ""
    return f"{amount(size_in)} -> {amount(size_out)} ({100 * size_out / size_in:.1f} %)"

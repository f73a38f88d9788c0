"""Many files at a time, by workers that go on past bad ones."""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...formats import AeiError
from ...formats.errors import shown
from ..cpus import available_cpus
from ..reading import read_regular
from .plan import DONE, FAILED, KEPT, LEFT, Outcome, Task
from .storage import DiskError, OutputError, remove_stale_parts, write_atomic

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .writing import Converted


log = logging.getLogger(__name__)

WORKER = "aei: "  # what names of threads begin with that work on a file, which follows
LOOK_UP = 0.2  # seconds: Python sees a signal that comes just before a wait only after it
# Memory set aside for one image being coded: 0.57 GB was measured at 2048x2048 pixels
WORKER_BYTES = 1_000_000_000


def convert_task(
    task: Task,
    convert: Callable[..., Converted],
    overwrite: bool = False,
    make_folders: bool = False,
) -> Outcome:
    """Read, convert and write one file; the output gets the source's times. convert: given the
    bytes, and a keyword `frame` where the task has one. Raises AeiError and OSError."""
    start = time.perf_counter()
    data = read_regular(task.source)
    status = os.stat(task.source)
    made = convert(data) if task.frame is None else convert(data, frame=task.frame)
    target = task.target
    if made.kept:
        target = _copy_name(task)
    details = dict(made.details)

    def check(written: bytes) -> None:
        if made.check is not None:
            details.update(made.check(written))

    if not (made.kept and target.exists() and target.samefile(task.source)):
        if make_folders:
            _make_folder(target.parent)
        write_atomic(
            target,
            made.data,
            overwrite=overwrite,
            times=(status.st_atime_ns, status.st_mtime_ns),
            check=None if made.check is None else check,
        )
    return Outcome(
        task.source,
        target,
        KEPT if made.kept else DONE,
        len(data),
        len(made.data),
        made.width,
        made.height,
        time.perf_counter() - start,
        "smaller as it is" if made.kept else made.said,
        details,
        lost=made.lost,
        sha256=hashlib.sha256(made.data).hexdigest(),
        frame=task.frame,
        facts=made.facts,
    )


def _copy_name(task: Task) -> Path:
    """The target's name with the source's suffix: photo.aei and photo.jpg.aei both give
    photo.jpg."""
    suffix = task.source.suffix
    stem = task.target.with_suffix("")
    if stem.suffix == suffix and stem.name == task.source.name:
        return stem
    return stem.with_name(stem.name + suffix)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{shown(folder)} cannot be made: {error.strerror or error}") from None


def run(
    tasks: list[Task],
    convert: Callable[..., Converted],
    jobs: int,
    overwrite: bool = False,
    stop: Callable[[], object] | None = None,
    progress: Callable[[Task, int, int], None] | None = None,
) -> Generator[Outcome, None, None]:
    """Convert files with `jobs` threads; see `run_tasks`. progress: told the pixels of a file that
    are done, and all of them; `convert` is then given a keyword `progress` for it."""
    for folder in {task.target.parent for task in tasks}:
        remove_stale_parts(folder)

    def one(task: Task) -> Outcome:
        made = convert
        if progress is not None:
            progress(task, 0, 1)
            made = functools.partial(convert, progress=functools.partial(progress, task))
        return convert_task(task, made, overwrite, make_folders=True)

    return run_tasks(tasks, one, jobs, stop)


def explained(error: Exception, name: str) -> tuple[str, str]:
    """What went wrong with a file, for people, and the reason as in AeiError ("disk" where others
    would fare no better)."""
    if isinstance(error, DiskError):
        return str(error), "disk"
    if isinstance(error, AeiError):
        return str(error), error.reason
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__, ""
    if isinstance(error, MemoryError):
        return "not enough memory for an image of this size", ""
    log.debug("%s", shown(name), exc_info=error)  # a fault of ours, or of a file system
    return f"unexpected {type(error).__name__}: {error}", ""


def run_tasks(
    tasks: Iterable[Task],
    work: Callable[[Task], Outcome],
    jobs: int,
    stop: Callable[[], object] | None = None,
) -> Generator[Outcome, None, None]:
    """Work on files with `jobs` threads; outcomes as they come, not in order. stop: asked before a
    file is begun; once it says True, those under way are finished and no other is begun.

    A file whose work raises becomes a FAILED outcome and the others go on, unless the disk is full
    or failing: then no further file is begun, and the rest come as LEFT.
    Closing the iterator early, as Ctrl-C does, lets the files under way finish.
    """

    def one(task: Task) -> Outcome:
        # what is logged meanwhile is of this file
        threading.current_thread().name = f"{WORKER}{shown(task.source)}"
        try:
            return work(task)
        except Exception as error:  # a fault of ours must not cost the other files either
            message, reason = explained(error, str(task.source))
            if isinstance(error, DiskError):
                broken.append(message)
        return Outcome(
            task.source, task.target, FAILED, message=message, reason=reason, frame=task.frame
        )

    # Threads will do: ONNX Runtime, NumPy and Pillow work outside Python's lock.
    from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(jobs)
    waiting = iter(tasks)
    running: set[Future[Outcome]] = set()
    broken: list[str] = []
    try:
        while True:
            if not broken and not (stop is not None and stop()):
                for task in itertools.islice(waiting, jobs - len(running)):
                    running.add(pool.submit(one, task))
            if not running:
                break
            finished, running = wait(running, LOOK_UP, FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if broken:
        for task in waiting:
            yield Outcome(task.source, task.target, LEFT, message=f"not begun: {broken[0]}")


def default_jobs() -> int:
    """One worker per CPU this process may use, fewer where memory is short."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = 1 << 62  # Windows has no such call
    return max(1, min(available_cpus(), memory // 2 // WORKER_BYTES))

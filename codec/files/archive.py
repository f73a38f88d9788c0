"""An archive of .aei files, checked: the work on one file, what manifests list, and the notes of a
check that may be stopped."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ...formats import AeiError, DamagedFileError
from ..api import Codec
from ..reading import read_regular
from .manifest import NAME, read_manifest, sha256_of
from .plan import DONE, Outcome, Task
from .verify import facts_of, verify_data

SUFFIX = ".aei"
MOST_JOURNAL = 1 << 30  # bytes


@dataclass(frozen=True)
class Listed:
    """A file that a manifest lists, and its SHA-256 in hexadecimal."""

    path: Path
    sha256: str


def listed_below(folders: Iterable[Path], needed: bool = False) -> dict[str, Listed]:
    """What the manifests of folders list, by absolute path, each with its SHA-256. needed: a folder
    without one is an error. Raises OSError, and AeiError where one is no manifest."""
    found = {}
    for folder in folders:
        path = folder / NAME
        if not needed and not path.exists():
            continue
        try:
            known = read_manifest(path)
        except AeiError as error:
            raise type(error)(f"{path}: {error}") from None
        for name, digest in known.items():
            found[os.path.abspath(folder / name)] = Listed(folder / name, digest)
    return found


def verify_task(
    task: Task,
    codec: Codec,
    listed: str | None = None,
    *,
    quick: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Check one file: `verify_data` where it is an .aei file, and its SHA-256 where that is listed
    (hexadecimal). Its facts are as of Job.verified. Raises AeiError and OSError."""
    start = time.perf_counter()
    if task.source.suffix.lower() == SUFFIX or listed is None:
        data = read_regular(task.source)
        header = verify_data(data, codec, quick=quick, progress=progress)
        facts = facts_of(data, header)
    else:
        size = os.stat(task.source).st_size
        facts = {"status": "good", "bytes_in": size, "bytes_out": size, "width": 0, "height": 0,
                 "file_sha256": sha256_of(task.source)}  # fmt: skip
    size, digest = facts["bytes_in"], facts["file_sha256"]
    if listed is not None and digest != listed:
        raise DamagedFileError("is not the file that the manifest lists: its SHA-256 is another")
    seconds = time.perf_counter() - start
    return Outcome(
        task.source, None, DONE, size, 0, facts["width"], facts["height"], seconds,
        sha256=digest if listed is not None else "", facts=facts,
    )  # fmt: skip


class Journal:
    """A file that notes which files were found good, so that a check that was stopped goes on where
    it was. A file that has changed since, by size or time, does not count as checked."""

    def __init__(self, path: Path, quick: bool):
        """quick: of the check that is to come; a full one does not trust a quick one. Raises
        OSError, and AeiError where the path holds something else."""
        self.path, self.quick = path, quick
        self._known: set[tuple[str, int, int]] = set()
        if path.exists():
            self._read()
        self._file = path.open("a", encoding="utf-8")

    def _read(self) -> None:
        text = read_regular(self.path, MOST_JOURNAL).decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines()):
            try:
                name, size, time_ns, quick = json.loads(line)
            except (ValueError, TypeError):
                if number == 0:
                    raise AeiError(f"{self.path} is no list of checked files") from None
                continue  # half a line, of a process that was killed
            if self.quick or not quick:
                self._known.add((name, size, time_ns))

    def knows(self, task: Task) -> bool:
        """Whether a file was found good, and has not changed since."""
        with contextlib.suppress(OSError, ValueError):
            return self._key(task.source) in self._known
        return False

    def add(self, outcome: Outcome) -> None:
        """A file was checked: it is noted if it is good."""
        if outcome.status != DONE:
            return
        with contextlib.suppress(OSError, ValueError):
            self._file.write(json.dumps([*self._key(outcome.source), self.quick]) + "\n")
            self._file.flush()

    def close(self, complete: bool) -> None:
        """Close it, and delete it where all files were checked: the next check is of all."""
        self._file.close()
        if complete:
            self.path.unlink(missing_ok=True)

    @staticmethod
    def _key(path: Path) -> tuple[str, int, int]:
        found = os.stat(path)
        return os.path.abspath(path), found.st_size, found.st_mtime_ns

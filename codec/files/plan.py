"""Which of many files are meant, and where their outputs go."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...formats.errors import shown
from .manifest import NAME as MANIFEST

if TYPE_CHECKING:
    from ...formats.tiles import Box

log = logging.getLogger(__name__)

DONE, KEPT, SKIPPED, FAILED, LEFT = "done", "kept", "skipped", "failed", "left"


@dataclass(frozen=True)
class Task:
    """One file to convert: where it is, and where its output goes. frame: which of several of an
    animation or collection, from 0."""

    source: Path
    target: Path
    frame: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    status: DONE, KEPT (the source was copied, being smaller), SKIPPED, FAILED or LEFT (not begun).
    Sizes in bytes, width and height in pixels, seconds of work; zero where nothing was made.
    message: why, where it is not DONE. details, lost, facts: as in Converted. reason: as in
    AeiError. sha256: of the output, in hexadecimal. frame: as of Task.
    """

    source: Path
    target: Path | None
    status: str
    bytes_in: int = 0
    bytes_out: int = 0
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    message: str = ""
    details: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    lost: tuple[Box, ...] = ()
    sha256: str = ""
    frame: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Plan:
    """tasks: to do; settled: files that need or allow no work, with the reason; ignored: how many
    files in folders are of other kinds; others: how many have which suffix, lower case; unentered:
    subfolders left out because the search was not recursive."""

    tasks: list[Task] = field(default_factory=list)
    settled: list[Outcome] = field(default_factory=list)
    ignored: int = 0
    others: Counter[str] = field(default_factory=Counter)
    unentered: int = 0


@dataclass(frozen=True)
class Found:
    """A file, and the place its output has below the output folder."""

    path: Path
    place: Path


def make_plan(
    names: Iterable[str],
    listed: Iterable[str] = (),
    *,
    suffixes: Collection[str],
    new_suffix: str,
    output: Path | None = None,
    recursive: bool = False,
    keep_extension: bool = False,
    skip_existing: bool = False,
    overwrite: bool = False,
    copies: bool = False,
    frames: Callable[[Path], int] | None = None,
) -> Plan:
    """Decide what to do with files, folders and patterns; reads folders, writes nothing.

    names: files, folders, and patterns with * ? [] (** with subfolders). listed: files only;
    relative ones keep their folders below `output`. suffixes: lower case, of the files wanted from
    folders. new_suffix: of the outputs, which go below `output`, or beside their sources.
    keep_extension: name them photo.jpg.aei. copies: the source's own name counts as an output that
    exists. frames: says how many a file has, which become a task and an output each, photo-01.aei,
    photo-02.aei. Inputs that map to one output are all refused, with every frame of theirs; hidden
    files and links to folders are left out.
    """
    plan = Plan()
    found = list(_find(list(names), plan, suffixes, recursive, output))
    found += [Found(Path(name), _place_of_listed(name)) for name in listed]
    tasks: dict[str, list[tuple[Task, Path]]] = {}
    for file in found:
        place = Path(file.path.name) if output is None else file.place
        base = (file.path.parent if output is None else output) / place
        if not base.name:
            plan.settled.append(Outcome(file.path, None, FAILED, message="is no name of a file"))
            continue
        for frame, name in _frames_of(base, 1 if frames is None else frames(file.path)):
            if keep_extension:
                target = name.with_name(name.name + new_suffix)
            else:
                target = name.with_suffix(new_suffix)
            same = tasks.setdefault(os.path.normcase(os.path.abspath(target)), [])
            if not any(_is_same(task.source, file.path) for task, _ in same):
                same.append((Task(file.path, target, frame), name))
    clashes: dict[Path, Outcome] = {}
    for group in tasks.values():
        if len(group) > 1:
            for clash in _clashes([task for task, _ in group]):
                clashes.setdefault(clash.source, clash)
    plan.settled += clashes.values()
    for group in tasks.values():
        if group[0][0].source in clashes:
            continue
        task, copy = group[0]
        outcome = _settle(task, copy if copies else None, skip_existing, overwrite)
        if outcome is None:
            plan.tasks.append(task)
        else:
            plan.settled.append(outcome)
    return plan


def find(
    names: Iterable[str],
    listed: Iterable[str] = (),
    *,
    suffixes: Collection[str],
    recursive: bool = False,
) -> Plan:
    """The files that names, as in `make_plan`, mean, each once: to be read only, so that the target
    of a task is its source."""
    plan = Plan()
    found = [file.path for file in _find(list(names), plan, suffixes, recursive, None)]
    found += [Path(name) for name in listed]
    once = {os.path.normcase(os.path.abspath(path)): path for path in reversed(found)}
    plan.tasks += [Task(path, path) for path in reversed(once.values())]
    return plan


def _find(
    names: list[str], plan: Plan, suffixes: Collection[str], recursive: bool, output: Path | None
) -> Iterator[Found]:
    folders = sum(os.path.isdir(name) for name in names)
    for name in names:
        path = Path(name)
        if os.path.isdir(name):
            # several folders each get one of their name
            top = Path(path.resolve().name) if folders > 1 else Path()
            for inside in _walk(path, plan, suffixes, recursive, output):
                yield Found(path / inside, top / inside)
        elif os.path.lexists(name) or not glob.has_magic(name):
            yield Found(path, Path(path.name))
        else:
            root = _fixed_part(name)
            matches = sorted(glob.glob(name, recursive=True))
            files = [Path(m) for m in matches if not os.path.isdir(m)]
            if not files:
                plan.settled.append(Outcome(path, None, FAILED, message="no file matches"))
            for file in files:
                yield Found(file, file.relative_to(root))


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first wildcard."""
    parts = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _place_of_listed(name: str) -> Path:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        return Path(path.name)
    return path


def _walk(
    folder: Path, plan: Plan, suffixes: Collection[str], recursive: bool, output: Path | None
) -> Iterator[Path]:
    """Wanted files below a folder, relative to it, in order."""
    written = None if output is None else output.resolve()

    def failed(error: OSError) -> None:
        message = f"cannot be read: {error.strerror or error}"
        plan.settled.append(Outcome(Path(error.filename), None, FAILED, message=message))

    for root, subfolders, files in os.walk(folder, onerror=failed):
        links = [d for d in subfolders if os.path.islink(os.path.join(root, d))]
        for link in links:
            log.warning("%s: a link to a folder, not followed", shown(os.path.join(root, link)))
        subfolders[:] = sorted(
            d
            for d in subfolders
            if not d.startswith(".") and d not in links and Path(root, d).resolve() != written
        )
        if not recursive:
            plan.unentered += len(subfolders)
            subfolders.clear()
        for file in sorted(files):
            suffix = os.path.splitext(file)[1].lower()
            if not file.startswith(".") and suffix in suffixes:
                yield Path(root, file).relative_to(folder)
            elif file != MANIFEST:
                plan.ignored += 1
                plan.others[suffix] += 1


def _frames_of(base: Path, count: int) -> list[tuple[int | None, Path]]:
    """Each frame of a file, with the file's name for it; of one alone it is the name as it is."""
    if count == 1:
        return [(None, base)]
    width = len(str(count))
    return [
        (i, base.with_name(f"{base.stem}-{i + 1:0{width}d}{base.suffix}")) for i in range(count)
    ]


def _is_same(a: Path, b: Path) -> bool:
    return os.path.abspath(a) == os.path.abspath(b)


def _clashes(tasks: list[Task]) -> Iterator[Outcome]:
    for task in tasks:
        other = next(t.source for t in tasks if t is not task)
        message = f"{shown(other)} would have the same output, {shown(task.target)}"
        yield Outcome(task.source, task.target, FAILED, message=message, reason="clash")


def _settle(task: Task, copy: Path | None, skip_existing: bool, overwrite: bool) -> Outcome | None:
    """An outcome that is known without work, or None."""
    source, target = task.source, task.target
    try:
        if target.exists() and source.exists() and target.samefile(source):
            message = "the output is the input itself"
            return Outcome(source, target, FAILED, message=message, reason="input")
        if target.is_dir():
            return Outcome(source, target, FAILED, message=f"{shown(target)} is a directory")
        existing = None
        if os.path.lexists(target):
            existing = target
        elif copy is not None and copy.exists() and not copy.samefile(source):
            existing = copy
    except ValueError:
        return Outcome(source, target, FAILED, message="is no name of a file")
    except OSError as error:
        return Outcome(source, target, FAILED, message=error.strerror or str(error))
    if existing is not None and skip_existing:
        return Outcome(source, existing, SKIPPED, message="exists")
    if existing is not None and not overwrite:
        message = f"{shown(existing)} exists"
        return Outcome(source, existing, FAILED, message=message, reason="exists")
    return None

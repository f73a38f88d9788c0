"""What is done to one source, on whatever machine: read, convert, write; a row of the manifest for
each image. Sources are objects, tar shards of them, and groups that become a shard."""

from __future__ import annotations

import functools
import hashlib
import io
import posixpath
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ...formats import AeiError
from ..api import Codec
from ..files.batch import explained
from ..files.job import SHARD, VERIFY, Job
from . import objects
from .manifest import row_of
from .objects import Source

MOST_MEMBER = 1 << 30  # bytes
Row = dict[str, Any]
Put = Callable[[str, bytes, float], None]  # takes a result: its place, its bytes, its time


def done(job: Job, codec: Codec, source: Source, target: str) -> list[Row]:
    """Do one source; its row, or the rows of a shard's images with one of the shard behind them.
    What goes wrong stands in them. target: the folder."""
    start = time.perf_counter()
    place = job.place(source.place)
    url = objects.joined(target, place)
    rows: list[Row] = []
    at = [url, place]

    def work() -> Row:
        if source.members:
            rows.extend(_packed(job, codec, source, url))
            return _sum_of(rows)
        if source.place.lower().endswith(SHARD):
            rows.extend(_shard(job, codec, source, url))
            return _sum_of(rows)
        if job.verb == VERIFY:
            return job.verified(codec, objects.read(source.url))
        made = job.audited(codec, objects.read(source.url))
        if made.kept:  # under the source's own name
            at[:] = objects.joined(target, source.place), source.place
        objects.write(at[0], made.data)
        if made.check is not None:
            made.check(objects.read(at[0]))
        return made.facts

    facts = _tried(work, source.url)
    row = row_of(job, source, at[0], at[1], facts, time.perf_counter() - start)
    for one in (*rows, row):
        one["finished"] = row["finished"]
    return [*rows, row]


def _tried(work: Callable[[], Row], name: str) -> Row:
    """What work says, or what went wrong: a bad image costs no other."""
    try:
        return work()
    except Exception as error:
        message, reason = explained(error, name)
        return {"status": "failed", "error": message, "reason": reason}


def _sum_of(rows: list[Row]) -> Row:
    """The facts of a shard, whose members are counted already."""
    failed = sum(row["status"] == "failed" for row in rows)
    return {"status": "shard", "error": f"{failed} members failed" if failed else None}


def grouped(job: Job, sources: Iterable[Source], target: str) -> Iterator[Source]:
    """Sources in groups of `job.pack`, each a source that becomes a shard; in order, so that a
    second run makes the same groups. Another member, or another version of one, is another version
    of the group."""
    group: list[Source] = []

    def shard(number: int) -> Source:
        place = f"{number:06}{SHARD}"
        version = hashlib.sha256(repr([(s.url, s.version) for s in group]).encode()).hexdigest()
        size = sum(s.size for s in group)
        return Source(objects.joined(target, place), place, size, version[:16], tuple(group))

    number = 0
    for source in sources:
        group.append(source)
        if len(group) == job.pack:
            yield shard(number)
            group, number = [], number + 1
    if group:
        yield shard(number)


def _packed(job: Job, codec: Codec, source: Source, url: str) -> list[Row]:
    """A group of images to a shard, in order; those that fail are left out of it."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="aei-") as folder:
        made = Path(folder) / "shard.tar"
        with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as new:
            put = _into_tar(new)
            for member in source.members:
                row = _image(
                    job, codec, member, functools.partial(objects.read, member.url), put, 0.0
                )
                row["target"] = f"{url}/{row['place']}"
                row["place"] = f"{source.place}/{row['place']}"
                rows.append(row)
        objects.upload(made, url)
    return rows


def _shard(job: Job, codec: Codec, source: Source, url: str) -> list[Row]:
    """A tar of images to one of results, in order, or to files below a folder; members of other
    kinds are copied. An image that fails is left out, and what stands beside it stays."""
    fs, path = objects.file_system(source.url)
    with (
        fs.open(path, "rb") as stream,
        tarfile.open(fileobj=stream, mode="r|*") as old,
    ):
        if job.verb == VERIFY:
            return _members(job, codec, source, url, old, lambda *_: None)
        if job.unpack:
            return _members(job, codec, source, url, old, _into_folder(url))
        with tempfile.TemporaryDirectory(prefix="aei-") as folder:
            made = Path(folder) / "shard.tar"
            with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as new:
                rows = _members(job, codec, source, url, old, _into_tar(new))
            objects.upload(made, url)
            return rows


def _into_tar(tar: tarfile.TarFile) -> Put:
    seen: set[str] = set()

    def put(place: str, data: bytes, mtime: float) -> None:
        _check_new(place, seen)
        entry = tarfile.TarInfo(place)
        entry.size, entry.mtime, entry.mode = len(data), mtime, 0o644
        tar.addfile(entry, io.BytesIO(data))

    return put


def _into_folder(url: str) -> Put:
    seen: set[str] = set()

    def put(place: str, data: bytes, mtime: float) -> None:
        if place.startswith("/") or "\\" in place or ":" in place or ".." in place.split("/"):
            raise AeiError("its name leads out of the folder of its shard")
        _check_new(posixpath.normpath(place), seen)
        objects.write(objects.joined(url, place), data)

    return put


def _check_new(place: str, seen: set[str]) -> None:
    """Raise AeiError where two members of a shard would have one name, which readers refuse."""
    if place in seen:
        raise AeiError("another member of its shard has the same target", reason="clash")
    seen.add(place)


def _members(
    job: Job, codec: Codec, source: Source, url: str, old: tarfile.TarFile, put: Put
) -> list[Row]:
    """The rows of all files in a shard, whose results are put somewhere."""
    rows = []
    folder = job.place(source.place)
    for member in old:
        if not member.isfile():
            continue

        def read(member: tarfile.TarInfo = member) -> bytes:
            if member.size > MOST_MEMBER:
                raise AeiError(f"larger than {MOST_MEMBER >> 20} MiB")
            stream = old.extractfile(member)
            assert stream is not None
            return stream.read()

        inside = Source(f"{source.url}/{member.name}", member.name, member.size, source.version)
        row = _image(job, codec, inside, read, put, member.mtime)
        row["target"] = f"{url}/{row['place']}"
        row["place"] = f"{folder}/{row['place']}"
        rows.append(row)
    return rows


def _image(
    job: Job, codec: Codec, source: Source, read: Callable[[], bytes], put: Put, mtime: float
) -> Row:
    """One member of a shard, and its row, whose place lies in the shard."""
    start = time.perf_counter()
    image = posixpath.splitext(source.place)[1].lower() in job.suffixes
    place = [job.place(source.place) if image else source.place]

    def work() -> Row:
        data = read()
        if not image:
            put(place[0], data, mtime)
            return {"status": "copied", "bytes_in": len(data), "bytes_out": len(data)}
        if job.verb == VERIFY:
            return job.verified(codec, data)
        made = job.audited(codec, data)
        if made.kept:
            place[0] = source.place
        put(place[0], made.data, mtime)
        return made.facts

    facts = _tried(work, source.url)
    return row_of(job, source, "", place[0], facts, time.perf_counter() - start)

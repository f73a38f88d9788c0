"""The manifest of a run, in Parquet: a row for each image, so that a run can be continued, and
checked by others.

It is a folder: `run-ID.parquet` of each run that has ended, and while one is under way
`part-ID-N.parquet`, written every few seconds. A killed run leaves its parts, which count as well.
`where` is always that folder, NAME.parquet, or the folder of the results, in which it is `.aei`.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...formats import AeiError
from ...formats.errors import shown
from ..files.job import VERIFY, Job
from . import objects
from .objects import Source

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER, SUFFIX = ".aei", ".parquet"
FLUSH_SECONDS, FLUSH_ROWS = 2.0, 5000
FINISHED = {"done", "kept", "good", "shard"}
TEXT, WHOLE, REAL = "string", "int64", "float64"
# A row: what was read, what was made of it, how it was asked for, what can be held against it.
COLUMNS = {
    "source": TEXT,  # URL; of a shard's member SHARD.tar/NAME
    "version": TEXT,  # of the source: its ETag or time of change
    "target": TEXT,  # URL
    "place": TEXT,  # of the target below its folder
    # done, kept (smaller as it was), good (verified), failed; copied (of a shard, no image), shard
    "status": TEXT,
    "bytes_in": WHOLE,
    "bytes_out": WHOLE,
    "width": WHOLE,
    "height": WHOLE,
    "asked": TEXT,  # a quality, or what was to be met: ssimulacra2 80
    "reached": REAL,  # of what was to be met
    "gain_index": WHOLE,
    "psnr": REAL,
    "ssimulacra2": REAL,
    "latents_sha256": TEXT,  # Codec.latents_sha256
    "file_sha256": TEXT,  # of the target's bytes
    "seconds": REAL,  # of work, reading and writing included
    "error": TEXT,
    "reason": TEXT,
    "job": TEXT,  # the settings' hash: rows of others do not count as done
    "run": TEXT,
    "worker": TEXT,  # HOST:PROCESS
    "finished": REAL,  # seconds since 1970
}


def schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, getattr(pa, kind)()) for name, kind in COLUMNS.items()])


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table; what they leave out is null."""
    import pyarrow as pa

    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    return pa.table(columns, schema=schema())


def row_of(
    job: Job, source: Source, target: str, place: str, facts: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """The row of one source, finished now by this process. target: URL; place: below the target
    folder; facts: of Job.audited, or a status and an error."""
    return {
        "source": source.url,
        "version": source.version,
        "target": None if job.verb == VERIFY else target,
        "place": place,
        "asked": job.asked,
        "job": job.digest,
        **facts,
        "seconds": seconds,
        "finished": time.time(),
        "worker": f"{socket.gethostname()}:{os.getpid()}",
    }


def new_run() -> str:
    """A name for a run; names sort by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"


def folder_of(where: str) -> str:
    """The folder with the Parquet files."""
    name = where.rstrip("/").rpartition("/")[2]
    return where if name == FOLDER or name.endswith(SUFFIX) else objects.joined(where, FOLDER)


def key_of(source: str, version: str, job: str) -> bytes:
    """What tells finished work apart, in 8 bytes: a set of ten million takes under a gigabyte."""
    return hashlib.blake2b(f"{source}\0{version}\0{job}".encode(), digest_size=8).digest()


class Manifest:
    """The rows of a run on their way to where it lies. run: its name, by which files are sorted."""

    def __init__(self, where: str, run: str):
        self._folder = folder_of(where)
        self._run = run
        self._rows: list[pa.Table] = []
        self._parts: list[str] = []
        self._last = time.monotonic()

    def add(self, rows: pa.Table) -> None:
        """Take rows; every few seconds what is there is written."""
        self._rows.append(rows)
        waiting = sum(len(t) for t in self._rows)
        if waiting >= FLUSH_ROWS or time.monotonic() - self._last > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits, as one part."""
        if self._rows:
            import pyarrow as pa

            name = f"part-{self._run}-{len(self._parts):06}.parquet"
            url = objects.joined(self._folder, name)
            objects.write(url, _file_of(pa.concat_tables(self._rows)))
            self._parts.append(url)
            self._rows = []
        self._last = time.monotonic()

    def close(self) -> str | None:
        """Put the parts together; the URL of the run's file, None where nothing was done."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        self.flush()
        if not self._parts:
            return None
        url = objects.joined(self._folder, f"run-{self._run}.parquet")
        sink = pa.BufferOutputStream()
        with parquet.ParquetWriter(sink, schema(), compression="zstd") as writer:
            for part in self._parts:
                writer.write_table(_table_in(part))
        objects.write(url, sink.getvalue().to_pybytes())
        for part in self._parts:
            objects.remove(part)
        return url


def _file_of(rows: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(rows, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _table_in(url: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    return parquet.read_table(pa.BufferReader(objects.read(url)))


def files(where: str) -> list[str]:
    """The URLs of a manifest's files, oldest first."""
    folder = folder_of(where)
    fs, path = objects.file_system(folder)
    if not objects.patient(lambda: fs.exists(path), folder):
        return []
    found = sorted(source.url for source in objects.find(folder, {SUFFIX}))
    return sorted(found, key=lambda url: url.rpartition("/")[2].partition("-")[2])


def read(where: str) -> pa.Table:
    """All rows, of every run; the last row of a source counts."""
    import pyarrow as pa

    tables = [_table_in(url) for url in files(where)]
    return pa.concat_tables(tables) if tables else table([])


def finished(where: str, job: str) -> set[bytes]:
    """Keys of the sources that are done, by the rows of a job."""
    done: set[bytes] = set()
    for url in files(where):
        rows = _table_in(url).select(["source", "version", "job", "status"])
        for row in rows.to_pylist():
            if row["job"] == job and row["status"] in FINISHED:
                done.add(key_of(row["source"], row["version"], job))
    return done


def listed(where: str) -> dict[str, str]:
    """SHA-256 of the files that runs have written, by place; the last run counts."""
    found = {}
    for url in files(where):
        for row in _table_in(url).select(["place", "status", "file_sha256"]).to_pylist():
            if row["status"] in ("done", "kept"):
                found[row["place"]] = row["file_sha256"]
    return found


def left_of(sources: Iterator[Source], done: set[bytes], job: str) -> Iterator[Source]:
    """The sources that are not done yet."""
    for source in sources:
        if key_of(source.url, source.version, job) not in done:
            yield source


def check_target(target: str, where: str, force: bool) -> None:
    """Raise AeiError for a target folder that has files, and none of a run. force: let it."""
    if force or files(where):
        return
    fs, path = objects.file_system(target)

    def others() -> bool:
        names = [str(name).rstrip("/") for name in fs.ls(path, False)] if fs.exists(path) else []
        return any(not name.endswith(f"/{FOLDER}") for name in names)

    if objects.patient(others, target):
        raise AeiError(f"{shown(target)} has files that no run has made", reason="filled")

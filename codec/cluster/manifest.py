"""The manifest of a run, in Parquet: a row for each image, so that a run can be continued, and
checked by others.

It lies in the folder `.aei` of the target: `run-ID.parquet` of each run that has ended, and while
one is under way `part-ID-N.parquet`, written every few seconds. A killed run leaves its parts,
which count as well.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import objects
from .objects import Source

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = ".aei"
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


def key_of(source: str, version: str, job: str) -> bytes:
    """What tells finished work apart, in 8 bytes: a set of ten million takes under a gigabyte."""
    return hashlib.blake2b(f"{source}\0{version}\0{job}".encode(), digest_size=8).digest()


class Manifest:
    """The rows of a run on their way to the target folder. run: its name, by which files are
    sorted."""

    def __init__(self, target: str, run: str):
        self._folder = objects.joined(target, FOLDER)
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


def files(target: str) -> list[str]:
    """The URLs of a target folder's manifest, oldest first."""
    folder = objects.joined(target, FOLDER)
    fs, path = objects.file_system(folder)
    if not objects.patient(lambda: fs.exists(path), folder):
        return []
    found = sorted(source.url for source in objects.find(folder, {".parquet"}))
    return sorted(found, key=lambda url: url.rpartition("/")[2].partition("-")[2])


def read(target: str) -> pa.Table:
    """All rows of a target folder, of every run; the last row of a source counts."""
    import pyarrow as pa

    tables = [_table_in(url) for url in files(target)]
    return pa.concat_tables(tables) if tables else table([])


def finished(target: str, job: str) -> set[bytes]:
    """Keys of the sources that are done, by the rows of a job."""
    done: set[bytes] = set()
    for url in files(target):
        rows = _table_in(url).select(["source", "version", "job", "status"])
        for row in rows.to_pylist():
            if row["job"] == job and row["status"] in FINISHED:
                done.add(key_of(row["source"], row["version"], job))
    return done


def listed(target: str) -> dict[str, str]:
    """SHA-256 of the files that runs have written to a folder, by place; the last run counts."""
    found = {}
    for url in files(target):
        for row in _table_in(url).select(["place", "status", "file_sha256"]).to_pylist():
            if row["status"] in ("done", "kept"):
                found[row["place"]] = row["file_sha256"]
    return found


def left_of(sources: Iterator[Source], done: set[bytes], job: str) -> Iterator[Source]:
    """The sources that are not done yet."""
    for source in sources:
        if key_of(source.url, source.version, job) not in done:
            yield source

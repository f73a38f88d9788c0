"""Runs on Ray: sources in waves through Ray Data, a loaded codec in each actor, rows back to the
manifest.

Images do not pass through Ray's store of objects: an actor reads, converts and writes, and only
rows of the manifest travel. So memory is bounded by the actors, whatever the images are. What an
actor was doing when it died is done again by another; targets are written whole, so that doing
something twice leaves the same object.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...formats import AeiError
from ...formats.errors import shown
from ..files.batch import default_jobs
from ..files.job import Job
from . import manifest
from .objects import Source
from .work import done, grouped

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

WAVE = 20_000  # sources that are handed to Ray at a time; none of the next begins before they end
MOST_BLOCK = 32  # sources that an actor takes at once: rows come back when they are done
BLOCKS_EACH = 8  # of a wave for each actor at least, so that all end at about the same time
STORE_BYTES = 300_000_000  # of a Ray of our own: rows only


@dataclass
class Totals:
    """What a run has come to. bytes of images; seconds: of work, all actors together."""

    done: int = 0
    failed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    first_error: str = ""
    statuses: dict[str, int] = field(default_factory=dict)

    def add(self, row: dict[str, Any]) -> None:
        status = row["status"]
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == "shard":
            return
        if status == "failed":
            self.failed += 1
            self.first_error = self.first_error or f"{shown(row['source'])}: {row['error']}"
        elif status != "copied":
            self.done += 1
            self.bytes_in += row["bytes_in"] or 0
            self.bytes_out += row["bytes_out"] or 0
            self.seconds += row["seconds"] or 0.0


class TooManyFailuresError(AeiError):
    """More images failed than a run may have, or the disk is full."""


class Worker:
    """An actor: one loaded codec, for as many sources as come."""

    def __init__(self, job: Job, target: str, run: str):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._job, self._target, self._run = job, target, run
        self._codec = job.load()

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows: list[dict[str, Any]] = []
        for facts in batch.to_pylist():
            members = tuple(Source(**member) for member in facts.pop("members"))
            rows += done(self._job, self._codec, Source(**facts, members=members), self._target)
        return manifest.table([{**row, "run": self._run} for row in rows])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what Ray's processes write to stderr while they start; errors are raised."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


class Ray:
    """A connection to Ray for as long as `with` lasts: a cluster's, or one of this machine's own.

    address: `auto`, or as in ray.init; None: one of our own. workers: actors at most; None: one for
    each processor of the cluster, or as many as memory allows on this machine. A connection that
    this process has already is taken, and stays. Raises AeiError where no cluster answers.
    """

    def __init__(self, address: str | None, workers: int | None = None):
        self._address = address
        self.workers = workers or (default_jobs() if address is None else 0)

    def __enter__(self) -> Ray:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent anywhere
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        import ray
        import ray.data

        own: dict[str, Any] = {}
        if self._address is None:
            own = {
                "num_cpus": self.workers,
                "object_store_memory": STORE_BYTES,
                "include_dashboard": False,
            }
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                with _quiet():
                    ray.init(self._address, log_to_driver=False, logging_level="error", **own)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise AeiError(f"no Ray at {shown(str(self._address))} ({error})") from None
        if not self.workers:
            self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        ray.data.DataContext.get_current().enable_progress_bars = False
        for name in ("ray", "ray.data"):  # what matters comes as rows, and as our errors
            logging.getLogger(name).setLevel(logging.ERROR)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            import ray

            ray.shutdown()

    def rows(self, job: Job, sources: list[Source], target: str, run: str) -> Iterator[pa.Table]:
        """Rows of sources as they are done, in no order. Closing the iterator stops what runs."""
        import ray

        most = 1 if job.pack else MOST_BLOCK
        block = max(1, min(most, len(sources) // (BLOCKS_EACH * self.workers)))
        parts = [sources[i : i + block] for i in range(0, len(sources), block)]
        made = ray.data.from_arrow([_table_of(part) for part in parts]).map_batches(
            Worker,
            fn_constructor_args=(job, target, run),
            batch_size=None,  # a block
            batch_format="pyarrow",
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=max(1, min(self.workers, len(parts)))
            ),
        )
        yield from made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def _table_of(sources: list[Source]) -> pa.Table:
    import pyarrow as pa

    one = [("url", pa.string()), ("place", pa.string()), ("size", pa.int64()),
           ("version", pa.string())]  # fmt: skip
    schema = pa.schema([*one, ("members", pa.list_(pa.struct(one)))])

    def facts(source: Source) -> dict[str, Any]:
        return {name: getattr(source, name) for name, _ in one}

    rows = [{**facts(s), "members": [facts(m) for m in s.members]} for s in sources]
    return pa.Table.from_pylist(rows, schema=schema)


@dataclass
class Run:
    """A run over sources, its manifest, and what it may cost.

    target: folder of the results. max_failures: images; one more ends the run. told: called with
    each row. listed: SHA-256 by place, that verified files have to have.
    """

    job: Job
    target: str
    max_failures: int | None = None
    told: Callable[[dict[str, Any]], None] = lambda row: None
    listed: dict[str, str] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    name: str = field(default_factory=manifest.new_run)

    def over(self, ray: Ray, sources: Iterable[Source], into: manifest.Manifest) -> None:
        """Do all sources, wave by wave. Raises TooManyFailuresError; what is done by then stays,
        and is in the manifest."""
        waiting = iter(sources)
        while wave := list(itertools.islice(waiting, -(-WAVE // max(1, self.job.pack)))):
            for given in ray.rows(self.job, wave, self.target, self.name):
                table = self._compared(given) if self.listed else given
                into.add(table)
                for row in table.to_pylist():
                    self.totals.add(row)
                    self.told(row)
                self._check(table)

    def _compared(self, table: pa.Table) -> pa.Table:
        """Rows of verified files, those failed that are not what is listed."""
        rows = table.to_pylist()
        for row in rows:
            known = self.listed.get(row["place"])
            if row["status"] == "good" and known not in (None, row["file_sha256"]):
                row["status"] = "failed"
                row["error"] = "is not the file that the manifest lists: its SHA-256 is another"
        return manifest.table(rows)

    def _check(self, table: pa.Table) -> None:
        if "disk" in table.column("reason").to_pylist():
            raise TooManyFailuresError(f"the disk is full or failing: {self.totals.first_error}")
        if self.max_failures is not None and self.totals.failed > self.max_failures:
            raise TooManyFailuresError(
                f"{self.totals.failed} images failed, over the limit of {self.max_failures}; the "
                f"first: {self.totals.first_error}"
            )


def placed(job: Job, sources: Iterable[Source], target: str) -> Iterator[Source]:
    """Sources, checked for two that would have one target (a folder), and put into groups where
    shards are made of them. Raises AeiError."""
    alone = _placed(job, sources)
    return grouped(job, alone, target) if job.pack else alone


def _placed(job: Job, sources: Iterable[Source]) -> Iterator[Source]:
    seen: set[bytes] = set()
    for source in sources:
        place = job.place(source.place)
        key = hashlib.blake2b(place.encode("utf-8", "replace"), digest_size=8).digest()
        if key in seen:
            raise AeiError(
                f"{shown(source.url)}: another source would have the same target, {shown(place)}",
                reason="clash",
            )
        seen.add(key)
        yield source


def in_sample(source: Source, share: float) -> bool:
    """Whether a source is of the sample: the same ones in every run, by a hash of the URL."""
    digest = hashlib.blake2b(source.url.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64

"""`--engine ray`, and the manifest in Parquet that both engines write: the options, the plan, the
estimate, and what is said."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..formats import AeiError
from ..formats.errors import shown
from . import many
from . import output as out

if TYPE_CHECKING:
    from ..codec.cluster.engine import Totals
    from ..codec.cluster.objects import Source
    from ..codec.cluster.single import Notes
    from ..codec.files.archive import Listed
    from ..codec.files.job import Job

LOCAL, RAY = "local", "ray"
VERIFY = "verify"
SUMS = "SHA256SUMS"  # what --manifest without a name means
PARQUET = (".parquet", ".aei")  # how names of manifests in Parquet end
DID = {"encode": "encoded", "decode": "decoded", VERIFY: "verified"}


class Asked(NamedTuple):
    """What the command line says about an engine."""

    address: str | None
    max_failures: int | None
    sample: float | None
    pack: int | None
    unpack: bool


def options(function):
    """--engine and what belongs to it, gathered in the argument `engine`: an Asked for Ray, else
    None."""

    def gathered(*arguments, engine, address, max_failures, sample, pack, unpack, **rest):
        asked = Asked(address, max_failures, sample, pack, unpack)
        if engine == RAY:
            return function(*arguments, engine=asked, **rest)
        if asked != Asked(None, None, None, None, False):
            raise click.UsageError(
                "--address, --max-failures, --sample, --pack and --unpack are for --engine ray"
            )
        if rest.get("metrics") and parquet_of(rest.get("manifest")) is None:
            raise click.UsageError(
                "--metrics are noted in a manifest: name one with --manifest NAME.parquet"
            )
        return function(*arguments, engine=None, **rest)

    gathered.__doc__ = function.__doc__
    gathered.__click_params__ = getattr(function, "__click_params__", [])
    for option in (
        click.option("--unpack", is_flag=True,
                     help="Ray: make files of what tar shards hold, in a folder for each."),
        click.option("--pack", type=click.IntRange(1), metavar="N",
                     help="Ray: make tar shards of N images each, and no files."),
        click.option("--sample", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
                     help="Ray: do so much first, such as 0.01, and say what all will take."),
        click.option("--max-failures", type=click.IntRange(0), metavar="N",
                     help="Ray: give up when more images than N have failed."),
        click.option("--address", metavar="ADDRESS",
                     help="Ray: of a cluster, or auto.  [default: one on this machine]"),
        click.option("--engine", type=click.Choice([LOCAL, RAY]), default=LOCAL,
                     show_default=True,
                     help="Ray takes URLs (s3://, http://, tar shards), and many machines."),
    ):  # fmt: skip
        gathered = option(gathered)
    return gathered


def listed_in(where: str, folder: Path) -> dict[str, Listed]:
    """What a manifest in Parquet lists of the files below a folder."""
    _check_packages("fsspec", "pyarrow")
    from ..codec.cluster import single

    return single.listed_in(where, folder)


def checks(job: Job, where: str, folder: Path) -> Notes:
    """A check of a folder in a manifest in Parquet."""
    _check_packages("fsspec", "pyarrow")
    from ..codec.cluster.single import Notes

    return Notes(job, where, folder)


def shards_of(asked: Asked | None, none: bool = False) -> tuple[int, bool]:
    """`pack` and `unpack` of a job. none: of one that writes nothing."""
    if asked is None:
        return 0, False
    if none and (asked.pack or asked.unpack):
        raise click.UsageError("--pack and --unpack are for encode and decode")
    if asked.pack and asked.unpack:
        raise click.UsageError("--pack makes shards, --unpack files: give one")
    return asked.pack or 0, asked.unpack


def check_usage(sources: tuple[str, ...], listed: str | None, skip_existing: bool) -> None:
    """Refuse what Ray does otherwise. Raises UsageError."""
    if not sources and listed is None:
        raise click.UsageError("name files, folders or URLs, or a list of them with --from-list")
    if many.STREAM in sources:
        raise click.UsageError("- for stdin is for one file, without --engine ray")
    if skip_existing:
        raise click.UsageError(
            "--skip-existing: with --engine ray the manifest says what is done, leave it out"
        )


def parquet_of(manifest: str | None) -> str | None:
    """Where a manifest in Parquet lies, by --manifest; None for none, or one of another kind.
    Raises UsageError for other names."""
    if manifest in (None, SUMS):
        return None
    if not manifest.rstrip("/").endswith(PARQUET):
        raise click.UsageError(
            f"--manifest {manifest}: name it NAME.parquet, or put --manifest behind the files for "
            f"one in {SUMS}"
        )
    return manifest


def notes_of(job: Job, where: str, output: str | None, force: bool, skips: bool) -> Notes:
    """A run of this machine in a manifest in Parquet. Raises UsageError, and AeiError where the
    folder of the results has files that are not of a run."""
    if output is None:
        raise click.UsageError("--manifest is of a folder: name one for the results with -o")
    if skips:
        raise click.UsageError("--skip-existing: the manifest says what is done, leave it out")
    _check_packages("fsspec", "pyarrow")
    from ..codec.cluster import manifest
    from ..codec.cluster.single import Notes

    manifest.check_target(output, where, force)
    return Notes(job, where, Path(output), force)


def execute(
    job: Job,
    sources: Iterable[str],
    target: str | None,
    asked: Asked,
    *,
    where: str | None,
    jobs: int | None,
    force: bool = False,
    dry_run: bool = False,
    known: str | None = None,
) -> None:
    """Do all images below the sources on Ray, but those that the manifest says are done; ends the
    command with exit code 2 where some failed. where: of the manifest, None for the target;
    known: of one that verified files are compared with."""
    from ..codec.cluster import engine, manifest, objects

    names = list(sources)
    if target is None:
        raise click.UsageError("--engine ray wants a folder for the results: name it with -o")
    _check_packages("ray", "fsspec", "pyarrow")
    listed: dict[str, str] = {}
    where = where or target
    if job.verb != VERIFY:
        manifest.check_target(target, where, force)
    elif len(names) == 1:  # what is listed has its place below this folder
        listed = manifest.listed(known or names[0])
    done = set() if force else manifest.finished(where, job.digest)
    suffixes = job.suffixes if job.pack else {*job.suffixes, ".tar"}

    def found() -> Iterator[Source]:
        every = itertools.chain.from_iterable(objects.find(name, suffixes) for name in names)
        return engine.placed(job, every, target)

    def left() -> Iterator[Source]:
        return manifest.left_of(found(), done, job.digest)

    if dry_run and asked.sample is None:
        _list(job, left(), target)
        return
    count, size, before = _counted(found(), done, job.digest)
    if not count:
        raise AeiError("nothing to do: no images found")
    if before:
        out.tell(f"{before} of {count} are done already")
    if before == count:
        _summary(engine.Totals(), 0.0, before, job.verb, None)
        return
    run = engine.Run(job, target, asked.max_failures, _report, listed)
    into = manifest.Manifest(where, run.name)
    start = time.perf_counter()
    url = None
    try:
        with _own_stdout(), engine.Ray(asked.address, jobs) as ray:
            if asked.sample is not None:
                share = asked.sample
                run.over(ray, (s for s in left() if engine.in_sample(s, share)), into)
                _estimate(run.totals, size, count - before, ray.workers)
            if not dry_run:
                rest = (s for s in left() if asked.sample is None or not engine.in_sample(s, share))
                run.over(ray, rest, into)
    finally:
        url = into.close()
        _summary(run.totals, time.perf_counter() - start, before, job.verb, url)
    if run.totals.failed:
        raise click.exceptions.Exit(many.SOME_FAILED)


@contextlib.contextmanager
def _own_stdout() -> Iterator[None]:
    """Results alone on stdout: what Ray prints there, of workers that died, goes to stderr."""
    out.MODE.results, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, out.MODE.results = out.MODE.results, None


def _check_packages(*names: str) -> None:
    """Raise ImportError for the first that is missing, before any work."""
    for name in names:
        importlib.import_module(name)


def _counted(sources: Iterator[Source], done: set[bytes], digest: str) -> tuple[int, int, int]:
    """How many sources there are, bytes of those to do, and how many are done already."""
    from ..codec.cluster.manifest import key_of

    count = size = before = 0
    for source in sources:
        count += 1
        if key_of(source.url, source.version, digest) in done:
            before += 1
        else:
            size += source.size
    return count, size, before


def _list(job: Job, sources: Iterator[Source], target: str) -> None:
    from ..codec.cluster.objects import joined

    count = size = 0
    for source in sources:
        count, size = count + 1, size + source.size
        url = joined(target, job.place(source.place))
        out.say(f"would {job.verb} {shown(source.url)} -> {shown(url)}")
        out.emit(file=source.url, output=url, status="planned")
    out.tell(f"would {job.verb} {count} objects, {size / 1e6:.1f} MB")


def _report(row: dict[str, Any]) -> None:
    """One row: JSON, or a line where it failed."""
    if row["status"] == "shard":
        return
    facts = {name: value for name, value in row.items() if value is not None}
    facts["file"] = facts.pop("source")
    if "target" in facts:
        facts["output"] = facts.pop("target")
    for name in ("job", "run", "version", "finished", "place"):
        facts.pop(name, None)
    out.emit(**facts)
    if row["status"] == "failed":
        message = out.advised(row["error"], row["reason"] or "", many=True)
        out.tell(f"{shown(row['source'])}: {message}")


def _estimate(totals: Totals, size: int, count: int, workers: int) -> None:
    """What the sample says of the whole: by bytes of the sources, which the lists say."""
    if not totals.done:
        out.tell("the sample holds no image that could be done: no estimate")
        return
    factor = size / max(1, totals.bytes_in)
    hours = totals.seconds * factor / 3600
    facts = {
        "sample": totals.done,
        "objects": count,
        "bytes_in": size,
        "bytes_out": round(totals.bytes_out * factor),
        "core_hours": round(hours, 4),
        "hours": round(hours / workers, 4),
        "failures": round(totals.failed * factor),
    }
    out.emit(estimate=facts)
    out.tell(
        f"by {totals.done} images: {count} objects, {size / 1e6:.1f} MB -> "
        f"{facts['bytes_out'] / 1e6:.1f} MB, {hours:.2f} core hours, {hours / workers:.2f} hours "
        f"with {workers} workers, {facts['failures']} failures"
    )


def _summary(totals: Totals, seconds: float, before: int, verb: str, url: str | None) -> None:
    out.emit(
        summary=totals.statuses, done_before=before, bytes_in=totals.bytes_in,
        bytes_out=totals.bytes_out, seconds=round(seconds, 3),
        work_seconds=round(totals.seconds, 3), manifest=url,
    )  # fmt: skip
    words = f"{DID[verb]} {totals.done} images, {totals.failed} failed"
    ratio = f": {totals.bytes_in / 1e6:.1f} MB -> {totals.bytes_out / 1e6:.1f} MB"
    out.tell(f"{words}{ratio} in {seconds:.1f} s" + (f"; {shown(url)}" if url else ""))

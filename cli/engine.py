"""`--engine ray`: the options, the plan, the estimate, and what is said."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..formats import AeiError
from ..formats.errors import shown
from . import many
from . import output as out

if TYPE_CHECKING:
    from ..codec.cluster.engine import Totals
    from ..codec.cluster.objects import Source
    from ..codec.cluster.work import Job

LOCAL, RAY = "local", "ray"
VERIFY = "verify"
DID = {"encode": "encoded", "decode": "decoded", VERIFY: "verified"}


@dataclass(frozen=True)
class Asked:
    """What the command line says about an engine."""

    address: str | None
    max_failures: int | None
    sample: float | None
    metrics: bool


def options(function):
    """--engine and what belongs to it, gathered in the argument `engine`: an Asked for Ray, else
    None."""

    def gathered(*arguments, engine, address, max_failures, sample, metrics, **rest):
        asked = Asked(address, max_failures, sample, metrics)
        if engine == LOCAL:
            if asked != Asked(None, None, None, False):
                raise click.UsageError(
                    "--address, --max-failures, --sample and --metrics are for --engine ray"
                )
            return function(*arguments, engine=None, **rest)
        return function(*arguments, engine=asked, **rest)

    gathered.__doc__ = function.__doc__
    gathered.__click_params__ = getattr(function, "__click_params__", [])
    for option in (
        click.option("--metrics", is_flag=True,
                     help="Ray: note PSNR and SSIMULACRA 2 of each file."),
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


def check_usage(sources: tuple[str, ...], listed: str | None, skip_existing: bool) -> None:
    """Refuse what Ray does otherwise. Raises UsageError."""
    if not sources and listed is None:
        raise click.UsageError("name files, folders or URLs, or a list of them with --from-list")
    if many.STREAM in sources:
        raise click.UsageError("- for stdin is for one file, without --engine ray")
    if click.get_current_context().params.get("manifest"):
        raise click.UsageError(
            "--manifest: with --engine ray there is one in Parquet, leave it out"
        )
    if skip_existing:
        raise click.UsageError(
            "--skip-existing: with --engine ray the manifest says what is done, leave it out"
        )


def execute(
    job: Job,
    sources: Iterable[str],
    target: str | None,
    asked: Asked,
    *,
    jobs: int | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Do all images below the sources on Ray, but those that the manifest says are done; ends the
    command with exit code 2 where some failed."""
    from ..codec.cluster import engine, manifest, objects

    names = list(sources)
    if target is None:
        raise click.UsageError("--engine ray wants a folder for the results: name it with -o")
    _check_packages()
    listed: dict[str, str] = {}
    if job.verb != VERIFY:
        engine.check_target(target, force)
    elif len(names) == 1:  # what is listed has its place below this folder
        listed = manifest.listed(names[0])
    done = set() if force else manifest.finished(target, job.digest)
    suffixes = {*job.suffixes, ".tar"}

    def found() -> Iterator[Source]:
        every = itertools.chain.from_iterable(objects.find(name, suffixes) for name in names)
        return engine.placed(job, every)

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
    into = manifest.Manifest(target, run.name)
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


def _check_packages() -> None:
    import fsspec  # noqa: F401
    import pyarrow  # noqa: F401
    import ray  # noqa: F401


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

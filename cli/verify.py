"""`aei verify`."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..formats import AeiError
from ..formats.errors import shown
from . import engine as engines
from . import many
from . import output as out
from .progress import Progress, amount, of_tasks, stopping

if TYPE_CHECKING:
    from ..codec.cluster.single import Notes
    from ..codec.files.archive import Journal
    from ..codec.files.job import Job
    from ..codec.files.plan import Outcome, Plan, Task

GOOD, BAD, SKIPPED = "good", "bad", "skipped"


@click.command("verify")
@click.argument("sources", metavar="PATH...", nargs=-1, type=click.Path())
@many.input_options
@click.option(
    "-r/-R", "--recursive/--no-recursive", default=True, help="Subfolders too.  [default: yes]"
)
@click.option("--quick", is_flag=True,
              help="Checksums alone: payloads are not decoded.")  # fmt: skip
@click.option(
    "--manifest",
    is_flag=False,
    flag_value=engines.SUMS,
    metavar="[NAME.parquet]",
    help="Compare with the SHA256SUMS of each folder, which must be there, or with a manifest in "
    "Parquet.  [default: SHA256SUMS where there is one]",
)
@click.option("--no-manifest", is_flag=True, help="Compare with none.")
@click.option(
    "--resume",
    metavar="FILE",
    type=click.Path(),
    help="Note good files in FILE, and leave out those noted there; it is deleted when all are "
    "checked. A name that ends in .parquet becomes a manifest of the check, which stays; with "
    "--engine ray there is no other kind.",
)
@click.option(
    "--model", metavar="BUNDLE", type=click.Path(),
    help="Model bundle, for files written with one not shipped.",
)  # fmt: skip
@engines.options
def command(
    sources: tuple[str, ...],
    listed: str | None,
    jobs: int | None,
    recursive: bool,
    quick: bool,
    manifest: str | None,
    no_manifest: bool,
    resume: str | None,
    model: str | None,
    engine: engines.Asked | None,
) -> None:
    """Check .aei files: every checksum, and every payload decoded to the check at its end.

    PATH may be files, folders (with their subfolders) and quoted patterns. Each bad file is a line
    on stdout, its name and what is wrong, and nothing else is; the exit code is then 2. Where a
    folder has a list of SHA-256 hashes (SHA256SUMS, see `aei encode --manifest`), all files that it
    lists have to be there and the same.

    \b
    Examples:
      aei verify archive/
      aei verify archive/ --resume checked.txt        stop it, and the same command goes on
      aei verify small/ --manifest small.parquet
      aei verify archive/ --quick --json
    """
    known = engines.parquet_of(manifest)
    if manifest is not None and no_manifest:
        raise click.UsageError("--manifest and --no-manifest exclude each other: give one")
    if engine is not None:
        if manifest == engines.SUMS:
            raise click.UsageError("--engine ray reads a manifest in Parquet: name it")
        names = [*sources, *many.read_list(listed)]
        _on_ray(engine, names, jobs, _job(quick, model), resume, known)
        return
    many.check_usage(sources, None, listed)
    workers, threads = many.split_cpus(jobs)
    from ..codec import Codec
    from ..codec.files import archive
    from ..codec.files import plan as planning

    plan = planning.find(
        sources, many.read_list(listed), suffixes={archive.SUFFIX}, recursive=recursive
    )
    folders = [Path(name) for name in sources if os.path.isdir(name)]
    hashes: dict[str, archive.Listed] = {}
    if known is not None:
        hashes = engines.listed_in(known, _only(folders, "--manifest"))
    elif not no_manifest:
        if manifest is not None and not folders:
            raise click.UsageError("--manifest is of folders: name one")
        hashes = archive.listed_below(folders, needed=manifest is not None)
    present = {os.path.abspath(task.source) for task in plan.tasks}
    more = [hashes[place].path for place in hashes if place not in present]
    plan.tasks += [planning.Task(path, path) for path in more]
    if not plan.tasks and not plan.settled:
        raise AeiError(many.nothing_found(plan, "no .aei files"))
    journal: archive.Journal | Notes | None = None
    if resume is not None and resume.endswith(engines.PARQUET):
        if len(sources) != 1 or listed is not None:
            raise click.UsageError("--resume NAME.parquet is of one folder: name it alone")
        journal = engines.checks(_job(quick, model), resume, _only(folders, "--resume"))
    elif resume is not None:
        journal = archive.Journal(Path(resume), quick)
    codec = Codec(model, threads)

    def work(task: Task, progress: Progress) -> Outcome:
        known = hashes.get(os.path.abspath(task.source))
        if known is not None and not task.source.exists():
            raise AeiError("is listed in the manifest, and missing")
        progress.tick(task, 0, 1)
        return archive.verify_task(
            task,
            codec,
            None if known is None else known.sha256,
            quick=quick,
            progress=functools.partial(progress.tick, task),
        )

    _check(plan, work, workers, journal)


def _only(folders: list[Path], option: str) -> Path:
    """The one folder. Raises UsageError for more, or none."""
    if len(folders) != 1:
        raise click.UsageError(f"{option} with a name in .parquet is of one folder: name one")
    return folders[0]


def _job(quick: bool, model: str | None) -> Job:
    from ..codec.files.job import Job, VerifyOptions

    return Job(VerifyOptions(quick), ".aei", frozenset({".aei"}), model=model)


def _on_ray(
    asked: engines.Asked, names: list[str], jobs: int | None, job: Job, resume: str | None,
    known: str | None,
) -> None:  # fmt: skip
    """Check with Ray; `resume` is then where its manifest lies, `known` another that says what the
    files were."""
    import tempfile

    if not names:
        raise click.UsageError("name files, folders or URLs, or a list of them with --from-list")
    engines.shards_of(asked, none=True)
    with tempfile.TemporaryDirectory(prefix="aei-verify-") as passing:
        engines.execute(job, names, passing, asked, where=resume, jobs=jobs, known=known)


def _check(plan: Plan, work, jobs: int, journal: Journal | Notes | None) -> None:
    """Check what is planned, report, and end the command with exit code 2 where files are bad."""
    from ..codec.files import batch

    tasks = [t for t in plan.tasks if journal is None or not journal.knows(t)]
    counts = {GOOD: 0, BAD: 0, SKIPPED: len(plan.tasks) - len(tasks)}
    sizes = [0, 0]
    start = time.perf_counter()
    for outcome in plan.settled:
        _tell(outcome, counts)
    progress = of_tasks(tasks, "verify")
    stopped_by = 0
    finished = False
    try:
        with stopping(progress) as stopped, progress.displayed():
            one = functools.partial(work, progress=progress)
            results: Generator[Outcome, None, None] = batch.run_tasks(tasks, one, jobs, stopped)
            for outcome in results:
                _tell(outcome, counts)
                if journal is not None:
                    journal.add(outcome)
                sizes[0] += outcome.bytes_in
                sizes[1] += outcome.width * outcome.height
                progress.advance(outcome)
            stopped_by = stopped()
        finished = progress.files == len(tasks)
    finally:
        if journal is not None:
            journal.close(complete=finished)
        left, resumes = len(tasks) - progress.files, journal is not None
        _summary(counts, sizes, time.perf_counter() - start, left, resumes)
    many.end_if(0 if finished else stopped_by)
    if counts[BAD]:
        raise click.exceptions.Exit(many.SOME_FAILED)


def _tell(outcome: Outcome, counts: dict[str, int]) -> None:
    """One file: JSON, or a line where it is bad."""
    from ..codec.files import plan as planning

    good = outcome.status == planning.DONE
    counts[GOOD if good else BAD] += 1
    if out.MODE.json:
        facts: dict[str, object] = {"file": str(outcome.source), "status": GOOD if good else BAD}
        if good:
            facts |= {"bytes": outcome.bytes_in, "width": outcome.width, "height": outcome.height}
            if outcome.sha256:
                facts["sha256"] = outcome.sha256
        else:
            facts["message"] = outcome.message
        out.emit(**facts)
    elif not good:
        message = out.advised(outcome.message, outcome.reason)
        click.echo(f"{shown(outcome.source)}: {message}")


def _summary(
    counts: dict[str, int], sizes: list[int], seconds: float, left: int, resumes: bool
) -> None:
    out.emit(
        summary=counts, bytes=sizes[0], pixels=sizes[1], seconds=round(seconds, 3),
        left=left, finished=not left,
    )  # fmt: skip
    parts = [f"{counts[GOOD]} good", f"{counts[BAD]} bad"]
    if counts[SKIPPED]:
        parts.append(f"{counts[SKIPPED]} checked before")
    speed = f", {sizes[1] / seconds / 1e6:.1f} MP/s" if sizes[1] else ""
    out.tell(f"{', '.join(parts)}: {amount(sizes[0])} in {seconds:.1f} s{speed}")
    if left:
        way = "the same command" if resumes else "a run with --resume FILE"
        goes = "does them" if resumes else "could have gone on from here"
        out.tell(f"stopped with {left} files to do: {way} {goes}")

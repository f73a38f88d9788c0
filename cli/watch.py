"""`aei encode --watch`: encode what arrives in a folder, until the command is stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import click

from ..formats import AeiError
from ..formats.errors import shown
from . import many
from . import output as out
from .progress import Progress, stopping

if TYPE_CHECKING:
    from ..codec.files.convert import Converted
    from ..codec.files.plan import Outcome, Plan

LOOK = 500  # milliseconds between looks at files that may still be written to


def run(
    folder: str,
    recursive: bool,
    make_plan: Callable[[], Plan],
    convert: Callable[[], Callable[..., Converted]],
    jobs: int,
    after: Callable[[list[Outcome]], None] | None,
) -> None:
    """Encode what is in a folder and what arrives, once it is complete. make_plan: what there is to
    do now. Ends at Ctrl-C and SIGTERM, with exit code 2 where files failed."""
    looks = _looks(folder, recursive)
    from ..codec.files import batch
    from ..codec.files import plan as planning
    from ..codec.files.arrivals import Arrivals

    one = convert()
    arrivals = Arrivals()
    progress = Progress({}, "encode")
    told: set[tuple[object, str]] = set()
    outcomes: list[Outcome] = []
    with stopping(progress) as stopped, contextlib.closing(looks):
        out.tell(f"watching {shown(folder)}; Ctrl-C ends it")
        for changed in looks:
            if stopped():
                break
            if not changed and not arrivals.waiting:
                continue
            plan = make_plan()
            for outcome in plan.settled:
                key = outcome.source, outcome.message
                if outcome.status == planning.FAILED and key not in told:
                    told.add(key)
                    _tell(outcome)
                    outcomes.append(outcome)
            tasks = arrivals.take(plan.tasks, time.monotonic())
            if not tasks:
                continue
            made: list[Outcome] = []
            progress.add(tasks)
            with progress.displayed():
                results = batch.run(tasks, one, jobs, False, stopped, progress.tick)
                many.follow(results, progress, made, _tell)
            if after is not None:
                after(made)
            outcomes += made
    failed = sum(outcome.status in (planning.FAILED, planning.LEFT) for outcome in outcomes)
    out.emit(summary={"done": len(outcomes) - failed, "failed": failed}, finished=True)
    out.tell(f"{len(outcomes) - failed} encoded, {failed} failed")
    if failed:
        raise click.exceptions.Exit(many.SOME_FAILED)


def _tell(outcome: Outcome) -> None:
    """A line for each file, good or bad."""
    from ..codec.files import plan as planning

    many.report(outcome)
    if outcome.status in (planning.DONE, planning.KEPT):
        if not out.MODE.verbose:
            out.tell(many.described(outcome))
    elif not out.MODE.json:
        message = out.advised(outcome.message, outcome.reason, many=True)
        click.echo(f"aei: {shown(outcome.source)}: {message}", err=True)


def _looks(folder: str, recursive: bool) -> Generator[bool, None, None]:
    """Every half second, or as soon as something changes in a folder: whether something has; the
    first time it is taken for changed."""
    try:
        from watchfiles import watch
    except ImportError:
        from ..codec.settings import install

        raise AeiError(
            f"watching folders needs the package watchfiles: {install('watch')}"
        ) from None

    def looks() -> Generator[bool, None, None]:
        yield True
        for changes in watch(
            folder,
            watch_filter=None,
            rust_timeout=LOOK,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=recursive,
        ):
            yield bool(changes)

    return looks()

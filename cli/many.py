"""Many files in one command: the options, the progress bar, the summary and the exit code."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..formats import AeiError
from ..formats.errors import shown
from . import output as out
from .files import STREAM, naming, read_input, write_output
from .progress import Progress, amount, of_tasks, ratio, size_of, stopping

if TYPE_CHECKING:
    from ..codec.cluster.single import Notes
    from ..codec.files.convert import Converted
    from ..codec.files.plan import Outcome, Plan

SOME_FAILED = 2  # exit code
STDIN0 = "-0"  # what stands for a list from stdin that is separated by NULs alone
MOST_LIST = 64 << 20  # bytes of a list of names


def input_options(function):
    """The options for many inputs: `listed`, `jobs`."""
    for option in reversed(
        [
            click.option(
                "--from-list",
                "listed",
                metavar="FILE",
                type=click.Path(),
                help="Names of more files, one a line (- for stdin; NUL-separated as `find "
                "-print0` has them).",
            ),
            click.option(
                "--stdin-list0",
                "listed",
                flag_value=STDIN0,
                help="Names of more files from stdin, each ended by a NUL.",
            ),
            click.option(
                "-j",
                "--jobs",
                type=click.IntRange(1),
                help="Files at a time.  [default: one per CPU, fewer if memory is short]",
            ),
        ]
    ):
        function = option(function)
    return function


def options(function):
    """Those, and for outputs `recursive`, `skip_existing`, `keep_extension`, `dry_run`."""
    for option in reversed(
        [
            click.option("-r", "--recursive", is_flag=True, help="Subfolders of folders too."),
            input_options,
            click.option(
                "--skip-existing", is_flag=True, help="Leave files alone whose output exists."
            ),
            click.option(
                "--keep-extension",
                is_flag=True,
                help="Name outputs with the input's suffix too: photo.jpg.aei.",
            ),
            click.option("--dry-run", is_flag=True, help="Only say what would be done."),
        ]
    ):
        function = option(function)
    return function


def is_many(sources: tuple[str, ...], output: str | None, listed: str | None) -> bool:
    """Whether a command line means many files, so that -o is a folder."""
    if listed is not None or len(sources) != 1:
        return True
    source = sources[0]
    if os.path.isdir(source) or (glob.has_magic(source) and not os.path.lexists(source)):
        return True
    return output is not None and output != STREAM and _means_folder(output)


def _means_folder(output: str) -> bool:
    return os.path.isdir(output) or output.endswith(("/", os.sep))


def check_stream(source: str, target: str, kept: bool = False) -> None:
    """Refuse what stdin and stdout cannot do. Raises UsageError."""
    if target == STREAM and out.MODE.json:
        raise click.UsageError("--json and the output both want stdout: name a file with -o")
    if STREAM in (source, target) and kept:
        raise click.UsageError("--keep-smaller may copy the source: name files, not -")


def check_usage(sources: tuple[str, ...], output: str | None, listed: str | None) -> None:
    """Refuse what many files cannot do. Raises UsageError and AeiError."""
    if not sources and listed is None:
        raise click.UsageError(
            "name files, folders or patterns, or a list of them with --from-list"
        )
    if STREAM in sources:
        raise click.UsageError("- for stdin stands alone: no other files beside it")
    if output == STREAM:
        raise click.UsageError("many outputs do not fit on stdout: name a folder with -o")
    if output is not None and os.path.lexists(output) and not os.path.isdir(output):
        raise AeiError(f"{output} is a file: name a folder for many outputs with -o")


def read_list(listed: str | None) -> list[str]:
    """The names in a list file: separated by NULs if it holds any, else one a line."""
    if listed is None:
        return []
    only_nuls = listed == STDIN0
    listed = STREAM if only_nuls else listed
    if listed == STREAM and sys.stdin is None:
        raise AeiError("stdin is closed")
    if listed == STREAM:
        data = sys.stdin.buffer.read()
    else:  # a pipe too: --from-list <(find ...)
        with open(listed, "rb") as file:
            data = file.read(MOST_LIST + 1)
        if len(data) > MOST_LIST:
            raise AeiError(f"{listed}: over {MOST_LIST >> 20} MiB, which is no list of names")
    if only_nuls or b"\0" in data:
        names = data.split(b"\0")
        if len(names) == 1 and b"\n" in data and not os.path.lexists(data):
            raise AeiError(
                "the names on stdin end with newlines, not NULs: --from-list - takes one a line"
            )
    else:
        names = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(name) for name in names if name]


def split_cpus(jobs: int | None) -> tuple[int, int]:
    """Files at a time, and threads for each. Call before anything that imports NumPy: its BLAS
    reads the number of threads then, and several users of its threads only wait for each other."""
    if jobs != 1:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ..codec.cpus import available_cpus
    from ..codec.files.batch import default_jobs

    jobs = jobs or default_jobs()
    return jobs, max(1, available_cpus() // jobs)


def spare_blas() -> None:
    """Let NumPy's BLAS start no threads where the native core does the work of a single decode:
    they cost a cold start a thirtieth, and do nothing then. Call as `split_cpus`. Raises
    UnsupportedError, see `native.chosen`."""
    from ..codec.exact.native import chosen

    if chosen() is not None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def execute(
    plan: Plan,
    convert: Callable[[], Callable[..., Converted]],
    jobs: int,
    *,
    verb: str,
    overwrite: bool,
    dry_run: bool,
    after: Callable[[list[Outcome]], None] | None = None,
    notes: Notes | None = None,
) -> None:
    """Carry a plan out and report; ends the command with exit code 2 where files failed.

    convert: makes the function that converts one file, called only if there is work. after: given
    what became of all files, at the end or where the command is stopped. notes: say what is done
    already, and are given what becomes of each file.
    """
    from ..codec.files import batch
    from ..codec.files import plan as planning

    if not plan.tasks and not plan.settled:
        raise AeiError(nothing_found(plan))
    if notes is not None:
        notes.settle(plan)
    if dry_run:
        _dry_run(plan, verb)
        return
    outcomes: list[Outcome] = []
    start = time.perf_counter()
    for outcome in plan.settled:
        report(outcome)
    finished = False
    try:
        if plan.tasks:
            one, progress = convert(), of_tasks(plan.tasks, verb)
            with stopping(progress) as stopped, progress.displayed():
                results = batch.run(plan.tasks, one, jobs, overwrite, stopped, progress.tick)
                follow(results, progress, outcomes, noting(notes, report))
                end_if(stopped())
        finished = True
    finally:
        if notes is not None:
            notes.close()
        if after is not None:
            after(plan.settled + outcomes)
        again = "the same command" + (" with --skip-existing" if notes is None else "")
        _summary(plan, outcomes, verb, time.perf_counter() - start, None if finished else again)
    if any(o.status in (planning.FAILED, planning.LEFT) or o.lost for o in plan.settled + outcomes):
        raise click.exceptions.Exit(SOME_FAILED)


def follow(
    results: Generator[Outcome, None, None],
    progress: Progress,
    outcomes: list[Outcome],
    tell: Callable[[Outcome], None] | None = None,
) -> None:
    """Gather what becomes of files, and report it as it comes."""
    with contextlib.closing(results):
        for outcome in results:
            outcomes.append(outcome)
            (tell or report)(outcome)
            progress.advance(outcome)


def noting(notes: Notes | None, tell: Callable[[Outcome], None]) -> Callable[[Outcome], None]:
    """`tell`, behind notes where there are some."""
    if notes is None:
        return tell

    def both(outcome: Outcome) -> None:
        notes.add(outcome)
        tell(outcome)

    return both


def end_if(number: int) -> None:
    """End the command as the signal of this number does; 0 is none."""
    if number:
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def nothing_found(plan: Plan, what: str = "no images") -> str:
    """The sentence for a plan with nothing in it."""
    hints = []
    if plan.ignored:
        hints.append(f"{plan.ignored} files of other kinds")
    if plan.unentered:
        hints.append(f"{plan.unentered} subfolders, which --recursive enters")
    return f"nothing to do: {what} found" + (f" ({', '.join(hints)})" if hints else "")


def _dry_run(plan: Plan, verb: str) -> None:
    from ..codec.files import plan as planning

    for task in plan.tasks:
        out.say(f"would {verb} {shown(task.source)} -> {shown(task.target)}")
        out.emit(file=str(task.source), output=str(task.target), status="planned")
    for outcome in plan.settled:
        out.emit(**_facts(outcome))
        if outcome.status == planning.SKIPPED:
            out.say(f"would skip {shown(outcome.source)}: {shown(outcome.target)} exists")
    failed = [o for o in plan.settled if o.status == planning.FAILED]
    total = sum(size_of(task.source) for task in plan.tasks)
    out.tell(f"would {verb} {len(plan.tasks)} files, {amount(total)}{_left_out(plan)}")
    _hint(plan, verb)
    _list_failures(failed)
    if failed:
        raise click.exceptions.Exit(SOME_FAILED)


def _facts(outcome: Outcome) -> dict[str, object]:
    facts: dict[str, object] = {"file": str(outcome.source), "status": outcome.status}
    if outcome.target is not None:
        facts["output"] = str(outcome.target)
    if outcome.bytes_in:
        facts |= {
            "bytes_in": outcome.bytes_in,
            "bytes_out": outcome.bytes_out,
            "width": outcome.width,
            "height": outcome.height,
            "seconds": round(outcome.seconds, 3),
            **outcome.details,
        }
    if outcome.sha256:
        facts["sha256"] = outcome.sha256
    if outcome.lost:
        facts["lost"] = [[box.left, box.top, box.width, box.height] for box in outcome.lost]
    if outcome.message:
        facts["message"] = out.advised(outcome.message, outcome.reason, many=True)
    return facts


def report(outcome: Outcome) -> None:
    """What became of a file: JSON, or a line with -v."""
    import logging

    from ..codec.files import plan as planning

    out.emit(**_facts(outcome))
    log = logging.getLogger("aei.cli")
    if outcome.status == planning.DONE:
        if outcome.lost:
            log.error("%s: %s", shown(outcome.source), outcome.message)
        elif outcome.message:
            out.tell(f"{shown(outcome.source)}: {outcome.message}")
        log.info("%s", described(outcome))
    elif outcome.status in (planning.KEPT, planning.SKIPPED):
        log.info("%s: %s (%s)", shown(outcome.source), outcome.status, outcome.message)


def execute_one(
    source: str, target: str, convert: Callable[..., Converted], force: bool, verb: str
) -> Outcome:
    """Convert a single file, either side of which may be a stream, and report. Ends the command
    with exit code 2 where tiles were lost."""
    from ..codec.files import batch
    from ..codec.files import plan as planning

    task = planning.Task(Path(source), Path(target))
    progress = of_tasks([task], verb)
    one = functools.partial(convert, progress=functools.partial(progress.tick, task))
    with naming(source), progress.displayed():
        if STREAM not in (source, target):
            outcome = batch.convert_task(task, one, force)
        else:
            data = read_input(source)
            progress.sizes[task.source, None] = len(data)
            made = one(data)
            details = made.details | (made.check(made.data) if made.check is not None else {})
            write_output(target, made.data, force)
            outcome = planning.Outcome(
                Path(source), Path(target), planning.DONE, len(data), len(made.data), made.width,
                made.height, message=made.said, details=details, lost=made.lost,
            )  # fmt: skip
    if target != STREAM:
        report(outcome)
    elif outcome.message:
        out.tell(outcome.message)
    if outcome.lost:
        raise click.exceptions.Exit(SOME_FAILED)
    return outcome


def is_settled(source: str, target: str, skip_existing: bool, dry_run: bool, verb: str) -> bool:
    """For a single file: whether --skip-existing or --dry-run leaves nothing to do; says so."""
    if skip_existing and target != STREAM and os.path.lexists(target):
        out.emit(file=source, output=target, status="skipped", message="exists")
        return True
    if dry_run:
        if source != STREAM:
            Path(source).stat()  # an error now rather than in earnest
        out.say(f"would {verb} {shown(source)} -> {shown(target)}")
        out.emit(file=source, output=target, status="planned")
    return dry_run


def described(outcome: Outcome) -> str:
    """One line about a file that was converted."""
    share = 100 * outcome.bytes_out / max(1, outcome.bytes_in)
    details = "".join(f", {name} {value:g}" for name, value in outcome.details.items())
    return (
        f"{shown(outcome.source)} -> {shown(outcome.target)}: {outcome.width}x{outcome.height}, "
        f"{outcome.bytes_in} -> {outcome.bytes_out} bytes ({share:.1f} %), {outcome.seconds:.2f} "
        f"s{details}"
    )


def _left_out(plan: Plan) -> str:
    text = ""
    if plan.ignored:
        text += f"; {plan.ignored} files of other kinds ignored"
    if plan.unentered:
        text += f"; {plan.unentered} subfolders not entered (--recursive)"
    return text


def _hint(plan: Plan, verb: str) -> None:
    """What can be done about files of other kinds that are photographs too."""
    if verb == "encode":
        from ..codec.files.unread import hints

        for hint in hints(plan.others):
            out.tell(hint)


def _summary(
    plan: Plan, outcomes: list[Outcome], verb: str, seconds: float, again: str | None
) -> None:
    """again: what does the rest of a run that was stopped, None for one that was not."""
    from ..codec.files import plan as planning

    everything = plan.settled + outcomes
    usual = (planning.DONE, planning.KEPT, planning.SKIPPED, planning.FAILED)
    counts = dict.fromkeys(usual, 0)
    for outcome in everything:
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    made = [o for o in outcomes if o.status in (planning.DONE, planning.KEPT)]
    size_in, size_out = sum(o.bytes_in for o in made), sum(o.bytes_out for o in made)
    pixels = sum(o.width * o.height for o in made)
    larger = [o for o in made if o.status == planning.DONE and o.bytes_out >= o.bytes_in]
    out.emit(
        summary=counts, bytes_in=size_in, bytes_out=size_out, seconds=round(seconds, 3),
        images_per_second=round(len(made) / seconds, 3),
        megapixels_per_second=round(pixels / seconds / 1e6, 3),
        larger_than_source=len(larger), ignored=plan.ignored, finished=again is None,
    )  # fmt: skip
    parts = [f"{counts[planning.DONE]} {verb}d"]
    for status in (planning.KEPT, planning.SKIPPED, planning.FAILED, planning.LEFT):
        if counts.get(status):
            parts.append(f"{counts[status]} {'not begun' if status == planning.LEFT else status}")
    lost = [len(o.lost) for o in made if o.lost]
    if lost:
        parts.append(f"{len(lost)} of them with {sum(lost)} tiles lost")
    text = ", ".join(parts)
    if made:
        text += f": {ratio(size_in, size_out)} in {seconds:.1f} s"
        text += f", {len(made) / seconds:.2f} images/s, {pixels / seconds / 1e6:.2f} MP/s"
    out.tell(text + _left_out(plan))
    _hint(plan, verb)
    if verb == "encode" and larger:
        out.tell(
            f"{len(larger)} files are not smaller than their sources: "
            "a lower -q makes them so, --keep-smaller keeps the sources instead"
        )
    _list_failures([o for o in everything if o.status == planning.FAILED])
    if again is not None:
        out.tell(f"stopped with {len(plan.tasks) - len(outcomes)} files to do: {again} does them")


def _list_failures(failed: list[Outcome]) -> None:
    if out.MODE.json:
        return
    for outcome in failed:
        message = out.advised(outcome.message, outcome.reason, many=True)
        print(f"aei: {shown(outcome.source)}: {message}", file=sys.stderr)

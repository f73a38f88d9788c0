"""Many files in one command: the options, the progress bar, the summary and the exit code."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..formats import AeiError
from ..formats.errors import shown
from . import output as out
from .files import STREAM, naming, read_input, write_output

if TYPE_CHECKING:
    from ..codec.files.batch import Outcome, Plan, Task
    from ..codec.files.convert import Converted

SOME_FAILED = 2  # exit code
MOST_LIST = 64 << 20  # bytes of a list of names
TWICE = 0.3  # seconds in which the same signal is one: `timeout` sends it to a group as well
STOPPING = b"stopping; files under way are finished first (again to stop at once)"


def options(function):
    """The options for many files, with `recursive`, `listed`, `jobs`, `skip_existing`,
    `keep_extension`, `dry_run`."""
    for option in reversed(
        [
            click.option("-r", "--recursive", is_flag=True, help="Subfolders of folders too."),
            click.option(
                "--from-list",
                "listed",
                metavar="FILE",
                type=click.Path(),
                help="Names of more files, one a line (- for stdin; NUL-separated as `find "
                "-print0` has them).",
            ),
            click.option(
                "-j",
                "--jobs",
                type=click.IntRange(1),
                help="Files at a time.  [default: one per CPU, fewer if memory is short]",
            ),
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
    if listed == STREAM and sys.stdin is None:
        raise AeiError("stdin is closed")
    if listed == STREAM:
        data = sys.stdin.buffer.read()
    else:  # a pipe too: --from-list <(find ...)
        with open(listed, "rb") as file:
            data = file.read(MOST_LIST + 1)
        if len(data) > MOST_LIST:
            raise AeiError(f"{listed}: over {MOST_LIST >> 20} MiB, which is no list of names")
    if b"\0" in data:
        names = data.split(b"\0")
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


def execute(
    plan: Plan,
    convert: Callable[[], Callable[[bytes], Converted]],
    jobs: int,
    *,
    verb: str,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Carry a plan out and report; ends the command with exit code 2 where files failed.

    convert: makes the function that converts one file, called only if there is work.
    """
    from ..codec.files import batch

    if not plan.tasks and not plan.settled:
        raise AeiError(_nothing_found(plan))
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
            one = convert()
            with (
                _stopping() as stopped,
                contextlib.closing(batch.run(plan.tasks, one, jobs, overwrite, stopped)) as results,
                _progress(plan.tasks, verb) as advance,
            ):
                for outcome in results:
                    outcomes.append(outcome)
                    report(outcome)
                    advance(outcome)
                if number := stopped():
                    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        finished = True
    finally:
        _summary(plan, outcomes, verb, time.perf_counter() - start, finished)
    if any(o.status in (batch.FAILED, batch.LEFT) for o in plan.settled + outcomes):
        raise click.exceptions.Exit(SOME_FAILED)


@contextlib.contextmanager
def _stopping() -> Iterator[Callable[[], int]]:
    """The number of the signal that asked to stop, or 0: Ctrl-C, or one that ends a service. What
    happens then is said at once; a second one ends the process at once, without half a file."""
    asked: list[int] = []
    first = 0.0

    def stop(number: int, frame: object) -> None:
        nonlocal first
        again = bool(asked)
        if again and time.monotonic() - first < TWICE:
            return
        asked.append(number)
        first = first or time.monotonic()
        text = b"stopped: files under way are lost" if again else STOPPING
        if not out.MODE.quiet and not out.MODE.json:
            # straight to the terminal: a signal may come while something else is being written
            os.write(2, b"\naei: " + text + b"\n")
        if again:
            from ..codec.files.storage import remove_own_parts

            remove_own_parts()
            os._exit(128 + number)

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as of jobs in the background
                before[number] = signal.signal(number, stop)
    try:
        yield lambda: asked[0] if asked else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing_found(plan: Plan) -> str:
    hints = []
    if plan.ignored:
        hints.append(f"{plan.ignored} files of other kinds")
    if plan.unentered:
        hints.append(f"{plan.unentered} subfolders, which --recursive enters")
    return "nothing to do: no images found" + (f" ({', '.join(hints)})" if hints else "")


def _dry_run(plan: Plan, verb: str) -> None:
    from ..codec.files import batch

    for task in plan.tasks:
        out.say(f"would {verb} {shown(task.source)} -> {shown(task.target)}")
        out.emit(file=str(task.source), output=str(task.target), status="planned")
    for outcome in plan.settled:
        out.emit(**_facts(outcome))
        if outcome.status == batch.SKIPPED:
            out.say(f"would skip {shown(outcome.source)}: {shown(outcome.target)} exists")
    failed = [o for o in plan.settled if o.status == batch.FAILED]
    total = sum(_size(task.source) for task in plan.tasks)
    out.tell(f"would {verb} {len(plan.tasks)} files, {_amount(total)}{_left_out(plan)}")
    _list_failures(failed)
    if failed:
        raise click.exceptions.Exit(SOME_FAILED)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


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
    if outcome.message:
        facts["message"] = out.advised(outcome.message, outcome.reason, many=True)
    return facts


def report(outcome: Outcome) -> None:
    """What became of a file: JSON, or a line with -v."""
    import logging

    from ..codec.files import batch

    out.emit(**_facts(outcome))
    log = logging.getLogger("aei.cli")
    if outcome.status == batch.DONE:
        if outcome.message:
            out.tell(f"{shown(outcome.source)}: {outcome.message}")
        log.info("%s", described(outcome))
    elif outcome.status in (batch.KEPT, batch.SKIPPED):
        log.info("%s: %s (%s)", shown(outcome.source), outcome.status, outcome.message)


def execute_one(
    source: str, target: str, convert: Callable[[bytes], Converted], force: bool
) -> Outcome:
    """Convert a single file, either side of which may be a stream, and report."""
    from ..codec.files import batch

    with naming(source):
        if STREAM not in (source, target):
            outcome = batch.convert_task(batch.Task(Path(source), Path(target)), convert, force)
        else:
            data = read_input(source)
            made = convert(data)
            write_output(target, made.data, force)
            outcome = batch.Outcome(
                Path(source), Path(target), batch.DONE, len(data), len(made.data), made.width,
                made.height, message=made.said, details=made.details,
            )  # fmt: skip
    if target != STREAM:
        report(outcome)
    elif outcome.message:
        out.tell(outcome.message)
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


@contextlib.contextmanager
def _progress(tasks: Iterable[Task], verb: str) -> Iterator[Callable[[Outcome], None]]:
    """A progress bar on a terminal: files, MB in and out, ratio, time left. By size, not by
    number."""
    if out.MODE.quiet or out.MODE.json or not sys.stderr.isatty():
        yield lambda outcome: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    sizes = {task.source: _size(task.source) for task in tasks}
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}/{task.fields[of]} files"),
        TextColumn("{task.fields[amounts]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    amounts = {"files": 0, "in": 0, "out": 0}
    with bar:
        task = bar.add_task(verb, total=sum(sizes.values()), files=0, of=len(sizes), amounts="")

        def advance(outcome: Outcome) -> None:
            amounts["files"] += 1
            amounts["in"] += outcome.bytes_in
            amounts["out"] += outcome.bytes_out
            bar.update(
                task,
                advance=sizes[outcome.source],
                files=amounts["files"],
                amounts=_ratio(amounts["in"], amounts["out"]),
            )

        yield advance


def _amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _ratio(size_in: int, size_out: int) -> str:
    if not size_in:
        return ""
    return f"{_amount(size_in)} -> {_amount(size_out)} ({100 * size_out / size_in:.1f} %)"


def _left_out(plan: Plan) -> str:
    text = ""
    if plan.ignored:
        text += f"; {plan.ignored} files of other kinds ignored"
    if plan.unentered:
        text += f"; {plan.unentered} subfolders not entered (--recursive)"
    return text


def _summary(
    plan: Plan, outcomes: list[Outcome], verb: str, seconds: float, finished: bool
) -> None:
    from ..codec.files import batch

    everything = plan.settled + outcomes
    counts = {status: 0 for status in (batch.DONE, batch.KEPT, batch.SKIPPED, batch.FAILED)}
    for outcome in everything:
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    made = [o for o in outcomes if o.status in (batch.DONE, batch.KEPT)]
    size_in, size_out = sum(o.bytes_in for o in made), sum(o.bytes_out for o in made)
    pixels = sum(o.width * o.height for o in made)
    larger = [o for o in made if o.status == batch.DONE and o.bytes_out >= o.bytes_in]
    out.emit(
        summary=counts, bytes_in=size_in, bytes_out=size_out, seconds=round(seconds, 3),
        images_per_second=round(len(made) / seconds, 3),
        megapixels_per_second=round(pixels / seconds / 1e6, 3),
        larger_than_source=len(larger), ignored=plan.ignored, finished=finished,
    )  # fmt: skip
    parts = [f"{counts[batch.DONE]} {verb}d"]
    for status in (batch.KEPT, batch.SKIPPED, batch.FAILED, batch.LEFT):
        if counts.get(status):
            parts.append(f"{counts[status]} {'not begun' if status == batch.LEFT else status}")
    text = ", ".join(parts)
    if made:
        text += f": {_ratio(size_in, size_out)} in {seconds:.1f} s"
        text += f", {len(made) / seconds:.2f} images/s, {pixels / seconds / 1e6:.2f} MP/s"
    out.tell(text + _left_out(plan))
    if verb == "encode" and larger:
        out.tell(
            f"{len(larger)} files are not smaller than their sources: "
            "a lower -q makes them so, --keep-smaller keeps the sources instead"
        )
    _list_failures([o for o in everything if o.status == batch.FAILED])
    if not finished:
        todo = len(plan.tasks) - len(outcomes)
        out.tell(
            f"stopped with {todo} files to do: the same command with --skip-existing does them"
        )


def _list_failures(failed: list[Outcome]) -> None:
    if out.MODE.json:
        return
    for outcome in failed:
        message = out.advised(outcome.message, outcome.reason, many=True)
        print(f"aei: {shown(outcome.source)}: {message}", file=sys.stderr)

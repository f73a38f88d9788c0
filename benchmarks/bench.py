"""A whole benchmark: choose the codecs, measure the points, time, and sum up."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ..formats import AeiError
from . import results as results_
from . import timing
from .cache import Cache, default_path
from .codecs import CodecError, PeerCodec
from .codecs.aei import SHIPPED
from .codecs.choose import choose
from .codecs.commands import command_codec, plugin_codecs
from .datasets import Dataset, load_dataset
from .environment import available_cpus
from .metrics import DEFAULT, Measure, choose_measures, command_measure, plugin_measures
from .published import published
from .run import Point, run


@dataclass
class Job:
    """What `aei bench` was asked for; its options are explained there."""

    names: str = "default"
    models: tuple[str, ...] = (SHIPPED,)
    commands: list[tuple[str, str, str]] = field(default_factory=list)
    plugins: list[Path] = field(default_factory=list)
    qualities: dict[str, tuple[float, ...]] = field(default_factory=dict)
    metrics: str = DEFAULT
    metric_commands: list[tuple[str, str]] = field(default_factory=list)
    error_commands: list[tuple[str, str]] = field(default_factory=list)
    metric_plugins: list[Path] = field(default_factory=list)
    limit: int | None = None
    anchor: str = results_.ANCHOR
    timed: int = 0
    repeats: int = 5
    threads: int | None = None
    learned: bool = False
    jobs: int | None = None
    cache: Path | None = None
    no_cache: bool = False
    timed_bpp: float = 0.75


def parse_qualities(texts: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """`NAME=Q,Q,...` as {name: qualities}. Raises CodecError that shows the form."""
    result = {}
    for text in texts:
        name, _, values = text.rpartition("=")
        try:
            numbers = sorted(float(v) for v in values.split(","))
            # Some libraries take whole numbers only.
            result[name] = tuple(int(v) if v.is_integer() else v for v in numbers)
        except ValueError:
            name = ""
        if not name:
            raise CodecError(f"{text!r}: write the qualities as NAME=10,40,80")
    return result


def added_codecs(job: Job) -> list[PeerCodec]:
    """The third parties' codecs that a job names."""
    commands = [command_codec(*command) for command in job.commands]
    return [codec for path in job.plugins for codec in plugin_codecs(path)] + commands


def chosen_measures(job: Job) -> list[Measure]:
    """What a job measures, third parties' metrics among it. Raises MetricError."""
    added = [command_measure(*command) for command in job.metric_commands]
    added += [command_measure(*command, smaller_is_better=True) for command in job.error_commands]
    added += [measure for path in job.metric_plugins for measure in plugin_measures(path)]
    return choose_measures(job.metrics, added)


def chosen_codecs(job: Job) -> tuple[list[PeerCodec], dict[str, str]]:
    """The codecs of a job at its qualities, and why others are left out. Raises CodecError."""
    codecs, left_out = choose(job.names, added_codecs(job), job.models)
    names = [c.name for c in codecs]
    for name in {n for n in names if names.count(n) > 1}:
        raise CodecError(f"{name}: two codecs of that name")
    for name, qualities in job.qualities.items():
        if name not in names:
            raise CodecError(f"{name!r}: no such codec in this run; there are {', '.join(names)}")
        codecs[names.index(name)].qualities = qualities
    if job.anchor not in names:
        raise CodecError(f"{job.anchor!r}: the codec that BD-rates refer to is not in this run")
    return codecs, left_out


def bench(dataset: str, job: Job, progress) -> dict:
    """Measure everything; `results.summary` of it. progress: a rich Progress, or None."""
    if find_spec("scipy") is None:  # hours before MS-SSIM and BD-rates want it
        raise ImportError("scipy", name="scipy")
    data = load_dataset(dataset, job.limit)
    codecs, left_out = chosen_codecs(job)
    measures = chosen_measures(job)
    try:
        cache = Cache(None if job.no_cache else job.cache or default_path())
    except (OSError, sqlite3.Error) as error:
        raise AeiError(
            f"{job.cache or default_path()}: the cache cannot be opened ({error}); name another "
            "with "
            "--cache, or go without by --no-cache"
        ) from None
    total = len(data) * sum(len(c.qualities) for c in codecs)
    task = progress.add_task(data.name, total=total) if progress else None

    def step(*_: str) -> None:
        if progress:
            progress.advance(task)

    try:
        points = run(data, codecs, step, job.jobs or available_cpus(), cache, measures)
    finally:
        cache.close()
    timings = None
    if job.timed:
        missing = timing.learned_missing() if job.learned else ""
        if missing:
            left_out["CompressAI's models"] = missing
        if progress:
            more = len(timing.LEARNED) if job.learned and not missing else 0
            task = progress.add_task("timing", total=len(codecs) + more)
        timings = _time(data, codecs, points, job, bool(job.learned and not missing), step)
    curves: dict = {}
    if data.name == "kodak":
        curves, reason = published()
        if reason:
            left_out["published curves"] = reason
    metrics = {metric.name: metric for m in measures for metric in m.metrics}
    return results_.summary(data, codecs, left_out, points, timings, curves, job.anchor, metrics)


def _time(
    data: Dataset, codecs: list[PeerCodec], points: list[Point], job: Job, learned: bool, step
) -> dict:
    qualities = timing.nearest_qualities(
        results_.curves(points), {c.name: list(c.qualities) for c in codecs}, job.timed_bpp
    )
    request = timing.Request(
        job.names, job.models, job.commands, job.plugins, qualities, learned, job.repeats,
        job.threads or available_cpus(),
    )  # fmt: skip
    images = [data.image(i)[1] for i in range(min(job.timed, len(data)))]
    return timing.time_codecs(request, images, step)

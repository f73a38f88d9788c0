"""A run of one machine in the manifest that Ray's runs have too: with neither Ray nor its workers,
so that either can go on where the other stopped."""

from __future__ import annotations

import os
from pathlib import Path

from ...formats import AeiError
from ...formats.errors import shown
from ..files.archive import Listed
from ..files.job import Job
from ..files.plan import DONE, FAILED, KEPT, SKIPPED, Outcome, Plan, Task
from . import manifest, objects
from .objects import Source


class Notes:
    """What becomes of the files of a plan, noted row by row.

    where: of the manifest. top: folder of the results, or of the files that are checked. force: do
    what is done, too. Raises AeiError, and the errors of file systems.
    """

    def __init__(self, job: Job, where: str, top: Path, force: bool = False):
        self._job, self._top = job, top
        self._done = set() if force else manifest.finished(where, job.digest)
        self._sources: dict[Path, Source] = {}
        self._run = manifest.new_run()
        self._into = manifest.Manifest(where, self._run)

    def settle(self, plan: Plan) -> None:
        """Take out of a plan what the manifest has as done."""
        tasks, plan.tasks = plan.tasks, []
        for task in tasks:
            if self.knows(task):
                message = "done before, says the manifest"
                plan.settled.append(Outcome(task.source, task.target, SKIPPED, message=message))
            else:
                plan.tasks.append(task)

    def knows(self, task: Task) -> bool:
        """Whether a file is done, and has not changed since."""
        try:
            source = objects.source_at(task.source, self._place(task.target))
        except (OSError, AeiError):  # which will be said when its turn comes
            source = Source(str(task.source), self._place(task.target), 0, "")
        self._sources[task.source] = source
        return manifest.key_of(source.url, source.version, self._job.digest) in self._done

    def add(self, outcome: Outcome) -> None:
        """Note what became of a file that was worked on."""
        if outcome.status not in (DONE, KEPT, FAILED):
            return
        source = self._sources[outcome.source]
        place = self._place(outcome.target) if outcome.target is not None else source.place
        facts = outcome.facts
        if outcome.status == FAILED:
            facts = {"status": FAILED, "error": outcome.message, "reason": outcome.reason}
        target = objects.joined(str(self._top), place)
        row = manifest.row_of(self._job, source, target, place, facts, outcome.seconds)
        self._into.add(manifest.table([{**row, "run": self._run}]))

    def close(self, complete: bool = True) -> None:
        """End the run; its rows stay, complete or not."""
        self._into.close()

    def _place(self, path: Path) -> str:
        return path.relative_to(self._top).as_posix()


def listed_in(where: str, folder: Path) -> dict[str, Listed]:
    """What a manifest lists of the files below a folder, by absolute path. Raises AeiError where
    there is no such manifest."""
    if not manifest.files(where):
        raise AeiError(f"{shown(where)} is no manifest: it holds no Parquet files of a run")
    found = manifest.listed(where)
    return {
        os.path.abspath(folder / place): Listed(folder / place, digest)
        for place, digest in found.items()
    }

"""`aei gallery`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import many
from . import output as out
from .progress import of_tasks, stopping

if TYPE_CHECKING:
    from .pages.gallery import Photo

FORMS = ("webp", "avif", "jpeg")
SUFFIX = ".x"  # behind names while they are planned: photo.aei and photo.jpg are two


@click.command("gallery")
@click.argument("sources", metavar="FOLDER...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", metavar="SITE", required=True, type=click.Path(file_okay=False),
              help="Folder for the pages, made if it is not there.")  # fmt: skip
@click.option("--title", help="Of the page.  [default: the folder's name]")
@click.option("--large", type=click.IntRange(0, 8192), default=1600, show_default=True,
              help="Pixels on the longer side of the copies that fill the window, at most; 0 for "
              "none.")  # fmt: skip
@click.option("--place", is_flag=True, help="Say where photographs were taken.")
@click.option("--images", is_flag=True, help="JPEG, PNG and other images too.")
@click.option("--format", "form", type=click.Choice(FORMS), default="webp", show_default=True,
              help="Of those copies.")  # fmt: skip
@click.option("--originals", is_flag=True,
              help="Put the .aei files there, without Exif, for browsers to decode; the copies are "
              "for those that cannot.")  # fmt: skip
@click.option("-j", "--jobs", type=click.IntRange(1), help="Files at a time.")
@click.option("--model", metavar="BUNDLE", type=click.Path(),
              help="Model bundle, for files written with one not shipped.")  # fmt: skip
@click.option("--open", "open_", is_flag=True, help="Open it in the web browser.")
def command(
    sources: tuple[str, ...],
    output: str,
    title: str | None,
    large: int,
    place: bool,
    images: bool,
    form: str,
    originals: bool,
    jobs: int | None,
    model: str | None,
    open_: bool,
) -> None:
    """Make static pages of the .aei files in FOLDER, its subfolders, or that a pattern names.

    Photographs are sorted and grouped by date. The pages open from disk and on any web server; what
    they hold is small copies, upright and in sRGB, and date, camera and exposure, but no place
    unless asked. Called again, it does only what is new or has changed.

    \b
    Examples:
      aei gallery photos/ -o site/
      aei gallery photos/ -o site/ --originals --format avif
    """
    look = {"large": large, "form": form, "originals": originals, "place": place}
    make(
        sources, output, look=look, title=title, images=images, jobs=jobs,
        model=model, open_=open_,
    )  # fmt: skip


def make(
    sources: tuple[str, ...],
    output: str,
    *,
    look: dict,
    title: str | None = None,
    images: bool = False,
    jobs: int | None = None,
    model: str | None = None,
    open_: bool = False,
) -> None:
    """Make a gallery and say so. look: as of pages.gallery.Look. Ends the command with exit code 2
    where files failed."""
    workers, threads = many.split_cpus(jobs)
    from ..codec import Codec
    from ..formats.errors import shown
    from .pages import gallery

    site = Path(output)
    if site.suffix.lower() in (".html", ".htm") and not site.is_dir():
        raise click.UsageError(f"-o names the folder of the pages: {site.with_suffix('')}")
    plan = _plan(sources, site, images)
    found = [(os.path.relpath(t.target, site).removesuffix(SUFFIX), t.source) for t in plan.tasks]
    how, codec = gallery.Look(**look), Codec(model, threads)
    first = Path(sources[0]).resolve()
    title = title or (first if first.is_dir() else first.parent).name or "Photographs"
    run = _Run(workers)
    photos, failed = gallery.build(site, found, run, how, codec, title)
    failed += [(outcome.source, outcome.message) for outcome in plan.settled]
    if how.originals and photos:
        models = {photo.model for photo in photos if photo.model}
        gallery.add_decoder(site, models, codec)
    page = site / "index.html"
    out.emit(
        output=str(page), photographs=len(photos), failed=[str(path) for path, _ in failed],
        left=run.left,
    )  # fmt: skip
    if photos:
        out.say(f"{page}: {len(photos)} photograph{'s' * (len(photos) != 1)}")
    else:
        out.tell(f"no photograph could be read: {site} gets no pages")
    for path, why in failed:
        out.tell(f"aei: {shown(path)}: {why}")
    if run.left:
        out.tell(f"stopped with {run.left} files to do: the same command does them")
    many.end_if(run.stopped_by)
    if open_ and photos:
        click.launch(page.resolve().as_uri())
    if failed:
        raise click.exceptions.Exit(many.SOME_FAILED)


def _plan(sources: tuple[str, ...], site: Path, images: bool):
    """Which photographs are meant. Raises AeiError where there are none."""
    from ..codec.files import plan as planning
    from ..codec.files.convert import image_suffixes
    from ..formats import AeiError

    plan = planning.make_plan(
        sources,
        suffixes={".aei", *image_suffixes()} if images else {".aei"},
        new_suffix=SUFFIX,
        output=site,
        recursive=True,
        keep_extension=True,
        overwrite=True,
    )
    if not plan.tasks:
        others = f" ({plan.ignored} files of other kinds)" if plan.ignored else ""
        more = "; `aei gallery --images` shows other images too" if others and not images else ""
        raise AeiError(f"nothing to do: no .aei files found{others}{more}")
    return plan


class _Run:
    """Photographs as they are made, several at a time, with a bar or lines on stderr. Ctrl-C lets
    those under way finish. stopped_by: the signal, or 0; left: files that were not begun."""

    def __init__(self, workers: int):
        self.workers = workers
        self.stopped_by = self.left = 0

    def __call__(self, one: Callable[..., Photo], todo: list[tuple[str, Path]]):
        from ..codec.files import batch
        from ..codec.files.plan import DONE, Outcome, Task

        names = {path: name for name, path in todo}
        tasks = [Task(path, path) for path in names]
        made: dict[Path, Photo] = {}
        progress = of_tasks(tasks, "gallery")

        def work(task: Task) -> Outcome:
            progress.tick(task, 0, 1)
            told = functools.partial(progress.tick, task)
            photo = made[task.source] = one(names[task.source], task.source, told)
            return Outcome(
                task.source, None, DONE, photo.bytes, width=photo.width, height=photo.height
            )

        with stopping(progress) as stopped, progress.displayed():
            for outcome in batch.run_tasks(tasks, work, self.workers, stopped):
                progress.advance(outcome)
                done = outcome.status == DONE
                why = out.advised(outcome.message, outcome.reason)
                yield made[outcome.source] if done else (outcome.source, why)
            self.left = len(tasks) - progress.files
            self.stopped_by = stopped() if self.left else 0

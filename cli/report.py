"""`aei report`."""

from __future__ import annotations

from pathlib import Path

import click

from . import output as out
from .files import check_output, write_output


@click.command("report")
@click.argument("source", metavar="RESULTS", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="Page to write.  [default: RESULTS with .html]")  # fmt: skip
@click.option("--bpp", type=click.FloatRange(0.01, 24), default=0.25, show_default=True,
              help="Size of the pictures' files, in bits per pixel.")  # fmt: skip
@click.option(
    "--pictures",
    type=click.IntRange(0),
    metavar="N",
    help="Show only the first N images as pictures; 0 for none.  [default: all, at most 24]",
)
@click.option(
    "--codecs",
    "names",
    metavar="NAMES",
    help="Codecs of the pictures.  [default: aei, JPEG, WebP and AVIF, as far as RESULTS has them]",
)
@click.option("--images", metavar="kodak|cifar10|DIR", help="Where the images are, if they moved.")
@click.option("--model", metavar="BUNDLE", help="Model bundle to use instead of the one shipped.")
@click.option("-f", "--force", is_flag=True, help="Replace the page if it exists.")
def command(
    source: Path,
    output: Path | None,
    bpp: float,
    pictures: int | None,
    names: str | None,
    images: str | None,
    model: str | None,
    force: bool,
) -> None:
    """Turn the JSON of aei bench into one HTML page: charts, sortable tables, and every image by
    any two codecs at the same bytes with a slider.

    The page opens from disk and needs no network. The pictures are coded anew at the size asked
    for.

    \b
    Examples:
      aei report results/kodak.json
      aei report results/kodak.json --bpp 0.15 --codecs aei,JPEG,AVIF -o small.html
      aei report photos.json --images ~/photos --pictures 8
    """
    from ..benchmarks.results import load
    from ..formats import AeiError

    target = output or source.with_suffix(".html")
    check_output(str(target), str(source), force)
    try:
        facts, points = load(source)
    except ValueError as error:
        raise AeiError(str(error)) from None
    from .pages.report import report

    shown = None if pictures == 0 else _pictures(facts, bpp, pictures or 24, names, images, model)
    text = report(facts, points, shown)
    write_output(str(target), text.encode())
    out.emit(output=str(target))
    out.say(f"wrote {target} ({len(text) / 1e6:.1f} MB)")


def _pictures(
    facts: dict, bpp: float, count: int, names: str | None, images: str | None, model: str | None
) -> dict | None:
    from ..benchmarks import datasets
    from ..benchmarks.codecs.choose import choose
    from ..benchmarks.environment import available_cpus
    from .bench import progress_bar
    from .pages.report import coded_pictures, for_pictures

    try:
        data = datasets.load_dataset(images or facts["dataset"], min(count, facts["images"]))
    except datasets.DataMissingError as reason:
        out.tell(f"no pictures: {reason}; name their folder with --images")
        return None
    if names:
        chosen, _ = choose(names, [], (model or "shipped",))
    else:
        found, _ = choose("all", [], (model or "shipped",))
        chosen = for_pictures([c for c in found if c.name in facts["codecs"]])
    with progress_bar() as progress:
        task = progress.add_task("pictures", total=len(data))
        return coded_pictures(
            data, chosen, bpp, lambda: progress.advance(task), max(1, available_cpus())
        )

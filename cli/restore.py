"""`aei restore`, and what `aei enhance` shares with it."""

from __future__ import annotations

from pathlib import Path

import click

from ..codec.settings import AUTO, RESTORING
from . import output as out
from .files import STREAM, check_output, naming, read_input, write_output

PAGE_SIDE = 1536  # pixels; larger images are scaled down for the page


def shared(function):
    """The options of both commands."""
    for option in reversed([
        click.option("--restore-bundle", "bundle", metavar="DIR", type=click.Path(),
                     help="Restoring bundle, or folder of several, instead of those installed."),
        click.option("--page", metavar="PAGE", type=click.Path(),
                     help="Also write a web page with the image before and after under a slider."),
        click.option("-f", "--force", is_flag=True, help="Replace OUT and PAGE if they exist."),
    ]):  # fmt: skip
        function = option(function)
    return function


@click.command("restore")
@click.argument("source", metavar="IN", type=click.Path())
@click.argument("target", metavar="OUT", type=click.Path())
@click.option(
    "-k", "--kind", default="auto", show_default=True,
    type=click.Choice([AUTO, *RESTORING]), help="What to take out; auto measures.",
)  # fmt: skip
@shared
def command(
    source: str, target: str, kind: str, bundle: str | None, page: str | None, force: bool
) -> None:
    """Take noise, JPEG blocks or blur out of the image IN, and write it as OUT (PNG, JPEG, WebP,
    ...; - for stdout as PNG).

    Says on stderr what it did; where auto finds nothing to do, OUT is the image as it was.
    Transparency and metadata are kept. Needs the networks: pip install aei-codec-restore.

    \b
    Examples:
      aei restore night.jpg clean.png
      aei restore night.jpg clean.png --kind denoise --page night.html
      aei encode night.jpg --restore denoise       the same, straight to a smaller .aei file
    """
    run(source, target, page, force, bundle, restore=kind)


def run(
    source: str,
    target: str,
    page: str | None,
    force: bool,
    bundle: str | None,
    restore: str | None = None,
    enhance: str | None = None,
) -> None:
    """Read, restore or enhance by a kind, write, tell."""
    check_output(target, source, force)
    if target == STREAM and out.MODE.json:
        raise click.UsageError("--json and the image both want stdout: name a file for OUT")
    if page is not None:
        if page == target:
            raise click.UsageError("OUT and the page are one file: name another --page")
        check_output(page, source, force)
    from ..codec.files.convert import image_file, open_image, output_format
    from ..codec.restore.restorers import Restorers

    format_ = "PNG" if target == STREAM else output_format(Path(target).suffix)
    with naming(source):
        data = read_input(source)
        image, _ = open_image(data)
        applied = Restorers(bundle).apply(image, restore, enhance)
        written = image_file(applied.image, format_)
        text = None
        if page is not None:
            from .compare import read_photo
            from .pages.pages import before_after

            before, note = read_photo(data, PAGE_SIDE)
            after, _ = read_photo(image_file(applied.image, "PNG"), PAGE_SIDE)
            name = "image" if source == STREAM else click.format_filename(source, shorten=True)
            text = before_after(before, after, name, applied.said, note)
    write_output(target, written, force)
    if text is not None and page is not None:
        write_output(page, text.encode(), force)
    out.tell(f"{'stdin' if source == STREAM else source}: {applied.said}")
    if target != STREAM:
        out.emit(output=target, page=page, kinds=applied.kinds, message=applied.said)
        out.say(f"wrote {target}" + (f" and {page}" if page else ""))

"""`aei view`."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import click

from . import output as out
from .files import STREAM, check_output, naming, output_path, read_input, write_output


@click.command("view")
@click.argument("source", metavar="FILE", type=click.Path())
@click.option("-o", "--output", metavar="OUT", type=click.Path(),
              help="Page to write; - for stdout; of a folder the folder for its pages.  [default: "
              "FILE with .html; of a folder a place among caches]")  # fmt: skip
@click.option("--ansi", is_flag=True, help="Show it in the terminal (24-bit colours) instead.")
@click.option(
    "--columns", type=click.IntRange(8), help="Width for --ansi.  [default: the terminal's]"
)
@click.option("--open", "open_", is_flag=True, help="Open the page in the web browser.")
@click.option(
    "--model", metavar="BUNDLE", type=click.Path(),
    help="Model bundle, for files written with one not shipped.",
)  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace the page if it exists.")
def command(
    source: str,
    output: str | None,
    ansi: bool,
    columns: int | None,
    open_: bool,
    model: str | None,
    force: bool,
) -> None:
    """Show the .aei file FILE (- for stdin): the image, its header, and where the bits went.

    Where FILE is a folder, its photographs are shown as `aei gallery` does, at once.

    Writes one web page that needs nothing else, with the heat map over the image and a slider to
    mix them.

    \b
    Examples:
      aei view photo.aei --open
      aei view photo.aei --ansi
      aei view photos/
    """
    if os.path.isdir(source):
        if ansi:
            raise click.UsageError("--ansi shows one file")
        _folder(source, output, model)
        return
    target = output_path(source, output, ".html")
    if not ansi:
        check_output(target, source, force)
    with naming(source):
        data = read_input(source)
        from ..codec import Codec
        from ..codec.inspect.account import bit_map
        from .pages import view

        codec = Codec(model)
        if ansi:
            image = codec.decode(data)
            bits, side = bit_map(codec, data)
            width = columns or shutil.get_terminal_size().columns
            click.echo(view.ansi(image, width), color=True)
            click.echo("\nwhere the bits went:")
            heat = view.heat_image(bits).resize((bits.shape[1] * side, bits.shape[0] * side), 0)
            click.echo(view.ansi(heat.crop((0, 0, *image.size)), width), color=True)
            for label, value in view.facts(data, codec, bits, side).items():
                click.echo(f"{label:>24}  {value}")
            return
        name = "stdin" if source == STREAM else Path(source).name
        page = view.page(data, codec, name.encode("utf-8", "backslashreplace").decode())
    write_output(target, page.encode(), force)
    if target != STREAM:
        out.emit(output=target, bytes=len(page))
        out.say(f"wrote {target}")
        if open_:
            click.launch(Path(target).resolve().as_uri())


def _folder(source: str, output: str | None, model: str | None) -> None:
    """Make a gallery of a folder, not beside it, and open it."""
    from .gallery import make

    if output is None:
        key = hashlib.sha256(os.fsencode(Path(source).resolve())).hexdigest()[:16]
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        output = str(Path(caches) / "aei" / "galleries" / key)
    make((source,), output, look={}, model=model, open_=True)

"""`aei view`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from . import output as out
from .files import STREAM, check_output, naming, output_path, read_input, write_output


@click.command("view")
@click.argument("source", metavar="FILE", type=click.Path())
@click.option("-o", "--output", metavar="OUT", type=click.Path(),
              help="Page to write; - for stdout.  [default: FILE with .html]")  # fmt: skip
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

    Writes one web page that needs nothing else, with the heat map over the image and a slider to
    mix them.

    \b
    Examples:
      aei view photo.aei --open
      aei view photo.aei --ansi
    """
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

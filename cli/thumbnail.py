"""`aei thumbnail`."""

from __future__ import annotations

import click

from . import output as out
from .files import STREAM, check_output, naming, read_input, write_output


@click.command("thumbnail")
@click.argument("source", metavar="FILE", type=click.Path())
@click.argument("target", metavar="OUT", type=click.Path())
@click.option("--size", type=click.IntRange(1), default=256, show_default=True,
              help="Largest width and height in pixels.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace the output if it exists.")
def command(source: str, target: str, size: int, force: bool) -> None:
    """Write a small PNG of the .aei file FILE, upright, for file managers.

    \b
    Example:
      aei thumbnail photo.aei preview.png --size 128
    """
    check_output(target, source, force)
    with naming(source):
        from ..codec.files.convert import thumbnail

        data = thumbnail(read_input(source), size)
    write_output(target, data, force)
    if target != STREAM:
        out.emit(output=target, bytes=len(data))

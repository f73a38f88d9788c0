"""`aei thumbnail`."""

from __future__ import annotations

from pathlib import Path

import click

from . import many
from . import output as out
from .files import STREAM, check_output, naming, read_input, write_output


@click.command("thumbnail")
@click.argument("sources", metavar="FILE OUT | IN... -o OUT", nargs=-1, type=click.Path())
@click.option("-o", "--output", metavar="OUT", type=click.Path(),
              help="PNG to write, - for stdout; for many files a folder.")  # fmt: skip
@click.option("--size", type=click.IntRange(1), default=256, show_default=True,
              help="Largest width and height in pixels.")  # fmt: skip
@many.options
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist.")
def command(
    sources: tuple[str, ...],
    output: str | None,
    size: int,
    recursive: bool,
    listed: str | None,
    jobs: int | None,
    skip_existing: bool,
    keep_extension: bool,
    dry_run: bool,
    force: bool,
) -> None:
    """Write a small PNG of an .aei file, upright, for file managers.

    With -o, IN may be several files, folders and quoted patterns; OUT then names a folder. Files
    that have a preview of that size in them take milliseconds, others a small part of the time that
    decoding takes.

    \b
    Examples:
      aei thumbnail photo.aei preview.png --size 128
      aei thumbnail photos/ -o thumbnails/ --recursive --skip-existing
    """
    if skip_existing and force:
        raise click.UsageError("--skip-existing leaves outputs, --force replaces them: give one")
    if output is None:
        if len(sources) != 2 or listed is not None:
            raise click.UsageError("give FILE and OUT, or files and folders and -o OUT")
        source, output = sources
        sources = (source,)
        is_many = False
    else:
        is_many = many.is_many(sources, output, listed)
    if not is_many:
        _one(sources[0], output, size, skip_existing, dry_run, force)
        return
    many.check_usage(sources, output, listed)
    workers, threads = many.split_cpus(jobs)
    from ..codec import Codec
    from ..codec.files import plan as planning
    from ..codec.files.convert import Converted, thumbnail

    plan = planning.make_plan(
        sources,
        many.read_list(listed),
        suffixes={".aei"},
        new_suffix=".png",
        output=Path(output),
        recursive=recursive,
        keep_extension=keep_extension,
        skip_existing=skip_existing,
        overwrite=force,
    )

    def load():
        codec = Codec(threads=threads)

        def one(data: bytes, progress: object = None) -> Converted:  # too short to be told
            made = thumbnail(data, size, codec)
            # width and height stand there in a PNG
            width, height = (int.from_bytes(made[at : at + 4], "big") for at in (16, 20))
            return Converted(made, width, height)

        return one

    many.execute(plan, load, workers, verb="reduce", overwrite=force, dry_run=dry_run)


def _one(source: str, output: str, size: int, skip_existing: bool, dry_run: bool, force: bool):
    if many.is_settled(source, output, skip_existing, dry_run, "reduce"):
        return
    check_output(output, source, force)
    with naming(source):
        from ..codec.files.convert import thumbnail

        # of a file only as much is read as is needed
        data = thumbnail(read_input(source) if source == STREAM else source, size)
    write_output(output, data, force)
    if output != STREAM:
        out.emit(output=output, bytes=len(data))

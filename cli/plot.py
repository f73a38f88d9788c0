"""`aei plot`."""

from __future__ import annotations

from pathlib import Path

import click

from . import output as out


@click.command("plot")
@click.argument("source", metavar="RESULTS|RUN", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="Picture to write.  [default: RESULTS with .png, or RUN/loss.png]")  # fmt: skip
@click.option(
    "--kind",
    type=click.Choice(["rd", "time", "images"]),
    default="rd",
    show_default=True,
    help="Rate-distortion curves, BD-rate against time, or BD-rate of each image.",
)
@click.option("--codecs", metavar="NAMES", help="Only these, with commas between them.")
@click.option("-f", "--force", is_flag=True, help="Replace the picture if it exists.")
def command(source: Path, output: Path | None, kind: str, codecs: str | None, force: bool) -> None:
    """Draw rate-distortion curves from the JSON file of `aei bench`, or loss curves from the folder
    of `aei train`.

    \b
    Examples:
      aei plot results/kodak.json -o kodak.svg
      aei plot results/kodak.json --kind time -o speed.png
      aei plot run/
    """
    from ..benchmarks.plots import plot, plot_run
    from ..formats import AeiError

    path = output or (source / "loss.png" if source.is_dir() else source.with_suffix(".png"))
    if path.exists() and not force:
        raise AeiError(f"{path} exists", reason="exists")
    try:
        if source.is_dir():
            plot_run(source, path)
        else:
            names = tuple(n.strip() for n in codecs.split(",")) if codecs else ()
            plot(source, path, kind, names)
    except ValueError as error:
        raise AeiError(str(error)) from None
    out.emit(output=str(path))
    out.say(f"wrote {path}")

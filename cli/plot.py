"""`aei plot`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("plot")
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="Picture to write.  [default: RESULTS with .png]")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace the picture if it exists.")
def command(results: Path, output: Path | None, force: bool) -> None:
    """Draw the rate-distortion curves of RESULTS, a JSON file of `aei bench`.

    \b
    Example:
      aei plot results/kodak.json -o kodak.png
    """
    from ..benchmarks.plots import plot
    from ..formats import AeiError

    path = output or results.with_suffix(".png")
    if path.exists() and not force:
        raise AeiError(f"{path} exists: choose another name with -o, or --force to replace it")
    try:
        plot(results, path)
    except ValueError as error:
        raise AeiError(str(error)) from None
    click.echo(f"wrote {path}")

"""`aei export`."""

from __future__ import annotations

from pathlib import Path

import click

from . import output as out
from .train import data_folder


@click.command("export")
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data",
    required=True,
    help="The training folder, or cifar10: its images calibrate the integer prior.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle folder."
)
@click.option("--name", default="base", show_default=True, help="Name in the manifest.")
@click.option("-f", "--force", is_flag=True, help="Replace the bundle if it exists.")
def command(checkpoint: Path, data: str, output: Path, name: str, force: bool) -> None:
    """Turn CHECKPOINT (last.pt or best.pt of `aei train`) into a model bundle.

    Proves that every accumulator of the integer prior stays below 2^52, and prints the rate lost from
    the float prior to the integer one.

    \b
    Example:
      aei export run/last.pt --data photos/ -o my.bundle
    """
    from ..formats import AeiError

    if output.exists() and not force:
        raise AeiError(f"{output} exists: choose another name with -o, or --force to replace it")
    from ..codec.training.export import export_checkpoint

    try:
        manifest = export_checkpoint(checkpoint, data_folder(data), output, name)
    except (ValueError, FileNotFoundError) as error:
        raise AeiError(str(error)) from None
    out.emit(output=str(output), **manifest)
    out.say(f"{output}: model {manifest['name']}, fingerprint {manifest['fingerprint']}")
    for index, row in manifest["integer_prior"].items():
        lost = f"{row['lost_percent']:+.3f} % of the float prior's rate"
        out.say(f"  gain index {index:>3}: integer prior {lost}")

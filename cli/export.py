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
    help="The training folder, or cifar10: its images calibrate the integer prior. Not for "
    "restoring networks, nor with "
    "--keep-prior.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle folder."
)
@click.option("--name", help="Name in the manifest.  [default: the folder's, or what is restored]")
@click.option(
    "--keep-prior",
    metavar="BUNDLE",
    help="Take all but g_a and g_s from this bundle, whose files then stay valid; for what was "
    "trained with --init-from it and --freeze-prior.",
)
@click.option(
    "--decoder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write what readers and browsers need of it into this folder, as `aei model decoder` "
    "does.",
)
@click.option("-f", "--force", is_flag=True, help="Replace the bundle if it exists.")
def command(
    checkpoint: Path,
    data: str | None,
    output: Path,
    name: str | None,
    keep_prior: str | None,
    decoder: Path | None,
    force: bool,
) -> None:
    """Turn CHECKPOINT (last.pt or best.pt of `aei train`) into a model bundle.

    Proves that every accumulator of the integer prior stays below 2^52, and prints the rate lost
    from the float prior to the integer one.

    \b
    Examples:
      aei export run/last.pt --data photos/ -o my.bundle
      aei export run/last.pt --data photos/ -o my.bundle --decoder readers/
      aei export denoise/last.pt -o denoise.bundle       of a run with --restore
      aei export tuning/last.pt --keep-prior my.bundle -o tuned.bundle
    """
    from ..formats import AeiError

    if output.exists() and not force:
        raise AeiError(f"{output} exists", reason="exists")
    from ..codec.models.bundle import Bundle
    from ..codec.training.export.export import export_checkpoint
    from ..codec.training.export.prune import export_transforms

    try:
        if keep_prior is not None:
            name = name or output.stem
            manifest = export_transforms(checkpoint, Bundle(keep_prior), output, name)
        else:
            folder = None if data is None else data_folder(data)
            manifest = export_checkpoint(checkpoint, folder, output, name)
    except (ValueError, FileNotFoundError) as error:
        raise AeiError(str(error)) from None
    readers: dict[str, list[str]] = {}
    if decoder is not None:
        if "restores" in manifest:
            raise AeiError(f"{output}: a restoring network has no form for reading alone")
        from ..codec.training.export.decoder_only import write_decoder

        paths = write_decoder(Bundle(output), decoder, overwrite=force)
        readers = {"readers": [str(path) for path in paths]}
    out.emit(output=str(output), **manifest, **readers)
    if "restores" in manifest:
        size = sum(p.stat().st_size for p in output.iterdir())
        out.say(f"{output}: restores by {manifest['restores']}, {size / 1e6:.1f} MB")
        return
    out.say(f"{output}: model {manifest['name']}, fingerprint {manifest['fingerprint']}")
    for path in readers.get("readers", []):
        out.say(f"{path}: for reading alone")
    if keep_prior is not None:
        return
    for index, row in manifest["integer_prior"].items():
        lost = f"{row['lost_percent']:+.3f} % of the float prior's rate"
        out.say(f"  gain index {index:>3}: integer prior {lost}")

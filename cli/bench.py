"""`aei bench`."""

from __future__ import annotations

import os
from pathlib import Path

import click

SHIPPED = "shipped"


@click.command("bench")
@click.argument("dataset", metavar="kodak|cifar10|DIR")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="Results as JSON, with a CSV beside it.  [default: DATASET.json]")  # fmt: skip
@click.option("--model", "models", metavar="BUNDLE", multiple=True,
              help="Model bundle to use instead of the one shipped; give it several times to compare "
              "several, `shipped` being that one.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Use only the first so many images.")
@click.option("--jobs", type=click.IntRange(1), default=lambda: os.cpu_count() or 1,
              help="Images at a time.  [default: one per CPU]")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace the results if they exist.")
def command(
    dataset: str,
    output: Path | None,
    models: tuple[str, ...],
    limit: int | None,
    jobs: int,
    force: bool,
) -> None:
    """Compare aei with JPEG, WebP and AVIF on real files: bytes, PSNR, MS-SSIM, BD-rate.

    kodak and cifar10 are looked for in $AEI_DATA, ./data or ../shared/data.

    \b
    Examples:
      aei bench kodak -o results/kodak.json
      aei bench photos/ --limit 20
      aei bench cifar10 --model shipped --model cae.bundle
      aei plot results/kodak.json
    """
    from ..benchmarks import codecs, datasets
    from ..benchmarks import run as bench
    from ..formats import AeiError

    data = datasets.load_dataset(dataset, limit)
    path = output or Path(f"{data.name}.json")
    if path.exists() and not force:
        raise AeiError(f"{path} exists: choose another name with -o, or --force to replace it")
    ours = [codecs.aei_codec(None if m == SHIPPED else m) for m in models or (SHIPPED,)]
    if len({c.name for c in ours}) < len(ours):
        raise click.UsageError("two of the models have one name: export them with different --name")
    chosen = [*ours, *codecs.peer_codecs()]
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        total = len(data) * sum(len(c.qualities) for c in chosen)
        task = progress.add_task(data.name, total=total)
        points = bench.run(data, chosen, lambda: progress.advance(task), jobs)
    bench.save(path, data, chosen, points)
    print_table(points)
    click.echo(f"results in {path} and {path.with_suffix('.csv')}")


def print_table(points) -> None:
    """BD-rates as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    from ..benchmarks.run import bd_table, curves

    table = Table(title="BD-rate against Pillow's default JPEG, in per cent (window in dB)")
    for heading in ("codec", "PSNR", "PSNR, no headers", "MS-SSIM", "bpp from", "to"):
        table.add_column(heading, justify="left" if heading == "codec" else "right")
    rates = curves(points)

    def cell(row: dict, key: str) -> str:
        if row.get(key) is None:
            return "-"
        low, high = row[f"{key}_window_db"]
        return f"{row[key]:+.1f} ({low:.1f}..{high:.1f})"

    for row in bd_table(points):
        bpp = rates[row["codec"]][0]
        table.add_row(
            row["codec"], cell(row, "psnr"), cell(row, "psnr_without_headers"), cell(row, "ms_ssim"),
            f"{min(bpp):.3f}", f"{max(bpp):.3f}",
        )  # fmt: skip
    Console(width=120).print(table)

"""`aei bench`."""

from __future__ import annotations

from pathlib import Path

import click

from . import output as out
from .files import check_output, write_output


@click.command("bench")
@click.argument("dataset", metavar="kodak|cifar10|DIR", required=False)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="Results as JSON, with a CSV beside it.  [default: DATASET.json]")  # fmt: skip
@click.option("--codecs", "names", default="default", show_default=True, metavar="NAMES",
              help="default (all but the slow ones), all, or names with commas between them.")  # fmt: skip
@click.option(
    "--list", "list_", is_flag=True, help="List the codecs with their settings, and stop."
)
@click.option("--command", "commands", nargs=3, multiple=True, metavar="NAME ENCODE DECODE",
              help="Add a codec that is two commands with {in}, {out} and {q}.")  # fmt: skip
@click.option("--qualities", multiple=True, metavar="NAME=Q,Q,...",
              help="Points of a codec's curve, instead of its own.")  # fmt: skip
@click.option("--plugin", "plugins", multiple=True, metavar="FILE.py",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Add the codecs of a Python file's list CODECS.")  # fmt: skip
@click.option("--model", "models", metavar="BUNDLE", multiple=True, default=("shipped",),
              help="Model bundle to use instead of the one shipped; give it several times to compare "
              "several, `shipped` being that one.")  # fmt: skip
@click.option("--metric", "metrics", multiple=True, type=click.Choice(["ssimulacra2"]),
              help="Measure this too (slow).")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Use only the first so many images.")
@click.option("--anchor", default="JPEG", show_default=True, help="Codec that BD-rates refer to.")
@click.option("--time", "timed", type=click.IntRange(0), default=0, metavar="N",
              help="Time every codec on N images too, one codec at a time.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True,
              help="Measured runs per image; the median counts.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="CPUs while timing.  [default: all]")
@click.option("--learned", is_flag=True,
              help="Time CompressAI's models too, with random weights (needs [train]).")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), help="Images at a time.  [default: one per CPU]")
@click.option("--cache", "cache_path", type=click.Path(dir_okay=False, path_type=Path),
              help="Where points are kept.  [default: ~/.cache/aei/bench.sqlite]")  # fmt: skip
@click.option("--no-cache", is_flag=True, help="Measure everything again, and keep nothing.")
@click.option("-f", "--force", is_flag=True, help="Replace the results if they exist.")
def command(
    dataset: str | None,
    output: Path | None,
    names: str,
    list_: bool,
    commands: tuple[tuple[str, str, str], ...],
    qualities: tuple[str, ...],
    plugins: tuple[Path, ...],
    models: tuple[str, ...],
    metrics: tuple[str, ...],
    limit: int | None,
    anchor: str,
    timed: int,
    repeats: int,
    threads: int | None,
    learned: bool,
    jobs: int | None,
    cache_path: Path | None,
    no_cache: bool,
    force: bool,
) -> None:
    """Compare image codecs on real files: bytes, PSNR, MS-SSIM, BD-rate, and with --time their speed.

    kodak and cifar10 are looked for in $AEI_DATA, ./data or ../shared/data. Points are kept as they are
    measured: a run that was stopped goes on, and a codec added later runs alone.

    \b
    Examples:
      aei bench kodak -o results/kodak.json
      aei bench kodak --codecs aei,JPEG,AVIF --time 2 --threads 1
      aei bench cifar10 --model shipped --model cae.bundle
      aei bench photos/ --limit 20 --metric ssimulacra2
      aei bench photos/ --command mine "mine -q {q} {in} {out}" "mine -d {in} {out}" \\
                        --qualities mine=10,40,80
      aei plot results/kodak.json && aei report results/kodak.json
    """
    from ..benchmarks import bench, codecs
    from ..benchmarks.results import to_csv, to_json

    job = bench.Job(
        names, models, list(commands), list(plugins), bench.parse_qualities(qualities),
        metrics, limit, anchor, timed, repeats, threads, learned, jobs,
        None if no_cache else cache_path, no_cache,
    )  # fmt: skip
    if list_:
        print_codecs(*codecs.choose("all", bench.added_codecs(job), models))
        return
    if dataset is None:
        raise click.UsageError("name a dataset: kodak, cifar10, or a folder of images")
    path = output or Path(f"{Path(dataset).resolve().name}.json")
    check_output(str(path), dataset, force)
    with progress_bar() as progress:
        results = bench.bench(dataset, job, progress)
    write_output(str(path), to_json(results).encode())
    write_output(str(path.with_suffix(".csv")), to_csv(results["points"]).encode())
    if not (out.MODE.json or out.MODE.quiet):
        print_results(results)
    for name, reason in results["left_out"].items():
        out.tell(f"left out {name}: {reason}")
    out.emit(results=str(path), csv=str(path.with_suffix(".csv")), bd_rate=results["bd_rate"])
    out.say(f"results in {path} and {path.with_suffix('.csv')}")


def progress_bar():
    """A bar with counts and the time left, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def print_codecs(found, left_out: dict[str, str]) -> None:
    """The codecs, their settings and versions, and why others are absent, as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for heading in ("codec", "settings", "version"):
        table.add_column(heading, overflow="fold")
    for codec in found:
        name = f"{codec.name} (slow)" if codec.slow else codec.name
        table.add_row(name, codec.settings, codec.version)
    for name, reason in left_out.items():
        table.add_row(name, f"not here: {reason}", "")
    Console().print(table)


def print_results(results: dict) -> None:
    """BD-rates, and times where they were taken, as tables on stdout."""
    from rich.console import Console
    from rich.table import Table

    def table(title: str, headings: tuple[str, ...], rows: list[list[str]]) -> None:
        made = Table(title=title)
        for i, heading in enumerate(headings):
            made.add_column(heading, justify="right" if i else "left")
        for row in rows:
            made.add_row(*row)
        Console(width=150).print(made)

    def cell(row: dict, key: str) -> str:
        if row.get(key) is None:
            return "-"
        low, high = row[f"{key}_window"]
        sure = row.get(f"{key}_interval")
        more = f" [{sure[0]:+.1f}, {sure[1]:+.1f}]" if sure else ""
        return f"{row[key]:+.1f}{more} ({low:.1f}..{high:.1f})"

    keys = {"psnr": "PSNR", "psnr_without_headers": "PSNR, no headers", "psnr_yuv": "PSNR YCbCr",
            "ms_ssim": "MS-SSIM", "ssimulacra2": "SSIMULACRA 2"}  # fmt: skip
    shown = [k for k in keys if any(row.get(k) is not None for row in results["bd_rate"])]
    table(
        f"BD-rate against {results['anchor']}, % [95 % interval over images] (window)",
        ("codec", *(keys[k] for k in shown)),
        [[row["codec"], *(cell(row, k) for k in shown)] for row in results["bd_rate"]],
    )
    times = results["timings"]
    if times:
        table(
            f"Median seconds for {times['megapixels']:g} megapixels, {times['threads']} threads",
            ("codec", "quality", "bits per pixel", "encode", "decode"),
            [
                [row["codec"], f"{row['quality']:g}", "-" if row["bpp"] is None else f"{row['bpp']:.3f}",
                 f"{row['encode_s']:.4f}", f"{row['decode_s']:.4f}"]
                for row in times["codecs"]
            ],
        )  # fmt: skip

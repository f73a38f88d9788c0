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
@click.option(
    "--codecs",
    "names",
    default="default",
    show_default=True,
    metavar="NAMES",
    help="default (all but the slow ones), all, or names with commas between them.",
)
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
@click.option(
    "--model",
    "models",
    metavar="BUNDLE",
    multiple=True,
    default=("shipped",),
    help="Model bundle to use instead of the one shipped; give it several times to compare "
    "several, `shipped` being that one.",
)
@click.option(
    "--metrics",
    metavar="NAMES",
    help="psnr, psnr-yuv, ms-ssim, ssimulacra2, butteraugli, cvvdp, with commas between.  "
    "[default: all but cvvdp]",
)
@click.option(
    "--metric-command",
    "metric_commands",
    nargs=2,
    multiple=True,
    metavar="NAME COMMAND",
    help="Add a metric that is a command with {original} and {distorted}, two PNG files; its "
    "first number counts.",
)
@click.option("--error-command", "error_commands", nargs=2, multiple=True, metavar="NAME COMMAND",
              help="The same, where smaller is better.")  # fmt: skip
@click.option("--metric-plugin", "metric_plugins", multiple=True, metavar="FILE.py",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Add the metrics of a Python file's list METRICS.")  # fmt: skip
@click.option(
    "--against",
    metavar="CODEC",
    help="Codec to show bytes at equal quality against.  [default: AVIF, else the anchor]",
)
@click.option("--limit", type=click.IntRange(1), help="Use only the first so many images.")
@click.option("--anchor", default="JPEG", show_default=True, help="Codec that BD-rates refer to.")
@click.option("--time", "timed", type=click.IntRange(0), default=0, metavar="N",
              help="Time every codec on N images too, one codec at a time.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True,
              help="Measured runs per image; the median counts.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="CPUs while timing.  [default: all]")
@click.option(
    "--learned",
    is_flag=True,
    help="Time CompressAI's models too, with random weights (needs [train]).",
)
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
    metrics: str | None,
    metric_commands: tuple[tuple[str, str], ...],
    error_commands: tuple[tuple[str, str], ...],
    metric_plugins: tuple[Path, ...],
    against: str | None,
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
    """Compare image codecs on real files: bytes at equal quality by several metrics, and
    with --time their speed.

    kodak and cifar10 are looked for in $AEI_DATA, ./data or ../shared/data. Points are kept as they
    are measured: a run that was stopped goes on, and a codec added later runs alone.

    \b
    Examples:
      aei bench kodak -o results/kodak.json
      aei bench kodak --codecs aei,JPEG,AVIF --time 2 --threads 1
      aei bench cifar10 --model shipped --model cae.bundle
      aei bench photos/ --limit 20 --metrics ssimulacra2,butteraugli,cvvdp
      aei bench photos/ --command mine "mine -q {q} {in} {out}" "mine -d {in} {out}" \\
                        --qualities mine=10,40,80
      aei bench photos/ --error-command mse "compare-mse {original} {distorted}"
      aei plot results/kodak.json && aei report results/kodak.json
    """
    from ..benchmarks import bench
    from ..benchmarks.codecs.choose import choose
    from ..benchmarks.metrics import DEFAULT
    from ..benchmarks.results import to_csv, to_json

    job = bench.Job(
        names, models, list(commands), list(plugins), bench.parse_qualities(qualities),
        metrics or DEFAULT, list(metric_commands), list(error_commands), list(metric_plugins),
        limit, anchor, timed, repeats, threads, learned, jobs,
        None if no_cache else cache_path, no_cache,
    )  # fmt: skip
    if list_:
        print_codecs(*choose("all", bench.added_codecs(job), models))
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
        print_results(results, against)
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
    for heading in ("codec", "settings", "tuned for", "version"):
        table.add_column(heading, overflow="fold")
    for codec in found:
        name = f"{codec.name} (slow)" if codec.slow else codec.name
        table.add_row(name, codec.settings, codec.tuned_for, codec.version)
    for name, reason in left_out.items():
        table.add_row(name, f"not here: {reason}", "", "")
    Console().print(table)


def print_results(results: dict, against: str | None = None) -> None:
    """BD-rates, bytes at equal quality, and times where they were taken, as tables on stdout."""
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

    labels = {name: m["label"] for name, m in results["metrics"].items()}
    keys = {"psnr": labels["psnr"], "psnr_without_headers": "PSNR, no headers", **labels}
    shown = [k for k in keys if any(row.get(k) is not None for row in results["bd_rate"])]
    table(
        f"BD-rate against {results['anchor']}, % [95 % interval over images] (window)",
        ("codec", *(keys[k] for k in shown)),
        [[row["codec"], *(cell(row, k) for k in shown)] for row in results["bd_rate"]],
    )
    for title, headings, rows in windows_tables(results, against):
        table(title, headings, rows)
    times = results["timings"]
    if times:
        table(
            f"Median seconds for {times['megapixels']:g} megapixels, {times['threads']} threads",
            ("codec", "quality", "bits per pixel", "encode", "decode"),
            [
                [
                    row["codec"],
                    f"{row['quality']:g}",
                    "-" if row["bpp"] is None else f"{row['bpp']:.3f}",
                    f"{row['encode_s']:.4f}",
                    f"{row['decode_s']:.4f}",
                ]
                for row in times["codecs"]
            ],
        )


def windows_tables(results: dict, against: str | None):
    """Title, headings and rows of a table for each metric: bytes of each codec at equal quality."""
    if against is None:
        against = "AVIF" if "AVIF" in results["codecs"] else results["anchor"]
    if against not in results["codecs"]:
        raise click.BadParameter(f"{against!r} is not in this run", param_hint="--against")
    tuned = results["codecs"][against]["tuned_for"]
    name = f"{against} ({tuned})" if tuned else against

    def cell(found: list | None) -> str:
        if found is None:
            return "-"
        percent, low, high, images, _, worst = found
        sure = "" if low is None else f" [{low:+.1f}, {high:+.1f}]"
        return f"{percent:+.1f}{sure} ({images} images, worst {worst:+.1f})"

    for metric, by_window in results["windows"].items():
        label = results["metrics"][metric]["label"]
        codecs = dict.fromkeys(c for by_codec in by_window.values() for c in by_codec)
        rows = [
            [c, *(cell(by_codec.get(c, {}).get(against)) for by_codec in by_window.values())]
            for c in codecs
        ]
        if any(text != "-" for row in rows for text in row[1:]):
            title = f"Bytes against {name} at equal {label}, % [95 % interval over images]"
            yield title, ("codec", *by_window), rows

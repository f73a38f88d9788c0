"""`aei model`."""

from __future__ import annotations

from pathlib import Path

import click

from . import output as out

BUNDLE = click.argument("source", metavar="[BUNDLE]", required=False, type=click.Path())
OUTPUT = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle folder to write."
)
NAME = click.option(
    "--name", help="Name in the manifest.  [default: the old one and what was done]"
)
FORCE = click.option("-f", "--force", is_flag=True, help="Replace the bundle if it exists.")


@click.group("model")
def command() -> None:
    """Look into a model bundle, and make smaller ones.

    A smaller bundle keeps the prior and its fingerprint: files written with it decode with the old
    one, and the other way round.

    \b
    Examples:
      aei model list
      aei model info psnr
      aei model quantize my.bundle --to int8 -o small.bundle
      aei model prune --keep 0.5 --data photos/ -o half.bundle
    """


@command.command("list")
def list_models() -> None:
    """List the models that ship with the package: name, fingerprint, what each is for, bytes.

    Their names stand for their folders wherever a BUNDLE is asked for.

    \b
    Examples:
      aei model list
      aei model list --json
    """
    from ..codec.models.bundle import MODEL_OF_TUNE, Bundle, default_bundle, installed_bundles

    used = {default_bundle(tune).path: f"--tune {tune}" for tune in MODEL_OF_TUNE}
    used[default_bundle().path] = "used by default"
    models = []
    for bundle in map(Bundle, installed_bundles()):
        size = _bytes_of(bundle.path)
        use = used.get(bundle.path, "reads its files")
        models.append({"name": bundle.name, "fingerprint": bundle.fingerprint.hex(),
                       "use": use, "bytes": size, "folder": str(bundle.path)})  # fmt: skip
        out.say(f"{bundle.name:<12} {bundle.fingerprint.hex()}  {size / 1e6:5.1f} MB  {use}")
    out.emit(models=models)


@command.command("info")
@BUNDLE
def info(source: str | None) -> None:
    """Show what BUNDLE (by default the one shipped) is made of: bytes, parameters, work, training.

    Work is in multiplications (MACs) per pixel of the image. Needs no torch; parameters and work of
    the graphs need the onnx package.

    \b
    Examples:
      aei model info
      aei model info my.bundle --json
    """
    from ..codec.training.export.facts import bundle_facts, training_facts

    facts = bundle_facts(_open(source))
    out.emit(**facts)
    if out.MODE.json or out.MODE.quiet:
        return
    trained = training_facts(facts["training"])
    lines = {
        "name": facts["name"],
        "fingerprint": facts["fingerprint"],
        "bytes": f"{facts['bytes']:,}",
        "made by": ", ".join(_step(step) for step in facts["slimmed"]) or "training",
        "trained with": trained,
        "network": ", ".join(f"{k} {_short(v)}" for k, v in facts["network"].items()),
    }
    for label, text in lines.items():
        out.say(f"{label:>13}  {text}")
    _print_table(facts)
    if "note" in facts:
        out.tell(f"note: {facts['note']}")


def _step(step: dict) -> str:
    return " ".join(f"{name} {value}" for name, value in step.items())


def _short(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _print_table(facts: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for i, heading in enumerate(("part", "bytes", "parameters", "weights", "MACs per pixel")):
        table.add_column(heading, justify="right" if i else "left")
    for name, part in facts["parts"].items():
        work = part.get("macs_per_pixel")
        table.add_row(
            name, f"{part['bytes']:,}", f"{part['parameters']:,}" if "parameters" in part else "?",
            part.get("weights", "?"), "?" if work is None else f"{work:,.0f}",
        )  # fmt: skip
    in_parts = {f"{name}.onnx" for name in facts["parts"]} | {"prior.json", "prior.safetensors"}
    for name, size in facts["files"].items():
        if name not in in_parts:
            table.add_row(name, f"{size:,}", "", "", "")
    Console(width=100).print(table)


@command.command("web")
@BUNDLE
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FOLDER",
              help="Folder of the file, which is named by the model's fingerprint.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace the file if it exists.")
def web(source: str | None, output: Path, force: bool) -> None:
    """Write what a browser needs of BUNDLE (by default the one shipped) to show files.

    One file: the integers of the prior and of the synthesis, packed. It goes beside the pages of a
    site; see docs/guide/web.md.

    \b
    Examples:
      aei model web -o site/models
      aei model web my.bundle -o site/models --force
    """
    from ..codec.files.storage import write_atomic
    from ..codec.training.export.web import file_name, pack_weights

    bundle = _open(source)
    path, data = output / file_name(bundle), pack_weights(bundle)
    output.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data, overwrite=force)
    out.emit(file=str(path), bytes=len(data))
    out.say(f"{path}: {len(data):,} bytes")


@command.command("decoder")
@BUNDLE
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FOLDER",
              help="Folder of both forms.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace what exists.")
def decoder(source: str | None, output: Path, force: bool) -> None:
    """Write what reading the files of BUNDLE (by default the one shipped) takes, and no more.

    Two forms: FOLDER/NAME, a bundle for --model that reads files and writes none, and
    FOLDER/FINGERPRINT.aeiw, the packed file for browsers that `aei model web` writes. `aei export
    --decoder` makes them along with the bundle.

    \b
    Examples:
      aei model decoder -o readers/
      aei model decoder my.bundle -o readers/ --force
    """
    from ..codec.training.export.decoder_only import write_decoder

    paths = write_decoder(_open(source), output, overwrite=force)
    for path, size in zip(paths, map(_bytes_of, paths)):
        out.say(f"{path}: {size:,} bytes")
    out.emit(files=[str(path) for path in paths])


@command.command("page")
@click.argument("sources", metavar="[BUNDLE]...", nargs=-1, type=click.Path())
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="HTML file to write."
)
@click.option("-f", "--force", is_flag=True, help="Replace the file if it exists.")
def page(sources: tuple[str, ...], output: Path, force: bool) -> None:
    """Write one page that opens .aei files, with the weights of each BUNDLE in it.

    By default those of the model that is used by default. The page can be sent around, and opened
    from a disk: whoever has it drops files on it, looks, zooms, compares, saves PNG. It loads
    nothing, and nothing is uploaded.

    \b
    Examples:
      aei model page -o aei-viewer.html
      aei model page my.bundle -o viewer.html --force
    """
    from ..codec.files.storage import write_atomic
    from .pages.viewer import viewer_page

    data = viewer_page([_open(source) for source in sources or (None,)]).encode()
    write_atomic(output, data, overwrite=force)
    out.emit(file=str(output), bytes=len(data))
    out.say(f"{output}: {len(data):,} bytes")


@command.command("quantize")
@BUNDLE
@OUTPUT
@click.option("--to", "kind", required=True, type=click.Choice(["fp16", "int8"]),
              help="Type that weights are stored as; all computing stays float32.")  # fmt: skip
@NAME
@FORCE
def quantize(source: str | None, output: Path, kind: str, name: str | None, force: bool) -> None:
    """Store the weights of BUNDLE's transforms in fewer bytes.

    fp16 halves the bytes of float32 weights (`aei export` writes fp16 itself); int8 halves them
    again, with a scale per output channel. The prior is integer already and stays. Speed stays too:
    see docs/guide/slim.md.

    \b
    Examples:
      aei model quantize old.bundle --to int8 -o small.bundle
      aei model quantize my.bundle --to int8 -o my-int8.bundle --name mine-int8
    """
    bundle = _open(source)
    _check_output(output, bundle.path, force)
    from ..codec.training.export.slim import quantise_bundle

    _told(bundle, output, quantise_bundle(bundle, output, kind, name or f"{bundle.name}-{kind}"))


@command.command("prune")
@BUNDLE
@OUTPUT
@click.option("--keep", required=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Share of the work of the transforms' blocks to keep.")  # fmt: skip
@click.option(
    "--data",
    required=True,
    help="Folder of photographs, to see what channels do and to train on; some dozens will do.",
)
@click.option("--steps", default=0, show_default=True, type=click.IntRange(0),
              help="Steps of training afterwards, with prior and gains as they are.")  # fmt: skip
@click.option("--lr", default=1e-4, show_default=True, help="Peak learning rate of that training.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1),
              help="Crops of 256x256 per step.")  # fmt: skip
@click.option(
    "--threads", default=2, show_default=True, type=click.IntRange(1), help="CPU threads."
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Where to train.",
)
@click.option(
    "--run",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the checkpoint and the logs of the training, which `aei train --resume` "
    "goes on from.  [default: not kept]",
)
@NAME
@FORCE
def prune(
    source: str | None,
    output: Path,
    keep: float,
    data: str,
    steps: int,
    lr: float,
    batch: int,
    threads: int,
    device: str,
    folder: Path | None,
    name: str | None,
    force: bool,
) -> None:
    """Take hidden channels out of BUNDLE's transforms, so that they are smaller and faster.

    The channels that cost least go, and the others' weights take over what they can; with --steps,
    training makes up for some of the rest. The prior, its hyper-analysis and the gains stay as they
    are.

    \b
    Examples:
      aei model prune --keep 0.75 --data photos/ -o lean.bundle
      aei model prune my.bundle --keep 0.5 --data photos/ --steps 5000 --run tuning/ -o half.bundle
      aei model quantize half.bundle --to int8 -o half-int8.bundle
    """
    if folder is not None and not steps:
        raise click.UsageError("--run keeps what training leaves: give --steps too")
    bundle = _open(source)
    _check_output(output, bundle.path, force)
    from ..formats import AeiError

    if folder is not None and (folder / "last.pt").exists():
        raise AeiError(f"{folder}/last.pt exists: name another --run")
    from ..codec.training.export.prune import prune_bundle, tuning_config
    from .train import data_folder

    try:
        tuning = tuning_config(steps, lr, batch, threads, device) if steps else None
        name = name or f"{bundle.name}-{100 * keep:.0f}"
        manifest = prune_bundle(
            bundle, output, keep, name, data_folder(data), tuning, folder, threads, log=out.tell
        )
    except (ValueError, FileNotFoundError) as error:
        raise AeiError(str(error)) from None
    _told(bundle, output, manifest)


def _bytes_of(path: Path) -> int:
    """Of a file, or of a folder's files."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(p.stat().st_size for p in files if p.is_file())


def _open(source: str | None):
    from ..codec.models.bundle import Bundle, default_bundle

    return default_bundle() if source is None else Bundle(source)


def _check_output(output: Path, source: Path, force: bool) -> None:
    """Refuse to write over the source, over anything without --force, and over what is no
    bundle."""
    from ..codec.files.storage import OutputError

    if output.exists() and output.resolve() == source.resolve():
        raise OutputError(f"{output} is the input itself: name another output with -o")
    if output.exists() and not force:
        raise OutputError(f"{output} exists", reason="exists")
    if output.exists() and not (output / "manifest.json").is_file():
        raise OutputError(f"{output} is not a model bundle: name another output with -o")


def _told(bundle, output: Path, manifest: dict) -> None:
    """Say what was written, and how much smaller it is."""
    old, new = _bytes_of(bundle.path), _bytes_of(output)
    out.emit(output=str(output), name=manifest["name"], fingerprint=manifest["fingerprint"],
             bytes=new, bytes_before=old)  # fmt: skip
    out.say(
        f"{output}: model {manifest['name']}, fingerprint {manifest['fingerprint']}, {new:,} bytes "
        f"({100 * new / old:.0f} % of {bundle.name})"
    )

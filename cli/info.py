"""`aei info`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from . import many, output
from .files import naming, read_input


@click.command("info")
@click.argument("sources", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--check",
    is_flag=True,
    help="Decode the entropy-coded part too and print the latents' SHA-256.",
)
@click.option(
    "--pixels",
    is_flag=True,
    help="Decode the picture too and print the SHA-256 of its pixels.",
)
@click.option("-r", "--recursive", is_flag=True, help="Subfolders of folders too.")
@click.option(
    "--model", metavar="BUNDLE", help="Model bundle, for files written with one not shipped."
)
def command(
    sources: tuple[str, ...], check: bool, pixels: bool, recursive: bool, model: str | None
) -> None:
    """Show what the .aei file FILE (- for stdin) holds, and what its Exif says.

    FILE may be several files, folders and quoted patterns: then a line is shown of each. With
    --check, two machines that print the same latents_sha256 decoded exactly the same latents; with
    --pixels, the same for pixels_sha256 and the pixels.

    \b
    Examples:
      aei info photo.aei
      aei info photo.aei --check --pixels --json
      aei info photos/ --recursive
    """
    codec = None
    if check or pixels:
        from ..codec import Codec

        codec = Codec(model)
    if not many.is_many(sources, None, None):
        with naming(sources[0]):
            facts = facts_of(read_input(sources[0]), codec, check, pixels)
        output.emit(**facts)
        if not output.MODE.json:
            _show(facts)
        return
    many.check_usage(sources, None, None)
    _each(sources, recursive, codec, check, pixels)


def facts_of(data: bytes, codec, check: bool, pixels: bool) -> dict[str, object]:
    """What a file holds, by name. Raises AeiError."""
    from ..codec.files.exif import in_words
    from ..codec.models.bundle import find_bundle
    from ..codec.pixels.side_channels import read_metadata
    from ..formats import DEFAULT_LIMITS, AeiError, UnknownModelError, parse
    from ..formats.container import VERSION
    from ..formats.sections import NAMES

    contents = parse(data)
    header, sections = contents.header, contents.sections
    facts: dict[str, object] = {
        "version": VERSION,
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "gain_index": header.gain_index,
        "code_all": any(entry.code_all for entry in contents.entries),
        "model": header.model.hex(),
        "bytes": len(data),
        "payload_bytes": sum(entry.end - entry.start for entry in contents.entries),
        "tiles": len(contents.entries),
        "section_bytes": {n: len(sections[kind]) for n, kind in NAMES.items() if kind in sections},
        "bits_per_pixel": round(8 * len(data) / (header.width * header.height), 5),
    }
    try:
        facts["model_name"] = find_bundle(header.model).name
    except UnknownModelError:
        facts["model_name"] = None
    with contextlib.suppress(AeiError):  # damaged metadata are for decoding to complain of
        exif = in_words(read_metadata(sections, DEFAULT_LIMITS).get("exif", b""))
        if exif:
            facts["exif"] = exif
    if check:
        facts["latents_sha256"] = codec.latents_sha256(data)
    if pixels:
        facts["pixels_sha256"] = codec.pixels_sha256(data)
    return facts


def _show(facts: dict[str, object]) -> None:
    from ..codec.files.exif import sentence

    for name, value in facts.items():
        if name == "section_bytes" and isinstance(value, dict):
            value = ", ".join(f"{n} {size}" for n, size in value.items()) or "none"
        elif name == "exif" and isinstance(value, dict):
            for label in ("date", "camera", "lens", "place", "orientation"):
                if label in value:
                    words = value[label]
                    shown = ", ".join(map(str, words)) if isinstance(words, list) else words
                    click.echo(f"{label:>15}  {shown}")
            if sentence(value):
                click.echo(f"{'exposure':>15}  {sentence(value)}")
            continue
        click.echo(f"{name:>15}  {value if value is not None else 'not installed'}")


def _each(sources: tuple[str, ...], recursive: bool, codec, check: bool, pixels: bool) -> None:
    """A line for each of many files; ends the command with exit code 2 where some are bad."""
    from ..codec.files import plan as planning
    from ..formats import AeiError
    from ..formats.errors import shown

    plan = planning.make_plan(
        sources, suffixes={".aei"}, new_suffix=".x", recursive=recursive, overwrite=True,
        keep_extension=True,
    )  # fmt: skip
    if not plan.tasks and not plan.settled:
        raise AeiError("nothing to do: no .aei files found")
    failed = [(outcome.source, outcome.message) for outcome in plan.settled]
    for task in plan.tasks:
        try:
            facts = facts_of(read_input(str(task.source)), codec, check, pixels)
        except (AeiError, OSError) as error:
            failed.append((task.source, str(error)))
            continue
        output.emit(file=str(task.source), **facts)
        output.say(_line(task.source, facts))
    for path, why in failed:
        output.emit(file=str(path), error=why)
        output.tell(f"aei: {shown(path)}: {why}")
    if failed:
        raise click.exceptions.Exit(many.SOME_FAILED)


def _line(path: Path, facts: dict) -> str:
    from ..codec.files.exif import sentence
    from ..formats.errors import shown

    exif = facts.get("exif", {})
    parts = [
        f"{facts['width']}x{facts['height']} {facts['mode']}",
        f"{facts['bytes']} bytes",
        f"{facts['bits_per_pixel']:.3f} bpp",
        *(exif[name] for name in ("date", "camera") if name in exif),
    ]
    words = [*parts, sentence(exif), *(v for k, v in facts.items() if k.endswith("sha256"))]
    return f"{shown(path)}: {', '.join(w for w in words if w)}"

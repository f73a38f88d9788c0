"""`aei info`."""

from __future__ import annotations

import click

from . import output
from .files import naming, read_input


@click.command("info")
@click.argument("source", metavar="FILE", type=click.Path())
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
@click.option(
    "--model", metavar="BUNDLE", help="Model bundle, for files written with one not shipped."
)
def command(source: str, check: bool, pixels: bool, model: str | None) -> None:
    """Show what the .aei file FILE (- for stdin) holds.

    With --check, two machines that print the same latents_sha256 decoded exactly the same latents;
    with --pixels, the same for pixels_sha256 and the pixels.

    \b
    Examples:
      aei info photo.aei
      aei info photo.aei --check --pixels --json
    """
    from ..formats import UnknownModelError, parse
    from ..formats.container import VERSION
    from ..formats.sections import NAMES

    with naming(source):
        data = read_input(source)
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
            "section_bytes": {
                n: len(sections[kind]) for n, kind in NAMES.items() if kind in sections
            },
            "bits_per_pixel": round(8 * len(data) / (header.width * header.height), 5),
        }
        from ..codec.models.bundle import find_bundle

        try:
            facts["model_name"] = find_bundle(header.model).name
        except UnknownModelError:
            facts["model_name"] = None
        if check or pixels:
            from ..codec import Codec

            codec = Codec(model)
            if check:
                facts["latents_sha256"] = codec.latents_sha256(data)
            if pixels:
                facts["pixels_sha256"] = codec.pixels_sha256(data)
    output.emit(**facts)
    if not output.MODE.json:
        for name, value in facts.items():
            if isinstance(value, dict):
                value = ", ".join(f"{n} {size}" for n, size in value.items()) or "none"
            click.echo(f"{name:>15}  {value if value is not None else 'not installed'}")

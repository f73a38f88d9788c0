"""`aei info`."""

from __future__ import annotations

import json

import click

from .files import naming, read_input


@click.command("info")
@click.argument("source", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--check", is_flag=True,
    help="Verify the checksum, decode the entropy-coded part and print the latents' SHA-256.",
)  # fmt: skip
@click.option(
    "--model", metavar="BUNDLE", help="Model bundle, for files written with one not shipped."
)
def command(source: str, as_json: bool, check: bool, model: str | None) -> None:
    """Show what the .aei file FILE (- for stdin) holds.

    With --check, two machines that print the same latents_sha256 decoded exactly the same latents.

    \b
    Examples:
      aei info photo.aei
      aei info photo.aei --check --json
    """
    from ..formats import UnknownModelError, parse, parse_header
    from ..formats.container import CRC_BYTES, VERSION

    with naming(source):
        data = read_input(source)
        header, start = parse_header(data)
        payload = max(0, len(data) - start - CRC_BYTES)
        facts: dict[str, object] = {
            "version": VERSION,
            "width": header.width,
            "height": header.height,
            "mode": "L" if header.grey else "RGB",
            "gain_index": header.gain_index,
            "code_all": header.code_all,
            "model": header.model.hex(),
            "bytes": len(data),
            "payload_bytes": payload,
            "bits_per_pixel": round(8 * len(data) / (header.width * header.height), 5),
        }
        from ..codec.bundle import find_bundle

        try:
            facts["model_name"] = find_bundle(header.model).name
        except UnknownModelError:
            facts["model_name"] = None
        if check:
            parse(data)
            from ..codec.api import Codec

            codec = Codec(model if model is not None else find_bundle(header.model).path)
            facts["latents_sha256"] = codec.decode_latents(data)[1].sha256()
    if as_json:
        click.echo(json.dumps(facts))
    else:
        for name, value in facts.items():
            click.echo(f"{name:>15}  {value if value is not None else 'not installed'}")

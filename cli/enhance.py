"""`aei enhance`."""

from __future__ import annotations

import click

from ..codec.settings import AUTO, ENHANCING
from .restore import run, shared


@click.command("enhance")
@click.argument("source", metavar="IN", type=click.Path())
@click.argument("target", metavar="OUT", type=click.Path())
@click.option(
    "-k", "--kind", default="auto", show_default=True,
    type=click.Choice([AUTO, *ENHANCING]),
    help="What to mend; auto measures.",
)  # fmt: skip
@shared
def command(
    source: str, target: str, kind: str, bundle: str | None, page: str | None, force: bool
) -> None:
    """Mend low light, low contrast, faded colour or haze of the image IN, and write it as OUT (PNG,
    JPEG, WebP, ...; - for stdout as PNG).

    Says on stderr what it did; where auto finds nothing to do, OUT is the image as it was.
    Transparency and metadata are kept. Needs the networks: pip install aei-codec-restore.

    \b
    Examples:
      aei enhance dusk.jpg bright.png
      aei enhance dusk.jpg bright.png --kind low-light --page dusk.html
      aei encode dusk.jpg --enhance low-light      the same, straight to an .aei file
    """
    run(source, target, page, force, bundle, enhance=kind)

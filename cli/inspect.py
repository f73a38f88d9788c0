"""`aei inspect`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from ..codec.settings import DEFAULT_QUALITY, EFFORTS, TUNES
from . import output as out
from .files import STREAM, naming, read_input, region_of

PAGE, NUMBERS = "index.html", "numbers.json"
TURNED = "Exif turns this photograph; the pictures here lie as the file stores them."
LEAST_CONTRAST = 0.5  # levels
FLAT = "The region is flat: there is hardly any contrast to explain."
HIDDEN = "Places that are wholly transparent are shown grey, and are no error."
NO_ORIGINAL = "No error map: the original is not known; name it with --original."
NO_LINEAR = "No picture of the linear path: this model has none."


@click.command("inspect")
@click.argument("source", metavar="IMAGE|FILE", type=click.Path())
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(),
    help="Folder to write.  [default: that of the input, its suffix replaced by .inspect]",
)
@click.option(
    "-q",
    "--quality",
    default=float(DEFAULT_QUALITY),
    show_default=True,
    type=click.FloatRange(1, 100),
    help="Of an IMAGE, which is encoded first.",
)
@click.option(
    "-e",
    "--effort",
    default=TUNES["psnr"],
    show_default=True,
    type=click.IntRange(0, EFFORTS - 1),
    help="Of an IMAGE, as of aei encode.",
)
@click.option("--original", metavar="IMAGE", type=click.Path(),
              help="What an .aei FILE was made from, for the error map.")  # fmt: skip
@click.option(
    "--channels",
    default=24,
    show_default=True,
    type=click.IntRange(0),
    help="How many channels of the latents to draw, those with the most bits.",
)
@click.option("--region", metavar="LEFT,TOP,WIDTH,HEIGHT", callback=region_of, default=None,
              help="Explain these pixels: which latents they depend on.")  # fmt: skip
@click.option("--open", "open_", is_flag=True, help="Open the page in the web browser.")
@click.option("--model", metavar="BUNDLE", type=click.Path(),
              help="Model bundle to use instead of the one shipped.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace what is in the folder.")
def command(
    source: str,
    output: str | None,
    quality: float,
    effort: int,
    original: str | None,
    channels: int,
    region: tuple[int, int, int, int] | None,
    open_: bool,
    model: str | None,
    force: bool,
) -> None:
    """Look inside a coded image: an .aei FILE, or an IMAGE, which is encoded first (- for stdin).

    Writes a folder of PNGs, numbers.json, and index.html, one page that needs nothing else: where
    the bits go, which channels of the latents take them and what each draws, the error, and what
    the linear path of the decoder would give alone. With --region also what a part of the image
    depends on; layer-wise relevance needs the [train] extra.

    \b
    Examples:
      aei inspect photo.png -q 30 --open
      aei inspect photo.aei --original photo.png -o inside/
      aei inspect photo.png --region 380,96,128,96
    """
    folder = _folder(source, output, force)
    with naming(source):
        data = read_input(source)
        from ..codec.inspect.attribution import attribute, check_region
        from ..codec.inspect.look import look
        from ..formats import parse_header
        from ..formats.tiles import Box
        from .pages import inspection

        codec, data, image = _coded(data, model, quality, effort, original)
        header = parse_header(data)[0]
        box = None
        if region is not None:
            box = check_region(Box(*region), (header.width, header.height))
        seen = look(codec, data, image, channels, box)
        found = None if box is None else attribute(seen, box)
        notes = []
        if image is None:
            notes.append(NO_ORIGINAL)
        if seen.linear is None:
            notes.append(NO_LINEAR)
        if seen.turned:
            notes.append(TURNED)
        if found is not None and found.contrast < LEAST_CONTRAST:
            notes.append(FLAT)
        if not seen.visible.all():
            notes.append(HIDDEN)
        name = "stdin" if source == STREAM else click.format_filename(source, shorten=True)
        pictures = inspection.write_pictures(seen, found)
        files = {file: inspection.png(picture) for file, picture in pictures.items()}
        numbers = inspection.numbers(seen, found, name)
        files[NUMBERS] = (json.dumps(numbers, indent=1) + "\n").encode()
        files[PAGE] = inspection.page(seen, found, name, notes).encode()
    _write(folder, files, force)
    for note in notes:
        out.tell(f"note: {note}")
    if found is not None and found.why:
        out.tell(f"note: no layer-wise relevance: {found.why}")
    del numbers["cells"], numbers["channels"]
    out.emit(output=str(folder), files=sorted(files), **numbers)
    out.say(f"wrote {folder / PAGE} ({len(files[PAGE]) / 1e6:.1f} MB) and {len(files) - 1} more")
    if open_:
        click.launch((folder / PAGE).resolve().as_uri())


def _folder(source: str, output: str | None, force: bool) -> Path:
    from ..codec.files.storage import OutputError

    if output is None and source == STREAM:
        raise click.UsageError("name a folder with -o for what comes from stdin")
    if output == STREAM:
        raise click.UsageError("a folder is written, which cannot go to stdout: name it with -o")
    if output == "":
        raise OutputError("'' is no name of a folder: name another with -o")
    folder = Path(source).with_suffix(".inspect") if output is None else Path(output)
    if os.path.lexists(folder):
        if not folder.is_dir():
            raise OutputError(f"{folder} is a file: name a folder with -o")
        if any(folder.iterdir()) and not force:
            raise OutputError(f"{folder} exists", reason="filled")
    return folder


def _coded(data: bytes, model: str | None, quality: float, effort: int, original: str | None):
    """The codec, the .aei file, and the original image or None."""
    from ..codec import Codec
    from ..codec.files.convert import open_image
    from ..formats.container import SIGNATURE

    if data.startswith(SIGNATURE):
        context = click.get_current_context()
        for name in ("quality", "effort"):
            if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
                raise click.UsageError(f"--{name} is for an IMAGE; an .aei FILE is coded already")
        image = None
        if original is not None:
            with naming(original):
                image, _ = open_image(read_input(original))
        return Codec(model), data, image
    if original is not None:
        raise click.UsageError("--original goes with an .aei FILE; an IMAGE is its own original")
    codec = Codec(model)
    image, _ = open_image(data)
    return codec, codec.encode(image, quality, effort=effort), image


def _write(folder: Path, files: dict[str, bytes], force: bool) -> None:
    """The page last: where it is, the rest is there too."""
    from ..codec.files.storage import write_atomic

    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_atomic(folder / name, data, overwrite=force)

"""`aei decode`."""

from __future__ import annotations

import io
from pathlib import Path

import click

from .files import STREAM, check_output, naming, output_path, read_input, write_output


@click.command("decode")
@click.argument("source", metavar="IN")
@click.option(
    "-o", "--output", metavar="OUT",
    help="Output image, its format by suffix; - for PNG on stdout.  [default: IN with .png]",
)  # fmt: skip
@click.option(
    "--model", metavar="BUNDLE", help="Model bundle, for files written with one not shipped."
)
@click.option("-f", "--force", is_flag=True, help="Replace the output if it exists.")
def command(source: str, output: str | None, model: str | None, force: bool) -> None:
    """Turn the .aei file IN (- for stdin) back into an image.

    \b
    Examples:
      aei decode photo.aei
      aei decode photo.aei -o photo.png
      aei decode - < photo.aei > photo.png
    """
    target = output_path(source, output, ".png")
    check_output(target, source, force)
    format_ = _format_of(target)
    with naming(source):
        data = read_input(source)
        from ..codec import Codec, decode

        image = decode(data) if model is None else Codec(model).decode(data)
    write_output(target, _image_file(image, format_))


def _image_file(image, format_: str) -> bytes:
    """The image in another format, with its metadata where Pillow can write it."""
    options = {name: image.info[name] for name in ("exif", "icc_profile") if name in image.info}
    xmp = image.info.get("xmp")
    if format_ == "PNG":
        options["compress_level"] = 2  # twice as fast as the default, and no larger
        if xmp:
            from PIL.PngImagePlugin import PngInfo

            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    elif format_ in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = 95
        if xmp:
            options["xmp"] = xmp
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def _format_of(target: str) -> str:
    from PIL import Image

    from ..formats import UnsupportedError

    suffix = Path(target).suffix.lower()
    if target == STREAM or suffix == ".png":
        return "PNG"
    format_ = Image.registered_extensions().get(suffix)
    if format_ is None or format_ not in Image.SAVE:
        raise UnsupportedError(f"cannot write {target}: end its name in .png, .jpg, .webp or .tif")
    return format_

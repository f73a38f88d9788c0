"""`aei encode`."""

from __future__ import annotations

import io
import warnings

import click

from .files import check_output, naming, output_path, read_input, write_output


@click.command("encode")
@click.argument("source", metavar="IN")
@click.option(
    "-o", "--output", metavar="OUT", help="Output file; - for stdout.  [default: IN with .aei]"
)
@click.option(
    "-q", "--quality", default=50.0, show_default=True, type=click.FloatRange(1, 100),
    help="1 (smallest) to 100 (best).",
)  # fmt: skip
@click.option("--model", metavar="BUNDLE", help="Model bundle to use instead of the one shipped.")
@click.option("-f", "--force", is_flag=True, help="Replace the output if it exists.")
def command(
    source: str, output: str | None, quality: float, model: str | None, force: bool
) -> None:
    """Compress the image IN (any format Pillow reads; - for stdin) to an .aei file.

    Exif orientation is applied to the pixels; other metadata is not kept in this version.

    \b
    Examples:
      aei encode photo.png
      aei encode photo.jpg -q 30 -o small.aei
      cat photo.png | aei encode - > photo.aei
    """
    target = output_path(source, output, ".aei")
    check_output(target, source, force)
    with naming(source):
        encoded = _encode(read_input(source), quality, model, source)
    write_output(target, encoded)


def _encode(data: bytes, quality: float, model: str | None, source: str) -> bytes:
    from PIL import Image, ImageOps, UnidentifiedImageError

    from ..codec import Codec
    from ..formats import DamagedFileError, UnsupportedError
    from ..formats.container import check_size

    codec = Codec(model)
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as opened:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            check_size(*opened.size)
            if opened.info.get("icc_profile"):
                click.echo(f"aei: {source}: note: the colour profile is not kept", err=True)
            image: Image.Image = opened
            if getattr(opened, "n_frames", 1) == 1 and opened.getexif().get(0x0112, 1) != 1:
                image = ImageOps.exif_transpose(opened)
            return codec.encode(image, quality)
    except UnidentifiedImageError:
        raise UnsupportedError("not an image that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnsupportedError("the image is too large") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DamagedFileError(f"the image cannot be read ({error})") from None

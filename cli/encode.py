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
@click.option(
    "--strip", is_flag=True, help="Leave out metadata; Exif's orientation is applied to the pixels."
)
@click.option("-f", "--force", is_flag=True, help="Replace the output if it exists.")
def command(
    source: str, output: str | None, quality: float, model: str | None, strip: bool, force: bool
) -> None:
    """Compress the image IN (any format Pillow reads; - for stdin) to an .aei file.

    Transparency is kept without loss; the colour profile, Exif and XMP are kept unless --strip is given.

    \b
    Examples:
      aei encode photo.png
      aei encode photo.jpg -q 30 -o small.aei
      cat photo.png | aei encode - > photo.aei
    """
    target = output_path(source, output, ".aei")
    check_output(target, source, force)
    with naming(source):
        encoded = _encode(read_input(source), quality, model, strip)
    write_output(target, encoded)


def _encode(data: bytes, quality: float, model: str | None, strip: bool) -> bytes:
    from PIL import Image, UnidentifiedImageError

    from ..codec import Codec
    from ..formats import DamagedFileError, UnsupportedError
    from ..formats.container import check_size

    codec = Codec(model)
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as opened:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            check_size(*opened.size)
            return codec.encode(opened, quality, metadata=not strip)
    except UnidentifiedImageError:
        raise UnsupportedError("not an image that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnsupportedError("the image is too large") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DamagedFileError(f"the image cannot be read ({error})") from None

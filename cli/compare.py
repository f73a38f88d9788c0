"""`aei compare`."""

from __future__ import annotations

import io
import warnings
from importlib.util import find_spec

import click

from . import output as out
from .files import STREAM, ByteCount, check_output, naming, output_path, read_input, write_output


@click.command("compare")
@click.argument("source", metavar="PHOTO")
@click.option("-o", "--output", metavar="OUT",
              help="Page to write; - for stdout.  [default: PHOTO with .html]")  # fmt: skip
@click.option(
    "-q", "--quality", type=click.FloatRange(1, 100), help="aei's quality.  [default: 30]"
)
@click.option("-s", "--size", type=ByteCount(), help="Largest size of aei's file, such as 30k.")
@click.option("--codecs", "names", default="JPEG,WebP,AVIF", show_default=True, metavar="NAMES",
              help="What to compare with; see aei bench --list.")  # fmt: skip
@click.option("--max-side", default=1536, show_default=True, type=click.IntRange(16),
              help="Scale a larger photograph down to this many pixels a side.")  # fmt: skip
@click.option("--model", metavar="BUNDLE", help="Model bundle to use instead of the one shipped.")
@click.option("-f", "--force", is_flag=True, help="Replace the page if it exists.")
def command(
    source: str,
    output: str | None,
    quality: float | None,
    size: int | None,
    names: str,
    max_side: int,
    model: str | None,
    force: bool,
) -> None:
    """Make a page that shows PHOTO by aei and by other codecs at the same bytes, with a slider.

    One HTML file with everything in it: it opens from disk, needs no network, and holds no metadata
    of the photograph. The other codecs get at least as many bytes as aei.

    \b
    Examples:
      aei compare photo.jpg                  writes photo.html
      aei compare photo.jpg --size 40k -o compare.html
      aei compare photo.png -q 10 --codecs "JPEG,WebP,AVIF,JPEG XL"
    """
    if quality is not None and size is not None:
        raise click.UsageError("give --quality or --size, not both")
    target = output_path(source, output, ".html")
    check_output(target, source, force)
    from ..benchmarks.codecs.choose import choose
    from .pages.pages import compare

    codecs, _ = choose(f"aei,{names}", [], (model or "shipped",))
    with naming(source):
        image, note = read_photo(read_input(source), max_side)
        from .bench import progress_bar

        with progress_bar() as progress:
            task = progress.add_task("aei", total=len(codecs))
            rest = iter([c.name for c in codecs[1:]] + ["done"])
            name = "photo" if source == STREAM else click.format_filename(source, shorten=True)
            text, rows = compare(
                image, name, codecs, 30 if quality is None else quality, size,
                lambda _: progress.update(task, advance=1, description=next(rest)), note,
            )  # fmt: skip
    write_output(target, text.encode())
    if size is not None and rows[0]["bytes"] > size:
        out.tell(
            f"note: aei's smallest file of this photo is {rows[0]['bytes']} bytes, above --size"
        )
    if find_spec("scipy") is None:
        out.tell("note: no MS-SSIM without scipy: pip install 'aei-codec[bench]'")
    for row in rows:
        out.tell(f"{row['name']:<12} {row['bytes']:>9} bytes  {row['psnr']:.2f} dB")
    if target != STREAM:
        files = {row["name"]: {"bytes": row["bytes"], "psnr": row["psnr"]} for row in rows}
        out.emit(output=str(target), codecs=files)
        out.say(f"wrote {target} ({len(text) / 1e6:.1f} MB)")


def read_photo(data: bytes, max_side: int):
    """The photograph upright, in sRGB, uint8 (H, W, 3), and what was done to it."""
    import numpy as np
    from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

    from ..formats import DamagedFileError, UnsupportedError

    note = ""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as opened:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = ImageOps.exif_transpose(opened) or opened
            profile = opened.info.get("icc_profile")
            if profile:
                srgb = ImageCms.createProfile("sRGB")
                try:
                    converted = ImageCms.profileToProfile(
                        image, io.BytesIO(profile), srgb, outputMode="RGB"
                    )
                    image = converted or image
                except (ImageCms.PyCMSError, OSError):
                    note = "Its colour profile could not be read and was left out. "
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
                note += "Transparency was laid on white. "
            image = image.convert("RGB")
    except UnidentifiedImageError:
        raise UnsupportedError("not an image that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnsupportedError("the image is too large") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DamagedFileError(f"the image cannot be read ({error})") from None
    if max(image.size) > max_side:
        was = image.size
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        note += f"Scaled down from {was[0]} x {was[1]} pixels."
    return np.asarray(image), note

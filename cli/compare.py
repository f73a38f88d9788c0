"""`aei compare`."""

from __future__ import annotations

import io
import warnings
from importlib.util import find_spec

import click

from . import output as out
from .files import STREAM, ByteCount, check_output, naming, output_path, read_input, write_output

DEFAULT_QUALITY = 60  # about the least that JPEG reaches in as few bytes


@click.command("compare")
@click.argument("sources", metavar="PHOTO...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT",
              help="Page to write; - for stdout.  [default: the first PHOTO with "
              ".html]")  # fmt: skip
@click.option(
    "-q", "--quality", type=click.FloatRange(1, 100), help="aei's quality.  [default: 60]"
)
@click.option("-s", "--size", type=ByteCount(), help="Largest size of aei's file, such as 30k.")
@click.option("--codecs", "names", default="JPEG,WebP,AVIF", show_default=True, metavar="NAMES",
              help="What to compare with; see aei bench --list.")  # fmt: skip
@click.option("--max-side", default=1536, show_default=True, type=click.IntRange(16),
              help="Scale a larger photograph down to this many pixels a side.")  # fmt: skip
@click.option("--model", metavar="BUNDLE", help="Model bundle to use instead of the one shipped.")
@click.option("-f", "--force", is_flag=True, help="Replace the page if it exists.")
def command(
    sources: tuple[str, ...],
    output: str | None,
    quality: float | None,
    size: int | None,
    names: str,
    max_side: int,
    model: str | None,
    force: bool,
) -> None:
    """Make a page that shows PHOTO by aei and by other codecs at the same bytes, with a slider.

    Of several photographs, one is shown at a time. One HTML file with everything in it: it opens
    from disk, needs no network, and holds no metadata of the photographs. Files are within about
    1 % of each other in bytes: where a codec has coarse steps, as AVIF has, aei and the others go
    to where it can be; the page says how near they are.

    \b
    Examples:
      aei compare photo.jpg                  writes photo.html
      aei compare photo.jpg --size 40k -o compare.html
      aei compare a.jpg b.jpg c.jpg -q 50 -o three.html
      aei compare photo.png -q 10 --codecs "JPEG,WebP,AVIF,JPEG XL"
    """
    if quality is not None and size is not None:
        raise click.UsageError("give --quality or --size, not both")
    if len(sources) > 1 and STREAM in sources:
        raise click.UsageError("- for stdin stands alone: no other files beside it")
    target = output_path(sources[0], output, ".html")
    for source in sources:
        check_output(target, source, force)
    from ..benchmarks.codecs.choose import choose
    from .bench import progress_bar
    from .pages import pages

    codecs, _ = choose(f"aei,{names}", [], (model or "shipped",))
    photos = []
    with progress_bar() as progress:
        task = progress.add_task("photographs", total=len(sources))
        for source in sources:
            with naming(source):
                image, note = read_photo(read_input(source), max_side)
                name = "photo" if source == STREAM else click.format_filename(source, shorten=True)
                one = pages.Photograph(name, image, note)
                photos.append(pages.compared(one, codecs, quality or DEFAULT_QUALITY, size))
            progress.advance(task)
    text = pages.compare(photos, codecs)
    write_output(target, text.encode())
    if find_spec("scipy") is None:
        from ..codec.settings import install

        out.tell(f"note: no MS-SSIM without scipy: {install('bench')}")
    for photo in photos:
        _tell(photo, size, len(photos) > 1)
    if target != STREAM:
        files = {photo["name"]: _numbers(photo) for photo in photos}
        facts = files if len(photos) > 1 else next(iter(files.values()))
        out.emit(output=str(target), **{"photos" if len(photos) > 1 else "codecs": facts})
        out.say(f"wrote {target} ({len(text) / 1e6:.1f} MB)")


def _numbers(photo: dict) -> dict:
    names = ("bytes", "psnr", "ssimulacra2")
    return {row["name"]: {name: row[name] for name in names} for row in photo["pictures"]}


def _tell(photo: dict, size: int | None, many: bool) -> None:
    if many:
        out.tell(photo["name"])
    own = photo["pictures"][0]
    if size is not None and own["bytes"] > size:
        out.tell(f"note: aei's smallest file of this photo is {own['bytes']} bytes, above --size")
    for row in photo["pictures"]:
        score = "" if row["ssimulacra2"] is None else f"  SSIMULACRA 2 {row['ssimulacra2']:.1f}"
        out.tell(f"{row['name']:<12} {row['bytes']:>9} bytes  {row['psnr']:.2f} dB{score}")


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

"""`aei decode`."""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..formats import AeiError
from . import engine as engines
from . import many
from .files import STREAM, check_output, output_path, region_of

if TYPE_CHECKING:
    from ..codec import Codec
    from ..formats import Header

SWITCH = 0.0005  # seconds
PREVIEW_SCALE = 4  # from here on a file may do without a model
SUFFIXES = {"png": ".png", "jpg": ".jpg", "jpeg": ".jpg", "webp": ".webp", "tif": ".tif",
            "tiff": ".tif", "avif": ".avif", "bmp": ".bmp", "ppm": ".ppm"}  # fmt: skip


@click.command("decode")
@click.argument("sources", metavar="IN...", nargs=-1, type=click.Path())
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(),
    help="Output image, its format by suffix; - for stdout; for many files a folder.  [default: "
    "IN with .png]",
)
@click.option("--to", type=click.Choice(list(SUFFIXES), case_sensitive=False), default=None,
              help="Format of the outputs where -o does not name it.  [default: png]")  # fmt: skip
@click.option("--region", metavar="LEFT,TOP,WIDTH,HEIGHT", callback=region_of, default=None,
              help="Decode this rectangle of pixels only.")  # fmt: skip
@click.option(
    "--scale",
    type=click.Choice(["1", "2", "4", "8"]),
    default="1",
    callback=lambda c, p, v: int(v),
    help="Write the image at a half, a quarter or an eighth of its size.",
)
@click.option("--salvage", is_flag=True,
              help="Decode the good tiles of a damaged file, and say which are lost.")  # fmt: skip
@many.options
@click.option(
    "--model",
    metavar="BUNDLE",
    type=click.Path(),
    help="Model bundle, for files written with one not shipped.",
)
@click.option(
    "--manifest", metavar="NAME.parquet",
    help="Note a row for each image in Parquet, by which the same command goes on (needs the "
    "[manifest] extra).",
)  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist.")
@engines.options
def command(
    sources: tuple[str, ...],
    output: str | None,
    to: str | None,
    region: tuple[int, int, int, int] | None,
    scale: int,
    salvage: bool,
    recursive: bool,
    listed: str | None,
    jobs: int | None,
    skip_existing: bool,
    keep_extension: bool,
    dry_run: bool,
    model: str | None,
    manifest: str | None,
    force: bool,
    engine: engines.Asked | None,
) -> None:
    """Turn .aei files (- for stdin) back into images.

    IN may be several files, folders and quoted patterns; -o then names a folder, in which the
    folders' structure is kept. Bad files are listed at the end, and the exit code is then 2. Files'
    times are kept.

    \b
    Examples:
      aei decode photo.aei
      aei decode photo.aei -o photo.jpg
      aei decode - < photo.aei > photo.png
      aei decode small/ -o back/ --recursive --to jpg
      aei decode huge.aei --region 4000,3000,512,512 -o corner.png
      aei decode small/ -o previews/ --scale 8
    """
    if skip_existing and force:
        raise click.UsageError("--skip-existing leaves outputs, --force replaces them: give one")
    if salvage and (region or scale > 1):
        raise click.UsageError("--salvage decodes the whole: leave --region and --scale away")
    where = engines.parquet_of(manifest)
    suffix = SUFFIXES[(to or "png").lower()]
    if engine is not None:
        engines.check_usage(sources, listed, skip_existing)
    elif not many.is_many(sources, output, listed):
        if where is not None:
            raise click.UsageError("--manifest is of a folder: name one with -o")
        _one(
            sources[0],
            output,
            suffix,
            (region, scale, salvage),
            model,
            keep_extension,
            skip_existing,
            dry_run,
            force,
        )
        return
    else:
        many.check_usage(sources, output, listed)
        workers, threads = many.split_cpus(jobs)
    from ..codec.files import convert
    from ..codec.files.job import Job

    options = convert.DecodeOptions(region, scale, salvage)
    pack, unpack = engines.shards_of(engine)
    job = Job(options, suffix, frozenset({".aei"}), convert.output_format(suffix), model,
              keep_extension=keep_extension, pack=pack, unpack=unpack)  # fmt: skip
    if engine is not None:
        names = [*sources, *many.read_list(listed)]
        engines.execute(
            job, names, output, engine, where=where, jobs=jobs, force=force, dry_run=dry_run
        )
        return
    from ..codec.files import plan as planning

    notes = None
    if where is not None:
        notes = engines.notes_of(job, where, output, force, skip_existing)
        force = True  # what is there is of a run
    plan = planning.make_plan(
        sources, many.read_list(listed), suffixes=job.suffixes, new_suffix=suffix,
        output=None if output is None else Path(output), recursive=recursive,
        keep_extension=keep_extension, skip_existing=skip_existing, overwrite=force,
    )  # fmt: skip

    def load():
        return functools.partial(job.convert if notes is None else job.audited, job.load(threads))

    many.execute(plan, load, workers, verb="decode", overwrite=force, dry_run=dry_run, notes=notes)


def _one(
    source, output, suffix, wanted, model, keep_extension, skip_existing, dry_run, force
) -> None:
    target = output_path(source, output, Path(source).suffix * keep_extension + suffix)
    if many.is_settled(source, target, skip_existing, dry_run, "decode"):
        return
    many.check_stream(source, target)
    check_output(target, source, force)
    many.spare_blas()
    header = _begin(source, model, wanted[1])
    from ..codec import Codec
    from ..codec.files import writing
    from ..codec.files.storage import is_stream

    codec = Codec(model)

    # pipes and devices have no suffix that could tell
    told = output is not None and target != STREAM and not is_stream(Path(target))
    format_ = writing.output_format(Path(target).suffix if told else suffix)
    options = writing.DecodeOptions(*wanted)
    if header is not None:
        _load_rest(codec, header, format_ if writing.takes_pillow(format_, options) else None)
    one = functools.partial(writing.decode_file, codec=codec, format_=format_, options=options)
    many.execute_one(source, target, one, force, "decode")


def _begin(source: str, model: str | None, scale: int) -> Header | None:
    """Begin to read the model of a file while Python loads what decoding takes; the file's header,
    if there is something to wait for."""
    from ..codec.cpus import available_cpus

    if source == STREAM or scale >= PREVIEW_SCALE or available_cpus() < 2:
        return None
    # Each call of a thread that lets others in waits so long to get on, if there is much to load.
    sys.setswitchinterval(SWITCH)
    from ..codec.models import ahead

    return ahead.begin(source, model)


def _load_rest(codec: Codec, header: Header, format_: str | None) -> None:
    """Load the model of a file as far as its latents take it, then, on another thread while they
    are decoded, what of Pillow writes the image. format_: None where nothing of it does."""
    import threading

    from ..codec import decoder  # noqa: F401  before the other thread has Python to itself
    from ..codec.exact.native import chosen
    from ..codec.files import batch  # noqa: F401
    from ..codec.files.writing import load_plugin

    with contextlib.suppress(AeiError, OSError):  # decoding will meet it again
        if chosen() is not None:
            _ = codec.model_of_file(header).prior.native_block
    if format_ is None:
        return
    with contextlib.suppress(RuntimeError):  # no more threads
        threading.Thread(target=load_plugin, args=(format_,), daemon=True).start()

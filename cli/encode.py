"""`aei encode`."""

from __future__ import annotations

import functools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..codec.settings import (
    AUTO,
    DEFAULT_QUALITY,
    EFFORTS,
    ENHANCING,
    RESTORING,
    TUNES,
    settle_effort,
)
from ..formats import UnsupportedError
from . import engine as engines
from . import many
from . import output as out
from .files import ByteCount, check_output, output_path

if TYPE_CHECKING:
    from ..codec.files.plan import Outcome

log = logging.getLogger(__name__)


@click.command("encode")
@click.argument("sources", metavar="IN...", nargs=-1, type=click.Path())
@click.option(
    "-o", "--output", metavar="OUT", type=click.Path(),
    help="Output file, - for stdout; for many files a folder.  [default: IN with .aei]",
)  # fmt: skip
@click.option(
    "-q",
    "--quality",
    default=float(DEFAULT_QUALITY),
    show_default=True,
    type=click.FloatRange(1, 100),
    help="1 (smallest) to 100 (best).",
)
@click.option("--target-size", type=ByteCount(), metavar="SIZE",
              help="Best quality in at most this size, as in 200KB, 1.5MB or 64KiB.")  # fmt: skip
@click.option("--target-bpp", type=float, help="Best quality in at most so many bits per pixel.")
@click.option("--target-psnr", type=float, help="Smallest file with at least this PSNR, in dB.")
@click.option("--target-ssim", type=float, help="Smallest file with at least this SSIM, below 1.")
@click.option(
    "--target-ssimulacra2",
    type=float,
    metavar="SCORE",
    help="File with this SSIMULACRA 2, within 0.5: 90 looks like the original, 70 is good.",
)
@click.option("--max-side", type=click.IntRange(1), metavar="PIXELS",
              help="Scale larger images down to this width and height at most.")  # fmt: skip
@click.option(
    "--keep-smaller",
    is_flag=True,
    help="Where the source is smaller than the result, copy the source instead (not with --strip).",
)
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(0, EFFORTS - 1),
    help="0 (fastest) to 9 (smallest files); any decoder reads them alike.  [default: 1, tuned "
    "for ms-ssim 5]",
)
@click.option(
    "--tune",
    type=click.Choice(list(TUNES)),
    help="What small files are to keep: the look, pixel values, or structure.  [default: "
    "ssimulacra2]",
)
@click.option(
    "--restore",
    metavar="KIND",
    type=click.Choice([AUTO, *RESTORING]),
    help="Take noise, JPEG blocks or blur out first: auto, denoise, deblock or deblur (needs "
    "aei-codec-restore).",
)
@click.option(
    "--enhance",
    metavar="KIND",
    type=click.Choice([AUTO, *ENHANCING]),
    help="Mend light or colour first: auto, low-light, contrast, colour or haze (needs "
    "aei-codec-restore).",
)
@click.option(
    "--restore-bundle", metavar="DIR", type=click.Path(),
    help="Restoring bundle, or folder of several, instead of those installed.",
)  # fmt: skip
@many.options
@click.option(
    "--model",
    metavar="BUNDLE",
    type=click.Path(),
    help="Model bundle to use instead of the one shipped.",
)
@click.option(
    "--strip", is_flag=True, help="Leave out metadata; Exif's orientation is applied to the pixels."
)
@click.option(
    "--convert",
    is_flag=True,
    help="Take 16-bit, float, CMYK, YCbCr, Lab and HSV images too, as 8-bit RGB or grey.",
)
@click.option(
    "--preview/--no-preview",
    default=None,
    help="Put a small picture into the file, for thumbnails.  [default: over 2 megapixels]",
)
@click.option(
    "--first-frame", is_flag=True,
    help="Of animations, pages and collections (GIF, APNG, WebP, TIFF, HEIC) take the first.",
)  # fmt: skip
@click.option("--all-frames", is_flag=True,
              help="Write each frame or page as a file of its own, photo-01.aei.")  # fmt: skip
@click.option(
    "--verify",
    is_flag=True,
    help="Read each output back from the disk, decode it and compare, before it counts.",
)
@click.option(
    "--manifest",
    is_flag=False,
    flag_value=engines.SUMS,
    metavar="[NAME.parquet]",
    help="List the SHA-256 of the outputs in SHA256SUMS in their folder, as `sha256sum -c` and "
    "`aei verify` read it. With a name: a row for each image in Parquet, by which the same command "
    "goes on (needs the [manifest] extra).",
)
@click.option(
    "--metrics", is_flag=True,
    help="Note PSNR and SSIMULACRA 2 of each file, in a manifest in Parquet.",
)  # fmt: skip
@click.option(
    "--watch",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Encode what FOLDER holds and what arrives in it, until Ctrl-C (needs the [watch] extra).",
)
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist.")
@engines.options
def command(
    sources: tuple[str, ...],
    output: str | None,
    quality: float,
    target_size: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    target_ssim: float | None,
    target_ssimulacra2: float | None,
    max_side: int | None,
    keep_smaller: bool,
    effort: int | None,
    tune: str | None,
    restore: str | None,
    enhance: str | None,
    restore_bundle: str | None,
    recursive: bool,
    listed: str | None,
    jobs: int | None,
    skip_existing: bool,
    keep_extension: bool,
    dry_run: bool,
    model: str | None,
    strip: bool,
    convert: bool,
    preview: bool | None,
    first_frame: bool,
    all_frames: bool,
    verify: bool,
    manifest: str | None,
    metrics: bool,
    watch: str | None,
    force: bool,
    engine: engines.Asked | None,
) -> None:
    """Compress images (any format Pillow reads; - for stdin) to .aei files.

    IN may be several files, folders and quoted patterns; -o then names a folder, in which the
    folders' structure is kept. Bad files are listed at the end, and the exit code is then 2. Files'
    times are kept.

    Transparency is kept without loss; the colour profile, Exif and XMP are kept unless --strip is
    given.

    \b
    Examples:
      aei encode photo.png
      aei encode photo.jpg -q 30 -o small.aei
      cat photo.png | aei encode - > photo.aei
      aei encode photo.jpg --effort 5
      aei encode photo.jpg --tune ms-ssim
      aei encode night.jpg --restore denoise
      aei encode photo.jpg --target-size 200KB --max-side 1600
      aei encode photo.jpg --target-ssimulacra2 80
      aei encode photos/ -o small/ --recursive --skip-existing
      aei encode --watch incoming/ -o small/
      find photos -name '*.jpg' -print0 | aei encode --from-list - -o small/
      aei encode photos/ -o small/ --recursive --manifest small.parquet
      aei encode s3://bucket/photos/ -o s3://bucket/small/ --engine ray --sample 0.01
    """
    if skip_existing and force:
        raise click.UsageError("--skip-existing leaves outputs, --force replaces them: give one")
    if watch is not None:
        if sources or listed is not None or force or dry_run:
            raise click.UsageError(
                "--watch FOLDER encodes what has no output yet: leave out other files, --force and "
                "--dry-run"
            )
        sources, skip_existing = (watch,), True
    if first_frame and all_frames:
        raise click.UsageError("--first-frame is one of --all-frames: give one of them")
    if all_frames and output is not None and output.lower().endswith(".aei"):
        raise click.UsageError("--all-frames writes a file for each: name a folder with -o")
    if keep_smaller and strip:
        raise click.UsageError("--keep-smaller copies metadata too: leave out --strip")
    try:
        settle_effort(effort, tune)
    except UnsupportedError as error:
        raise click.UsageError(str(error)) from None
    if keep_smaller and (restore or enhance):
        raise click.UsageError(
            "--keep-smaller would copy the image as it was: leave out --restore and --enhance"
        )
    if restore_bundle and not (restore or enhance):
        raise click.UsageError("--restore-bundle is for --restore KIND and --enhance KIND")
    where = engines.parquet_of(manifest)
    if where is not None and (all_frames or watch):
        raise click.UsageError("--manifest NAME.parquet goes without --all-frames and --watch")
    if engine is not None and manifest == engines.SUMS:
        raise click.UsageError("--engine ray has a manifest in Parquet: give --manifest its name")
    workers, threads = 1, None
    is_many = engine is not None or many.is_many(sources, output, listed) or all_frames
    if engine is not None:
        if all_frames or watch:
            raise click.UsageError("--engine ray goes without --all-frames and --watch")
        engines.check_usage(sources, listed, skip_existing)
    elif is_many:
        many.check_usage(sources, output, listed)
        workers, threads = many.split_cpus(jobs)
    from ..codec.files.convert import EncodeOptions
    from ..codec.targets import Target

    asked = {
        "size": target_size, "bpp": target_bpp, "psnr": target_psnr, "ssim": target_ssim,
        "ssimulacra2": target_ssimulacra2,
    }  # fmt: skip
    try:
        targets = [Target(kind, value) for kind, value in asked.items() if value is not None]
    except UnsupportedError as error:
        raise click.UsageError(str(error)) from None
    given = click.get_current_context().get_parameter_source("quality")
    if len(targets) + (given is not click.core.ParameterSource.DEFAULT) > 1:
        raise click.UsageError("-q and the --target options exclude each other: give one")
    target = targets[0] if targets else None
    options = EncodeOptions(
        quality,
        metadata=not strip,
        effort=effort,
        tune=tune,
        restore=restore,
        enhance=enhance,
        verify=verify,
        target=target,
        max_side=max_side,
        keep_smaller=keep_smaller,
        convert=convert,
        preview=preview,
        first_frame=first_frame,
    )
    bundles = model, restore_bundle
    folder = None
    if manifest is not None and (where is None or not is_many):
        folder = _folder_of_manifest(sources, output, listed)
    if is_many:
        from ..codec.files.convert import image_suffixes
        from ..codec.files.job import Job

        job = Job(options, ".aei", image_suffixes(), "", model, restore_bundle, keep_extension,
                  metrics, *engines.shards_of(engine))  # fmt: skip
    if engine is not None:
        names = [*sources, *many.read_list(listed)]
        engines.execute(
            job, names, output, engine, where=where, jobs=jobs, force=force, dry_run=dry_run
        )
    elif is_many:
        from ..codec.files import convert as conversion
        from ..codec.files import plan as planning

        notes = None
        if where is not None:
            notes = engines.notes_of(job, where, output, force, skip_existing)
            force = True  # what is there is of a run

        make_plan = functools.partial(
            planning.make_plan,
            sources,
            many.read_list(listed),
            suffixes=job.suffixes,
            new_suffix=".aei",
            output=None if output is None else Path(output),
            recursive=recursive,
            keep_extension=keep_extension,
            skip_existing=skip_existing,
            overwrite=force,
            copies=keep_smaller,
            frames=conversion.frames_in if all_frames else None,
        )

        def load():
            return functools.partial(job.convert if notes is None else job.audited,
                                     job.load(threads))  # fmt: skip

        after = None if folder is None else functools.partial(_list_hashes, folder)
        if watch is not None:
            from .watch import run

            run(watch, recursive, make_plan, load, workers, after)
            return
        many.execute(
            make_plan(), load, workers, verb="encode", overwrite=force, dry_run=dry_run,
            after=after, notes=notes,
        )  # fmt: skip
    else:
        _one(sources[0], output, options, bundles, keep_extension, skip_existing, dry_run, force)


def _folder_of_manifest(sources: tuple[str, ...], output: str | None, listed: str | None) -> Path:
    """Where the manifest goes; it is read now, so that a bad one is found before any work."""
    if not many.is_many(sources, output, listed):
        raise click.UsageError("--manifest is of a folder: name one, or one for the outputs")
    if output is None and not (len(sources) == 1 and Path(sources[0]).is_dir()):
        raise click.UsageError("--manifest is of one folder: name it with -o")
    from ..codec.files.archive import listed_below

    folder = Path(sources[0] if output is None else output)
    listed_below([folder])
    return folder


def _list_hashes(folder: Path, outcomes: list[Outcome]) -> None:
    """Bring the manifest of a folder up to date. Of outputs that were there before, the hash is
    taken from the disk, where the manifest does not have it."""
    from ..codec.files import archive
    from ..codec.files import manifest as lists
    from ..codec.files import plan as planning

    known = archive.listed_below([folder])
    hashes = {}
    for outcome in outcomes:
        if outcome.target is None or outcome.status in (planning.FAILED, planning.LEFT):
            continue
        place = lists.place_in(folder, outcome.target)
        if place is None:
            continue
        if outcome.status != planning.SKIPPED:
            hashes[place] = outcome.sha256
        elif os.path.abspath(outcome.target) not in known:
            hashes[place] = lists.sha256_of(outcome.target)
    if hashes:
        lists.update_manifest(folder, hashes)


def _one(source, output, options, bundles, keep_extension, skip_existing, dry_run, force) -> None:
    suffix = Path(source).suffix + ".aei" if keep_extension else ".aei"
    target = output_path(source, output, suffix)
    if many.is_settled(source, target, skip_existing, dry_run, "encode"):
        return
    many.check_stream(source, target, options.keep_smaller)
    check_output(target, source, force)
    from ..codec import Codec
    from ..codec.files import plan as planning
    from ..codec.files.convert import encode_file

    codec = Codec(bundles[0], restore_bundle=bundles[1])
    one = functools.partial(encode_file, codec=codec, options=options)
    outcome = many.execute_one(source, target, one, force, "encode")
    if outcome.bytes_out >= outcome.bytes_in and outcome.status == planning.DONE:
        log.warning(
            "%s: the result (%d bytes) is not smaller than the source (%d bytes): a lower -q "
            "makes it so, "
            "--keep-smaller keeps the source instead",
            source,
            outcome.bytes_out,
            outcome.bytes_in,
        )
    elif outcome.status == planning.KEPT:
        out.tell(f"{outcome.target}: the source as it is, smaller than an .aei file of it")

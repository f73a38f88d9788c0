"""What is done to one object, on whatever machine: read, convert, hash, measure, write; a row of
the manifest for it."""

from __future__ import annotations

import hashlib
import io
import logging
import posixpath
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...formats import AeiError, parse_header
from ...formats.errors import shown
from ..api import Codec
from ..files.convert import (
    Converted,
    DecodeOptions,
    EncodeOptions,
    decode_file,
    encode_file,
    load_codec,
    open_image,
)
from ..files.storage import DiskError
from ..files.verify import verify_data
from . import objects
from .objects import Source

log = logging.getLogger(__name__)

ENCODE, DECODE, VERIFY = "encode", "decode", "verify"
SHARD = ".tar"  # of WebDataset: members that belong together follow each other
MOST_MEMBER = 1 << 30  # bytes


@dataclass(frozen=True)
class VerifyOptions:
    """How to check files. quick: checksums alone."""

    quick: bool = False


@dataclass(frozen=True)
class Job:
    """What to do with each image: options of one verb, and the bundles that it needs.

    suffix: of the targets; format_: Pillow's name of it, to decode. keep_extension: photo.jpg.aei.
    metrics: measure PSNR and SSIMULACRA 2 of what was encoded. suffixes: of the sources.
    """

    options: EncodeOptions | DecodeOptions | VerifyOptions
    suffix: str
    suffixes: frozenset[str]
    format_: str = ""
    model: str | None = None
    restore_bundle: str | None = None
    keep_extension: bool = False
    metrics: bool = False

    @property
    def verb(self) -> str:
        if isinstance(self.options, VerifyOptions):
            return VERIFY
        return ENCODE if isinstance(self.options, EncodeOptions) else DECODE

    @property
    def digest(self) -> str:
        """A hash of all that targets follow from, beside the source and the release."""
        facts = {name: value for name, value in asdict(self).items() if name != "suffixes"}
        return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]

    @property
    def asked(self) -> str:
        """What was asked for, in words."""
        if not isinstance(self.options, EncodeOptions):
            return ""
        if self.options.target is not None:
            return f"{self.options.target.kind} {self.options.target.value:g}"
        return f"quality {self.options.quality:g}"

    def place(self, place: str) -> str:
        """Where the target of a source lies below the target folder."""
        stem, suffix = posixpath.splitext(place)
        if suffix.lower() == SHARD:
            return place
        return (place if self.keep_extension else stem) + self.suffix

    def load(self) -> Codec:
        """The codec of a worker, of one thread, with all that it needs read."""
        if isinstance(self.options, EncodeOptions):
            return load_codec(self.model, 1, self.restore_bundle, self.options.tune)
        return Codec(self.model, 1)


def done(job: Job, codec: Codec, source: Source, target: str) -> list[dict[str, Any]]:
    """Do one source; its row, or the rows of a shard's members with one of the shard behind them.
    What goes wrong stands in them. target: the folder."""
    start = time.perf_counter()
    place = job.place(source.place)
    url = objects.joined(target, place)
    common = {"version": source.version, "asked": job.asked, "job": job.digest}
    row: dict[str, Any] = {"source": source.url, "target": url, "place": place, **common}
    rows: list[dict[str, Any]] = []

    def work() -> dict[str, Any]:
        if source.place.lower().endswith(SHARD):
            rows.extend({**made, **common} for made in _shard(job, codec, source, url))
            return _sum_of(rows)
        if job.verb == VERIFY:
            return _verified(job, codec, objects.read(source.url))
        made, facts = _converted(job, codec, objects.read(source.url))
        if made.kept:  # under the source's own name
            row.update(target=objects.joined(target, source.place), place=source.place)
        objects.write(row["target"], made.data)
        if made.check is not None:
            made.check(objects.read(row["target"]))
        return facts

    row |= _tried(work, source.url)
    now = time.time()
    row["seconds"] = time.perf_counter() - start
    for one in (*rows, row):
        one["finished"] = now
        if job.verb == VERIFY:
            one["target"] = None
    return [*rows, row]


def _verified(job: Job, codec: Codec, data: bytes) -> dict[str, Any]:
    """What a whole file is. Raises the errors of verify_data."""
    assert isinstance(job.options, VerifyOptions)
    header = verify_data(data, codec, quick=job.options.quick)
    return {
        "status": "good",
        "bytes_in": len(data),
        "bytes_out": len(data),
        "width": header.width,
        "height": header.height,
        "gain_index": header.gain_index,
        "file_sha256": hashlib.sha256(data).hexdigest(),
    }


def _tried(work: Callable[[], dict[str, Any]], name: str) -> dict[str, Any]:
    """What work says, or what went wrong: a bad image costs no other."""
    reason = ""
    try:
        return work()
    except DiskError as error:
        message, reason = str(error), "disk"
    except AeiError as error:
        message, reason = str(error), error.reason
    except MemoryError:
        message = "not enough memory for an image of this size"
    except OSError as error:
        message = error.strerror or str(error) or type(error).__name__
    except Exception as error:  # a fault of ours, or of a file system
        log.debug("%s", shown(name), exc_info=True)
        message = f"unexpected {type(error).__name__}: {error}"
    return {"status": "failed", "error": message, "reason": reason}


def _converted(job: Job, codec: Codec, data: bytes) -> tuple[Converted, dict[str, Any]]:
    """The file made of one, and its row's facts: the same bytes as on a single machine."""
    if isinstance(job.options, EncodeOptions):
        made = encode_file(data, codec, job.options)
    else:
        assert isinstance(job.options, DecodeOptions)
        made = decode_file(data, codec, job.format_, job.options)
    facts: dict[str, Any] = {
        "status": "kept" if made.kept else "done",
        "bytes_in": len(data),
        "bytes_out": len(made.data),
        "width": made.width,
        "height": made.height,
        "file_sha256": hashlib.sha256(made.data).hexdigest(),
    }
    file = made.data if job.verb == ENCODE else data
    if not made.kept:
        facts["latents_sha256"] = codec.latents_sha256(file)
        facts["gain_index"] = parse_header(file)[0].gain_index
    if isinstance(job.options, EncodeOptions):
        target = job.options.target
        if target is not None:
            facts["reached"] = made.details.get(target.kind)
        if job.metrics and not made.kept:
            facts |= _measured(job.options, codec, data, made.data)
    return made, facts


def _measured(options: EncodeOptions, codec: Codec, data: bytes, file: bytes) -> dict[str, float]:
    """PSNR and, of images with sides of 8 pixels or more, SSIMULACRA 2."""
    from ..pixels.quality import psnr
    from ..pixels.ssimulacra2 import MIN_SIDE, ssimulacra2
    from ..targets import seen

    image, _ = open_image(data, options.max_side, options.convert)
    pair = seen(image, codec.decode(file), options.metadata)
    found = {"psnr": float(psnr(*pair))}
    if min(pair[0].shape[:2]) >= MIN_SIDE:
        found["ssimulacra2"] = float(ssimulacra2(*pair))
    return found


def _shard(job: Job, codec: Codec, source: Source, url: str) -> list[dict[str, Any]]:
    """A tar of images to one of results, in order; members of other kinds are copied. An image that
    fails is left out, and what stands beside it stays."""
    rows = []
    fs, path = objects.file_system(source.url)
    with tempfile.TemporaryDirectory(prefix="aei-") as folder:
        made = Path(folder) / "shard.tar"
        with (
            fs.open(path, "rb") as stream,
            tarfile.open(fileobj=stream, mode="r|*") as old,
            tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as new,
        ):
            for member in old:
                if member.isfile():
                    row = _member(job, codec, old, new, member)
                    row["source"] = f"{source.url}/{member.name}"
                    row["target"] = f"{url}/{row['place']}"
                    row["place"] = f"{source.place}/{row['place']}"
                    rows.append(row)
        if job.verb != VERIFY:
            objects.upload(made, url)
    return rows


def _member(
    job: Job, codec: Codec, old: tarfile.TarFile, new: tarfile.TarFile, member: tarfile.TarInfo
) -> dict[str, Any]:
    """One member of a shard, and its row."""
    start = time.perf_counter()
    name = member.name
    image = posixpath.splitext(name)[1].lower() in job.suffixes
    row: dict[str, Any] = {"place": job.place(name) if image else name}

    def work() -> dict[str, Any]:
        if member.size > MOST_MEMBER:
            raise AeiError(f"larger than {MOST_MEMBER >> 20} MiB")
        stream = old.extractfile(member)
        assert stream is not None
        data = stream.read()
        facts = {"status": "copied", "bytes_in": len(data), "bytes_out": len(data)}
        if image and job.verb == VERIFY:
            return _verified(job, codec, data)
        if image:
            result, facts = _converted(job, codec, data)
            data = result.data
            if result.kept:
                row["place"] = name
        entry = tarfile.TarInfo(row["place"])
        entry.size, entry.mtime, entry.mode = len(data), member.mtime, 0o644
        new.addfile(entry, io.BytesIO(data))
        return facts

    row |= _tried(work, name)
    row["seconds"] = time.perf_counter() - start
    return row


def _sum_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of a shard, whose members are counted already."""
    failed = sum(row["status"] == "failed" for row in rows)
    return {"status": "shard", "error": f"{failed} members failed" if failed else None}

"""Many images in memory: encode and decode them several at a time, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..formats import DEFAULT_LIMITS, Header, Limits, parse
from .api import Codec
from .cpus import available_cpus
from .files.batch import default_jobs
from .files.convert import load_codec
from .reading import as_data
from .settings import DEFAULT_QUALITY, EncodeSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

from .targets import Target

# What to decode of an image: four numbers of pixels, or a function of its width and height.
Region = tuple[int, int, int, int] | Callable[[int, int], tuple[int, int, int, int]] | None

In = TypeVar("In")
Out = TypeVar("Out")


def encode_many(
    images: Iterable[Image.Image | NDArray[Any]],
    quality: float = DEFAULT_QUALITY,
    *,
    target: Target | None = None,
    metadata: bool = True,
    effort: int | None = None,
    tune: str | None = None,
    restore: str | None = None,
    enhance: str | None = None,
    convert: bool = False,
    preview: bool | None = None,
    jobs: int | None = None,
    model: str | Path | None = None,
    restore_bundle: str | Path | None = None,
) -> Iterator[bytes]:
    """The .aei files of images, in order, `jobs` at a time (by default one per CPU).

    images: whatever Codec.encode takes, read no faster than the results are. target: a size or
    quality to meet instead of `quality`. metadata, effort, tune, restore, enhance, convert,
    preview, model, restore_bundle: see Codec. An image that cannot be encoded raises when its turn
    comes, and ends the iteration.
    """
    jobs = jobs or default_jobs()
    codec = load_codec(model, max(1, available_cpus() // jobs), restore_bundle, tune)

    settings = EncodeSettings(
        quality,
        metadata=metadata,
        effort=effort,
        tune=tune,
        restore=restore,
        enhance=enhance,
        convert=convert,
        preview=preview,
    )

    def one(image: Image.Image | NDArray[Any]) -> bytes:
        if target is None:
            return codec.encode_with(image, settings)
        from .targets import reach

        return reach(codec, image, target, settings).data

    return _ordered(one, images, jobs)


def decode_many(
    files: Iterable[bytes | str | os.PathLike[str]],
    *,
    scale: int = 1,
    region: Region = None,
    limits: Limits = DEFAULT_LIMITS,
    jobs: int | None = None,
    model: str | Path | None = None,
) -> Iterator[Image.Image]:
    """The images of .aei files, in order, `jobs` at a time (by default one per CPU).

    files: contents as bytes, or paths; read no faster than the results are. scale, limits: see
    Codec.decode. region: (left, top, width, height) in pixels of every image, or a function of an
    image's width and height that gives it, such as loaders.RandomCrop; only the tiles it needs are
    decoded. model: see Codec, needed only for files of a model that is not installed. A file that
    cannot be decoded raises when its turn comes, and ends the iteration.
    """
    jobs = jobs or default_jobs()
    codec = Codec(model, max(1, available_cpus() // jobs))

    def one(file: bytes | str | os.PathLike[str]) -> Image.Image:
        contents = parse(bytes(as_data(file)), limits)
        return codec.decode_contents(contents, region_of(region, contents.header), scale, limits)

    return _ordered(one, files, jobs)


def region_of(region: Region, header: Header) -> tuple[int, int, int, int] | None:
    """The region of one image, where there may be a function that gives it."""
    return region(header.width, header.height) if callable(region) else region


def _ordered(function: Callable[[In], Out], items: Iterable[In], jobs: int) -> Iterator[Out]:
    """Like map() on threads, at most 2 jobs items ahead of the results."""
    pending: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            source = iter(items)
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception:  # what came before it is still given
                    while pending:
                        yield pending.popleft().result()
                    raise
                pending.append(pool.submit(function, item))
                if len(pending) >= 2 * jobs:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

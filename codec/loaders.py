"""`.aei` files as training data: what a data loader calls for each file, without torch.

>>> import numpy as np
>>> from aei import codec
>>> from aei.codec.loaders import AeiDataset, Pixels, RandomCrop
>>> file = codec.encode(np.zeros((96, 80, 3), np.uint8))
>>> AeiDataset([file], Pixels(region=RandomCrop(64, 48)))[0].shape
(3, 48, 64)

`AeiDataset` goes into a torch DataLoader as it is; `Pixels` and `Latents` decode one file, for
WebDataset, Hugging Face `datasets` and Ray Data too (docs/guide/loaders.md). All of them can be
pickled, for workers that are started anew.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..formats import DEFAULT_LIMITS, AeiError, Limits, UnsupportedError, parse
from ..formats.container import Header
from .api import Codec
from .reading import as_data
from .streams import Region, region_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

File = bytes | memoryview | str | os.PathLike[str]
MODES = ("L", "LA", "RGB", "RGBA")


@dataclass(frozen=True)
class RandomCrop:
    """A region of decode_many or Pixels: a rectangle of one size, anywhere in the image.

    width, height: in pixels. step: its corner lies on multiples of so many pixels. Places come from
    Python's `random`, which a torch DataLoader seeds anew in each worker. Raises UnsupportedError
    for an image that is smaller.
    """

    width: int
    height: int
    step: int = 1

    def __call__(self, width: int, height: int) -> tuple[int, int, int, int]:
        if width < self.width or height < self.height:
            raise UnsupportedError(
                f"the image of {width}x{height} pixels is smaller than a crop of "
                f"{self.width}x{self.height}"
            )
        left = self.step * random.randint(0, (width - self.width) // self.step)
        top = self.step * random.randint(0, (height - self.height) // self.step)
        return left, top, self.width, self.height


@dataclass(frozen=True)
class Pixels:
    """Decodes a file to uint8 (C, H, W).

    scale, region, limits: see decode_many. mode: L, LA, RGB or RGBA, for as many channels in every
    file; None: as the file has them.
    """

    scale: int = 1
    region: Region = None
    mode: str | None = "RGB"
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.mode is not None and self.mode not in MODES:
            raise UnsupportedError(f"mode {self.mode!r}: choose {', '.join(MODES)}")

    def __call__(self, codec: Codec, data: bytes | memoryview) -> NDArray[np.uint8]:
        contents = parse(data, self.limits)
        region = region_of(self.region, contents.header)
        image = codec.decode_contents(contents, region, self.scale, self.limits)
        if self.mode is not None and image.mode != self.mode:
            image = image.convert(self.mode)
        pixels = np.array(image)
        return np.moveaxis(pixels.reshape(*pixels.shape[:2], -1), 2, 0)


@dataclass(frozen=True)
class Latents:
    """Decodes a file to its latents, float32 (M, h, w), a column for each 16x16 pixels, without the
    synthesis.

    even: as the encoder's network gave them, so that files of several qualities agree; otherwise in
    quantisation steps, whose size hangs on the quality. Tiles are put together. Channels mean the
    same in all files of one model, and something else in another's: `model` is the fingerprint that
    they have to have, in hexadecimal; None for any.
    """

    even: bool = True
    model: str | None = None
    limits: Limits = DEFAULT_LIMITS

    def __call__(self, codec: Codec, data: bytes | memoryview) -> NDArray[np.float32]:
        contents = parse(data, self.limits)
        header = contents.header
        if self.model is not None and header.model.hex() != self.model:
            raise UnsupportedError(
                f"latents of model {header.model.hex()}, where those of {self.model} are wanted"
            )
        bundle = codec.model_of_file(header).bundle
        prior = bundle.prior
        cells = [box.cells(prior.stride) for box in contents.boxes]
        shape = max(c.bottom for c in cells), max(c.right for c in cells), prior.latents
        grid = np.empty(shape, np.float32)
        for box, latents in zip(cells, codec.latents(contents.data, limits=self.limits)):
            grid[box.slices] = latents.y_hat
        grid /= prior.unit
        if self.even:
            grid *= _inverse_gain(bundle.rows, header)
        return np.moveaxis(grid, 2, 0)


def _inverse_gain(rows: dict[str, NDArray[Any]], header: Header) -> NDArray[Any]:
    if "inverse_gain" in rows:
        return np.asarray(rows["inverse_gain"][header.gain_index])
    return np.asarray(1 / rows["gain"][header.gain_index])


class AeiDataset:
    """A map-style data set of .aei files, for torch's DataLoader and anything that indexes.

    files: paths, or contents as bytes. read: makes an array of a file: Pixels(), Latents(), or a
    function of a Codec and bytes. labels: one for each file, given beside its array. transform: of
    the array, before the label is put beside it. codec: one thread by default, for loaders with
    workers; nothing is loaded before the first file. Torch's default collating copies the arrays
    straight into the tensor of a batch, in shared memory where workers make it.
    """

    def __init__(
        self,
        files: Sequence[File],
        read: Callable[[Codec, bytes | memoryview], Any] = Pixels(),
        labels: Sequence[Any] | None = None,
        transform: Callable[[Any], Any] | None = None,
        codec: Codec | None = None,
    ):
        if labels is not None and len(labels) != len(files):
            raise UnsupportedError(f"{len(labels)} labels for {len(files)} files")
        self.files = files
        self.labels = labels
        self._read = read
        self._transform = transform
        self._codec = codec or Codec(threads=1)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        """The array of a file, or (array, label). Raises the errors of Codec.decode with the file's
        name in front, OSError, and IndexError."""
        file = self.files[i]
        try:
            made = self._read(self._codec, bytes(as_data(file)))
        except AeiError as error:
            if isinstance(file, (str, os.PathLike)) and os.fspath(file) not in str(error):
                raise type(error)(f"{os.fspath(file)}: {error}", reason=error.reason) from None
            raise
        if self._transform is not None:
            made = self._transform(made)
        return made if self.labels is None else (made, self.labels[i])


@dataclass(frozen=True)
class WebDecoder:
    """For `WebDataset(...).decode(WebDecoder())`: what a shard holds under names ending in .aei
    becomes an array; everything else is left to other decoders."""

    read: Callable[[Codec, bytes | memoryview], Any] = Pixels()

    def __call__(self, key: str, data: bytes) -> Any:
        if Path(f"x{key}").suffix.lower() != ".aei":
            return None
        return self.read(codec_of_process(), data)


_codecs: dict[int, Codec] = {}


def codec_of_process() -> Codec:
    """The Codec of one thread that loaders of this process share."""
    return _codecs.setdefault(0, Codec(threads=1))


def read_aei(
    paths: str | list[str],
    read: Callable[[Codec, bytes | memoryview], Any] = Pixels(),
    *,
    include_paths: bool = False,
    **options: Any,
) -> Any:
    """A Ray Data set of .aei files, with their arrays in the column `image`: what
    `ray.data.read_images` is for other formats.

    paths: files and folders, of any file system that Ray reads. include_paths: a column `path` too.
    options: of `ray.data.read_binary_files`. Needs the package ray.
    """
    import ray.data

    options.setdefault("file_extensions", ["aei"])
    files = ray.data.read_binary_files(paths, include_paths=include_paths, **options)

    def decoded(row: dict[str, Any]) -> dict[str, Any]:
        data = row.pop("bytes")
        return {**row, "image": np.ascontiguousarray(read(codec_of_process(), data))}

    return files.map(decoded)

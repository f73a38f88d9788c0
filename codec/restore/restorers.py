"""Restoring networks at run time: noise, JPEG blocks and blur taken out of an image, or light and
colour put right, before it is coded or written. Their bundles are installed apart from the codec
(`pip install aei-codec-restore`).

A restored image is an image: what codes it afterwards need not know. Nothing here happens unless it
is asked for.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats import ModelError, UnsupportedError
from ...formats.container import check_size
from ...formats.tiles import Box, tile_boxes
from ..forks import Lock
from ..models.parts import MANIFEST, read_json
from ..pixels.tensors import as_pixels
from ..settings import AUTO, ENHANCING, RESTORING, EncodeSettings

if TYPE_CHECKING:
    from PIL import Image

    from ..pixels.images import Picture

log = logging.getLogger(__name__)

KINDS = RESTORING + ENHANCING
ENTRY_POINTS = "aei.restore"  # each names a function that lists folders of bundles
DISTRIBUTION = "aei-codec-restore"
GRAPH = "restore.onnx"
MULTIPLE = 16  # windows start at multiples of this, so that they see the image's 8x8 blocks alike
WINDOW = 1536  # pixels on a side that are restored at once
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


class Restorer:
    """A restoring bundle: a folder with a manifest and one ONNX graph. Safe to use from several
    threads.

    kind: one of KINDS. threads: of the network, by default one per core. Raises ModelError where
    the folder is none.
    """

    def __init__(self, path: str | Path, threads: int | None = None):
        self.path = Path(path)
        try:
            manifest = read_json(self.path / MANIFEST)
            self.kind: str = manifest["restores"]
            self.name: str = manifest["name"]
            self.margin = int(manifest["margin"])  # pixels around a window that it depends on
            known = self.kind in KINDS and 0 <= self.margin <= 4096 and not self.margin % MULTIPLE
        except (ModelError, ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise ModelError(f"{self.path}: not a restoring bundle", reason="restorer")
        self._threads = threads
        self._lock = Lock()
        self._session: Any = None

    def _loaded(self):
        with self._lock:
            if self._session is None:
                from ..models.runtime import Session

                self._session = Session(self.path / GRAPH, self._threads, "network")
            return self._session

    def run(self, x: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """The network. x: float32 (1, 3, H, W), sides multiples of 16, range -0.5..0.5; seen:
        `statistics` of the whole image, which not every network looks at. Returns float32 (H,
        W, 3), not clipped."""
        session = self._loaded()
        inputs = {"x": x}
        if any(i.name == "statistics" for i in session.get_inputs()):
            inputs["statistics"] = seen
        return session.run(None, inputs)[0][0].transpose(1, 2, 0)

    def restore(self, picture: Picture, window: int = WINDOW) -> np.ndarray:
        """The restored pixels of a picture, uint8 (H, W, C); alpha is kept. window: side of the
        squares, a multiple of 16, that the network sees at once, besides their margin; it changes
        nothing but memory and time."""
        from ..pixels.images import fill_transparent, from_network, to_network

        width, height = picture.size
        whole = Box(0, 0, width, height)
        out = np.empty((height, width, picture.channels), np.uint8)
        grey = picture.channels <= 2
        seen = statistics(picture)
        for box in tile_boxes(width, height, window):
            around = box.grown(self.margin, whole)
            colour, alpha = picture.read(around)
            if alpha is not None:
                colour = fill_transparent(colour, alpha)
            made = self.run(to_network(colour, MULTIPLE), seen)
            rows, columns = box.within(around)
            pixels = from_network(made[rows, columns], grey).reshape(box.height, box.width, -1)
            part = out[box.slices]
            part[..., : pixels.shape[2]] = pixels
            if alpha is not None:
                part[..., -1] = alpha[rows, columns]
        return out


def statistics(picture: Picture) -> np.ndarray:
    """Quantiles of each colour channel over what is seen of an image, float32 (1, 3 * quantiles,
    1, 1) in -0.5..0.5."""
    width, height = picture.size
    counts = np.zeros((3, 256), np.int64)
    for box in tile_boxes(width, height, 1024):
        colour, alpha = picture.read(box)
        pixels = colour.reshape(-1, colour.shape[2])
        if alpha is not None and alpha.any():
            pixels = pixels[alpha.reshape(-1) > 0]
        for c in range(3):
            counts[c] += np.bincount(pixels[:, min(c, pixels.shape[1] - 1)], minlength=256)
    sums = counts.cumsum(axis=1)
    last = sums[:, -1] - 1
    levels = [
        [int(np.searchsorted(row, round(q * n) + 1)) for q in QUANTILES]
        for row, n in zip(sums, last)
    ]
    return (np.array(levels, np.float32) / 255 - 0.5).reshape(1, -1, 1, 1)


def bundle_folders(folder: str | Path | None = None) -> list[Path]:
    """Folders of the restoring bundles at hand: `folder` itself or those in it, else the installed
    ones.

    Raises ModelError where a folder was named and holds none.
    """
    if folder is not None:
        folder = Path(folder)
        found = [folder] if (folder / "manifest.json").is_file() else []
        found = found or sorted(p.parent for p in folder.glob("*/manifest.json"))
        if not found:
            raise ModelError(f"{folder}: no restoring bundle there")
        return found
    from importlib.metadata import entry_points

    return [Path(p) for entry in entry_points(group=ENTRY_POINTS) for p in entry.load()()]


@dataclass(frozen=True)
class Applied:
    """What was done to an image: the restored one, of the type given; the kinds applied, in order;
    a sentence for people."""

    image: Any
    kinds: tuple[str, ...]
    said: str


class Restorers:
    """The restoring bundles at hand, each loaded when its kind is first asked for.

    folder: a bundle, or a folder of several, instead of the installed ones; threads: of each
    network.
    """

    def __init__(self, folder: str | Path | None = None, threads: int | None = None):
        self._folder, self._threads = folder, threads
        self._lock = Lock()
        self._loaded: dict[str, Restorer] | None = None

    def __repr__(self) -> str:
        return f"<Restorers: {', '.join(self.kinds()) or 'none at hand'}>"

    def _found(self) -> dict[str, Restorer]:
        with self._lock:
            if self._loaded is None:
                found = [Restorer(p, self._threads) for p in bundle_folders(self._folder)]
                self._loaded = {r.kind: r for r in found}
            return self._loaded

    def kinds(self) -> tuple[str, ...]:
        """The kinds that bundles are at hand for."""
        return tuple(self._found())

    def __getitem__(self, kind: str) -> Restorer:
        """The restorer of a kind. Raises UnsupportedError for kinds that do not exist, ModelError
        where none is at hand."""
        if kind not in KINDS:
            raise UnsupportedError(f"cannot restore {kind!r}: choose {', '.join(KINDS)}")
        found = self._found()
        if kind in found:
            return found[kind]
        if self._folder is not None:
            has = ", ".join(found)
            raise ModelError(f"{self._folder}: no bundle for {kind} there, only for {has}")
        raise ModelError(f"no bundle for {kind} is installed: pip install {DISTRIBUTION}")

    def apply(
        self,
        image: Image.Image | np.ndarray,
        restore: str | None = None,
        enhance: str | None = None,
        metadata: bool = True,
    ) -> Applied:
        """An image restored, enhanced, or both in this order; as it is where `auto` finds nothing
        to do.

        image: as for Codec.encode; the result is of the same kind, a Pillow image with its metadata
        (without `metadata`, with Exif's orientation applied instead). restore: one of RESTORING, or
        auto, which measures; enhance: one of ENHANCING, or auto. Raises UnsupportedError,
        ModelError.
        """
        from ..pixels.images import to_picture
        from .measure import choose_enhancing, choose_restoring

        for asked, known in ((restore, RESTORING), (enhance, ENHANCING)):
            if asked is not None and asked not in (*known, AUTO):
                raise UnsupportedError(f"{asked!r}: choose {', '.join(known)} or {AUTO}")
        image = as_pixels(image)
        if not hasattr(image, "size"):
            raise UnsupportedError(
                f"cannot restore a {type(image).__name__}: give a Pillow image or array"
            )
        tables = getattr(image, "quantization", None)
        if isinstance(image.size, tuple):
            check_size(*image.size)
        picture = to_picture(image, metadata)
        check_size(*picture.size)
        kinds, sayings = [], []
        for asked, choose in ((restore, choose_restoring), (enhance, choose_enhancing)):
            if asked is None:
                continue
            kind: str | None = asked
            if asked == AUTO:
                kind, why = choose(picture, tables)
                sayings.append(f"{kind} ({why})" if kind else f"nothing done ({why})")
            else:
                sayings.append(asked)
            if kind is not None:
                picture = type(picture)(self[kind].restore(picture), picture.metadata)
                kinds.append(kind)
        said = ", ".join(sayings)
        log.info("%s", said)
        if not kinds:
            return Applied(image, (), said)
        return Applied(_like(image, picture), tuple(kinds), said)


@dataclass(frozen=True)
class RestoredFirst:
    """An image to be encoded, restored as asked; the settings that are left; what was done, in
    words."""

    image: Any
    settings: EncodeSettings
    said: str = ""


def restore_first(
    restorers: Callable[[], Restorers], image: Any, settings: EncodeSettings
) -> RestoredFirst:
    """Convert, restore and enhance an image before it is coded, once for however many encodings.
    restorers: gives those at hand, where something is asked for. Raises UnsupportedError,
    ModelError."""
    if settings.convert:
        from ..pixels.depth import as_8_bits

        image, settings = as_8_bits(image), dataclasses.replace(settings, convert=False)
    if not settings.restores:
        return RestoredFirst(image, settings)
    applied = restorers().apply(image, settings.restore, settings.enhance, settings.metadata)
    settings = dataclasses.replace(settings, restore=None, enhance=None)
    return RestoredFirst(applied.image, settings, applied.said)


def _like(image: Image.Image | np.ndarray, picture: Picture) -> Image.Image | np.ndarray:
    """A picture made from an array, as an array or as a Pillow image, whichever the original
    was."""
    pixels = np.asarray(picture.source)
    if isinstance(image, np.ndarray):
        return pixels.reshape(image.shape)
    from PIL import Image

    from ..pixels.metadata import info_of

    made = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    made.info.update(info_of(picture.metadata))
    return made

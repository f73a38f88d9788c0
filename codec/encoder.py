"""Image to file: prepare the picture, code its tiles, fit a filter, put the file together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..formats import DamagedFileError, Header, UnsupportedError, pack
from ..formats.container import MAX_PLAIN_SIDE, check_size
from ..formats.plane import encode_plane
from ..formats.sections import ALPHA, FILTER, PREVIEW
from ..formats.tiles import DEFAULT_SIDE, MAX_SIDE, Box, tile_boxes
from . import preview
from .exact.payload import decode_latents, write
from .exact.quantise import Quantised
from .exact.steps import grid_of
from .models.bundle import Bundle
from .models.model import Model
from .pixels import post_filter
from .pixels.images import Picture, to_picture
from .pixels.side_channels import pack_metadata, with_alpha
from .pixels.tensors import as_pixels
from .restore.restorers import restore_first
from .search.tile import Choices, TileView, decoded_tile, quantise_tile, read_tile
from .settings import DEFAULT_QUALITY, GAIN_LEVELS, EncodeSettings, is_number, settle_effort

if TYPE_CHECKING:
    from .restore.restorers import Restorers

QUANTISING = 0.9  # share of the time of a tile's coding: analysis, rounding, refinement


def encode(
    model: Model,
    image: Any,
    settings: EncodeSettings,
    restorers: Callable[[], Restorers],
    progress: Callable[[int, int], None] | None = None,
) -> bytes:
    """The .aei file of an image; see Codec.encode. restorers: gives those at hand, where the
    settings ask for restoring. progress: told the pixels that are done, and all of them, a few
    times in each tile."""
    if model.bundle.reads_only:
        raise UnsupportedError(
            f"{model.bundle.path}: this form of model {model.bundle.name} reads files and writes "
            "none: encode with the whole bundle, or with another model"
        )
    choices = choose(model.bundle, settings)
    picture = prepare(image, settings, restorers)
    file = _coded(
        model, picture, choices, settings.tile_side, verify=settings.verify, progress=progress
    )
    if preview.is_wanted(settings, picture.size):
        small = _preview(model, picture, choices, None if settings.preview else file.tile_bytes)
        if small is not None:
            file.sections[PREVIEW] = small
    return file.packed()


def _coded(
    model: Model,
    picture: Picture,
    choices: Choices,
    tile_side: int | None,
    filtered: bool = True,
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> _File:
    """A file with all tiles in it. filtered: with a post-filter, if that is worth its bytes."""
    file = _File(model, picture, choices, tile_side, verify)
    file.filtered = file.filtered and filtered
    done = 0
    for i, box in enumerate(file.boxes):
        tile, pixels = file.read(box), box.width * box.height

        def tell(share: float, done: int = done, pixels: int = pixels) -> None:
            if progress is not None:
                progress(done + int(share * pixels), file.pixels)

        quantised = quantise_tile(model, tile, choices, lambda share: tell(QUANTISING * share))
        tell(QUANTISING)
        file.add(tile, quantised)
        file.fit_filter(i, tile, quantised)
        tell(1)
        done += pixels
    file.settle_filter()
    return file


def _preview(
    model: Model, picture: Picture, choices: Choices, tile_bytes: int | None
) -> bytes | None:
    """The preview of a picture whose tiles take so many bytes (None: it may take any number); None
    where there cannot be one that is worth having."""
    if "size" in model.prior.program:
        return None  # a model of one size alone
    best, least = (model.bundle.gain_index_of_quality(q) for q in (preview.BEST, preview.LEAST))
    most = None if tile_bytes is None else tile_bytes * preview.SHARE
    tune = model.bundle.tune if choices.tune == "ms-ssim" else choices.tune

    for side in preview.SIDES:
        small = preview.small_picture(picture, side)

        def encode(gain_index: int, small: Picture = small) -> bytes:
            bits_per_error = model.bundle.bits_per_error(gain_index)
            own = Choices(gain_index, min(1, choices.effort), tune, bits_per_error)
            return _coded(model, small, own, 0, filtered=False).packed()

        data = preview.fitting(encode, best, least, most)
        if data is not None:
            return data
    return None


def choose(bundle: Bundle, settings: EncodeSettings) -> Choices:
    """What settings mean with a model. Raises UnsupportedError for what it cannot do."""
    gain_index = settings.gain_index
    if gain_index is not None and not is_number(gain_index):
        raise UnsupportedError(f"gain index {gain_index!r}: choose a number from 0 to 255")
    if gain_index is None:
        quality = DEFAULT_QUALITY if settings.quality is None else settings.quality
        gain_index = bundle.gain_index_of_quality(quality)
    gain_index = int(gain_index)
    if not 0 <= gain_index < GAIN_LEVELS:
        raise UnsupportedError(
            f"gain index {gain_index}: choose a number from 0 to {GAIN_LEVELS - 1}"
        )
    effort, tune = settle_effort(settings.effort, settings.tune), settings.tune
    bits_per_error = bundle.bits_per_error(gain_index)
    if bits_per_error is None and tune not in (None, "psnr"):
        raise UnsupportedError(f"model {bundle.name} cannot be tuned for {tune}: leave that out")
    tune = tune or ("psnr" if bits_per_error is None else bundle.tune)
    return Choices(gain_index, effort, tune, bits_per_error)


def prepare(image: Any, settings: EncodeSettings, restorers: Callable[[], Restorers]) -> Picture:
    """The picture to code, restored if the settings say so. Raises UnsupportedError, ModelError."""
    image = as_pixels(image)
    if not hasattr(image, "size"):
        raise UnsupportedError(
            f"cannot encode a {type(image).__name__}: give a Pillow image or array"
        )
    # Pillow: refuse what cannot be before its pixels are read
    if isinstance(image.size, tuple):
        check_size(*image.size)
    image = restore_first(restorers, image, settings).image
    picture = to_picture(image, settings.metadata)
    check_size(*picture.size)
    return picture


def boxes_of(model: Model, size: tuple[int, int], tile_side: int) -> list[Box]:
    """The tiles of an image, which is one where the side is 0. Raises UnsupportedError."""
    if not tile_side:
        return [Box(0, 0, *size)]
    unit = model.tile_unit
    if not 0 < tile_side <= MAX_SIDE or tile_side % unit:
        raise UnsupportedError(
            f"tiles of {tile_side} pixels: choose a multiple of {unit} up to {MAX_SIDE}"
        )
    return tile_boxes(*size, tile_side)


class _File:
    """A file as it grows, tile by tile."""

    def __init__(
        self,
        model: Model,
        picture: Picture,
        choices: Choices,
        tile_side: int | None,
        verify: bool = False,
    ):
        self.model, self.picture, self.choices = model, picture, choices
        self.verify = verify
        self.sections = pack_metadata(picture.metadata)
        if tile_side is None:
            tile_side = DEFAULT_SIDE if max(picture.size) > MAX_PLAIN_SIDE else 0
        self.tile_side = tile_side
        self.boxes = boxes_of(model, picture.size, tile_side)
        self.tiles: list[tuple[bytes, bool]] = []
        self.grey, self.alpha = picture.channels <= 2, picture.channels in (2, 4)
        width, height = picture.size
        self.pixels = width * height
        # the post-filter saves squared error, at the expense of what shows; it is fitted to some of
        # the tiles of a large image
        self.filtered = (
            choices.effort > 0
            and choices.tune != "ssimulacra2"
            and self.pixels >= post_filter.LEAST_PIXELS
        )
        first = self.boxes[0]
        all_of_them = len(self.boxes) * first.width * first.height
        self.every = -(-all_of_them // post_filter.MOST_PIXELS)
        self.fit = post_filter.Fit(grey=self.grey)

    def read(self, box: Box) -> TileView:
        """What is coded of a tile. Raises UnsupportedError for a model of another, fixed size."""
        grid_of(self.model.prior.program, box.width, box.height)
        return read_tile(self.picture, box, self.model.prior.stride, self.model.bundle.halo)

    def add(self, tile: TileView, quantised: Quantised) -> None:
        """The bytes of the next tile."""
        payload, _ = write(self.model.prior, self.choices.gain_index, quantised)
        if self.verify:
            self._compare(payload, tile, quantised)
        alpha = tile.alpha
        plane = b"" if alpha is None or alpha.min() == 255 else encode_plane(alpha)
        if self.alpha and self.tile_side:
            payload = with_alpha(plane, payload)
        elif plane:
            self.sections[ALPHA] = plane
        self.tiles.append((payload, quantised.code_all))

    def _compare(self, payload: bytes, tile: TileView, quantised: Quantised) -> None:
        """Raise DamagedFileError unless a payload decodes to what was coded."""
        found = decode_latents(
            self.model.prior,
            self.choices.gain_index,
            payload,
            tile.width,
            tile.height,
            quantised.code_all,
        )
        if not (
            np.array_equal(found.z_hat, quantised.z_hat)
            and np.array_equal(found.y_hat, quantised.y_hat)
        ):
            raise DamagedFileError(
                "a tile does not decode to what was coded: this machine computes wrongly"
            )

    def fit_filter(self, i: int, tile: TileView, quantised: Quantised) -> None:
        """Let the post-filter learn from tile i, where there is to be one."""
        if self.filtered and i % self.every == 0:
            self.fit.add(*decoded_tile(self.model, tile, quantised, self.choices.gain_index))

    @property
    def tile_bytes(self) -> int:
        """Bytes of the tiles so far."""
        return sum(len(content) for content, _ in self.tiles)

    def settle_filter(self) -> None:
        """Write down what the post-filter has learnt, where it is worth its bytes."""
        bits_per_error = self.choices.bits_per_error
        if self.filtered and bits_per_error is not None:
            planes = self.fit.best(bits_per_error, self.pixels)
            if planes is not None:
                self.sections[FILTER] = post_filter.pack(planes)

    def packed(self) -> bytes:
        """The whole file."""
        width, height = self.picture.size
        header = Header(
            width=width,
            height=height,
            gain_index=self.choices.gain_index,
            model=self.model.bundle.fingerprint,
            grey=self.grey,
            alpha=self.alpha,
            tiled=bool(self.tile_side),
        )
        return pack(header, self.tiles, self.sections, self.tile_side)

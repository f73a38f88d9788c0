"""A look inside a coded image: where its bits are, what each channel of the latents draws, where it
errs, and what the linear path alone would give. Without torch; what a region depends on is in
attribution.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...formats import DEFAULT_LIMITS, Contents, LimitError, UnsupportedError, parse
from ...formats.tiles import Box
from ..api import Codec
from ..exact.synthesis import to_levels
from ..models.model import Model
from ..pixels.images import to_picture
from ..pixels.quality import MAX_PSNR
from ..pixels.side_channels import read_alpha, read_metadata
from ..windows import TileCache, WindowSynthesis
from .account import Account, take_account

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 64_000_000  # latents and pictures are kept whole: some 30 bytes a pixel
WINDOW = 12  # cells on a side of the place where channels are left out
AROUND = 1  # cells around an impulse whose pixels are shown; further ones hardly change
LEVELS = np.float32(255)


@dataclass(frozen=True)
class Response:
    """What one channel of y_hat draws through g_s.

    bits: of the channel. amplitude: of the impulse in quantisation steps, the channel's mean
    magnitude where it is not zero. impulse: float32 (n, n, 3), g_s of the impulse in the central
    cell less g_s of zeros, in levels of 0..255. present: float32 (h, w, 3), the image less the
    image without the channel, in the look's window. loss: mean square of that, in levels squared.
    """

    channel: int
    bits: float
    amplitude: float
    impulse: np.ndarray
    present: np.ndarray
    loss: float


@dataclass
class Look:
    """What `look` finds.

    image, linear, original: uint8 (H, W, C), C 1 or 3, without alpha; linear is what the linear
    path alone gives, None for a model without one; original is None where it is not known. visible:
    bool (H, W), where alpha is above 0. window: the pixels where channels were left out. tiles: the
    latents.
    """

    model: Model
    contents: Contents
    file: bytes
    account: Account
    tiles: TileCache
    image: np.ndarray
    linear: np.ndarray | None
    original: np.ndarray | None
    visible: np.ndarray
    window: Box
    responses: list[Response] = field(default_factory=list)

    @property
    def turned(self) -> bool:
        """Whether the file's Exif says that viewers turn the image."""
        from PIL import Image

        exif = Image.Exif()
        content = read_metadata(self.contents.sections, DEFAULT_LIMITS).get("exif")
        if content:
            exif.load(content)
        return exif.get(0x0112, 1) != 1

    @cached_property
    def error(self) -> np.ndarray | None:
        """float32 (H, W): mean absolute error over the colour channels in levels; 0 where nothing
        is visible."""
        if self.original is None:
            return None
        error = np.abs(self.image.astype(np.int16) - self.original)
        return error.mean(2, dtype=np.float32) * self.visible

    def psnr(self, image: np.ndarray | None) -> float | None:
        """Of a picture against the original, in dB, over what is visible; None where either is not
        there."""
        if image is None or self.original is None or not self.visible.any():
            return None
        total = 0.0
        for top in range(0, image.shape[0], 512):  # in float32, and not all of it at once
            rows = slice(top, top + 512)
            seen = self.visible[rows]
            difference = image[rows].astype(np.float32) - self.original[rows]
            total += float(np.square(difference[seen]).sum(dtype=np.float64))
        mse = total / (np.count_nonzero(self.visible) * image.shape[2])
        return MAX_PSNR if mse == 0 else min(MAX_PSNR, float(10 * np.log10(255.0**2 / mse)))


def look(
    codec: Codec,
    data: bytes,
    original: Image.Image | np.ndarray | None = None,
    channels: int = 24,
    region: Box | None = None,
) -> Look:
    """Look inside an .aei file.

    original: the image it was made from, to know the error. channels: how many of those with the
    most bits to try. region: try them there instead of where most bits are. Raises the errors of
    Codec.decode, LimitError for images of more than MAX_PIXELS, and UnsupportedError where the
    original is another image.
    """
    contents = parse(data)
    header, model = contents.header, codec.model_of_file(contents.header)
    if header.width * header.height > MAX_PIXELS:
        raise LimitError(
            f"image of {header.width}x{header.height} pixels: this works on up to "
            f"{MAX_PIXELS // 10**6} megapixels",
            reason="large",
        )
    source = None if original is None else _pixels_of(original, contents)
    account, latents = take_account(codec, contents)
    side = contents.side or max(header.width, header.height)
    tiles = TileCache(contents.boxes, side, header.width, len(latents), latents.__getitem__)
    image, linear = _synthesised(model, contents, tiles)
    whole = Box(0, 0, header.width, header.height)
    visible = np.ones(image.shape[:2], bool)
    if header.alpha:
        visible = read_alpha(contents, whole, None) > 0
    window = _window(account, whole, region)
    result = Look(model, contents, data, account, tiles, image, linear, source, visible, window)
    order = np.argsort(-account.channels, kind="stable")[:channels]
    halo, stride = model.bundle.halo, model.prior.stride
    cells = window.cells(stride).grown(halo, whole.cells(stride))
    for channel in order[account.channels[order] > 0].tolist():
        result.responses.append(_response(result, channel, cells))
    return result


def _pixels_of(original: Image.Image | np.ndarray, contents: Contents) -> np.ndarray:
    """uint8 (H, W, C), the colour of an original."""
    header = contents.header
    picture = to_picture(original)
    if picture.size != (header.width, header.height):
        raise UnsupportedError(
            f"the original has {picture.size[0]}x{picture.size[1]} pixels, the file "
            f"{header.width}x{header.height}: give the image that was encoded"
        )
    colour, _ = picture.read(Box(0, 0, header.width, header.height))
    if (colour.shape[2] == 1) != header.grey:
        kinds = ("colour", "grey") if header.grey else ("grey", "colour")
        raise UnsupportedError(
            f"the original is {kinds[0]}, the file {kinds[1]}: give the image that was encoded"
        )
    return colour


def _synthesised(
    model: Model, contents: Contents, tiles: TileCache
) -> tuple[np.ndarray, np.ndarray | None]:
    """The image, and the linear path's, uint8 (H, W, C) each."""
    header = contents.header
    whole = Box(0, 0, header.width, header.height)
    shape = (header.height, header.width, 1 if header.grey else 3)
    exact = model.bundle.synthesis is not None
    ways = (False, True) if exact or model.transforms.has_linear_path else (False,)
    shown = WindowSynthesis.of(model, contents, tiles)
    pictures = [np.empty(shape, np.uint8) for _ in ways]
    for linear, picture in zip(ways, pictures):
        for box, x in shown.bands(whole, linear=linear):
            picture[box.slices] = to_levels(x, header.grey).reshape(box.height, box.width, -1)
    return pictures[0], pictures[1] if len(ways) > 1 else None


def _window(account: Account, whole: Box, region: Box | None) -> Box:
    """The square of WINDOW cells with the most bits, or that around a region's middle; in
    pixels."""
    h, w = account.cells.shape
    rows, columns = min(WINDOW, h), min(WINDOW, w)
    if region is None:
        total = np.pad(account.cells, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        sums = total[rows:] - total[:-rows]
        sums = sums[:, columns:] - sums[:, :-columns]
        top, left = divmod(int(sums.argmax()), sums.shape[1])
    else:
        middle = (region.top + region.bottom) // 2, (region.left + region.right) // 2
        top = min(max(0, middle[0] // account.side - rows // 2), h - rows)
        left = min(max(0, middle[1] // account.side - columns // 2), w - columns)
    n = account.side
    return Box(left * n, top * n, columns * n, rows * n).intersection(whole)


def _response(seen: Look, channel: int, cells: Box) -> Response:
    """cells: those of the window and of what g_s sees around it."""
    model, account, header = seen.model, seen.account, seen.contents.header
    program, gain_index = model.prior.program, header.gain_index
    stride, bits = model.prior.stride, model.prior.mean_bits

    def synthesis(y_hat: np.ndarray) -> np.ndarray:
        return model.transforms.synthesis(y_hat, gain_index, bits)

    amplitude = float(account.magnitude[channel]) or 1.0
    side = 2 * model.bundle.halo + 1
    size = program.get("size")
    shape = (side, side) if size is None else (size[1] // stride, size[0] // stride)
    impulse = np.zeros((*shape, model.prior.latents), np.int32)
    rest = synthesis(impulse)
    middle = shape[0] // 2, shape[1] // 2
    impulse[(*middle, channel)] = max(1, round(amplitude * (1 << bits)))
    drawn = synthesis(impulse) - rest
    if size is None:
        near = [slice(max(0, m - AROUND) * stride, (m + AROUND + 1) * stride) for m in middle]
        drawn = drawn[near[0], near[1]]

    y_hat = seen.tiles.gather(cells, stride)
    without = y_hat.copy()
    without[..., channel] = 0
    box = seen.window
    inside = box.within(cells.times(stride))
    present = (synthesis(y_hat) - synthesis(without))[inside]
    drawn, present = (_shown(a, header.grey) for a in (drawn, present))
    loss = float(np.square(present).mean(dtype=np.float64))
    return Response(channel, float(account.channels[channel]), amplitude, drawn, present, loss)


def _shown(x: np.ndarray, grey: bool) -> np.ndarray:
    """A difference of g_s's outputs in levels, as the file's colour mode shows it."""
    if grey:
        x = np.broadcast_to(x.mean(2, keepdims=True), x.shape)
    return x * LEVELS

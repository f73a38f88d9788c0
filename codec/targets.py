"""Say what you want, not a number: the gain index whose file has a given size or quality.

Size and quality rise smoothly with the gain index (about 1.5 % of the bytes, 0.06 dB a step), so
that about three encodings find it. Each probe is an ordinary encoding. Latents of one index
quantised anew for another would save g_a, under half of a probe, but are no file of their own
(features inside g_a depend on the index), and as an estimate were off by up to 1.5 % of the bytes
16 indexes higher and 4.5 % 16 lower, so that they save no probe.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats import UnsupportedError
from .api import Codec
from .metrics.ssimulacra2 import MIN_SIDE, ssimulacra2
from .pixels.quality import psnr, ssim
from .pixels.tensors import as_pixels
from .restore.restorers import restore_first
from .settings import GAIN_LEVELS, EncodeSettings, is_number

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

SIZE, BPP, PSNR, SSIM, SSIMULACRA2 = "size", "bpp", "psnr", "ssim", "ssimulacra2"
UNITS = {
    SIZE: "bytes",
    BPP: "bits per pixel",
    PSNR: "dB PSNR",
    SSIM: "SSIM",
    SSIMULACRA2: "SSIMULACRA 2",
}
RATES = (SIZE, BPP)
SIZE_TOLERANCE = 0.02  # below what was asked; never above
DB_TOLERANCE = 0.1  # above what was asked, of PSNR and of SSIM in dB; never below
SCORE_TOLERANCE = 0.5  # of SSIMULACRA 2, above or below
NEIGHBOURS = (1, -1, 2, -2, 3, -3)  # tried where a score jumps over what was asked
SHARE = 1 / 3  # of what is left, that an encoding is told to be
PATIENCE = 6  # probes before bisection takes over

# How quality runs with the gain index: the mean of 12 photographs at these indexes,
# and the first principal component of their differences. Only a first guess hangs on it. Natural
# logarithm of bits per pixel; dB of PSNR; SSIM as -10 log10(1 - SSIM). Printed by
# benchmarks/target_curves.py.
KNOTS = (0, 32, 64, 96, 128, 160, 192, 224, 255)
RATE_CURVES = (
    (-2.78, -2.33, -1.83, -1.28, -0.74, -0.234, 0.199, 0.546, 0.874),
    (0.296, 0.299, 0.33, 0.366, 0.391, 0.384, 0.348, 0.305, 0.256),
)
CURVES = {
    SIZE: RATE_CURVES,
    BPP: RATE_CURVES,
    PSNR: (
        (25.6, 26.8, 28.5, 30.6, 33.1, 35.8, 38.1, 39.9, 41.2),
        (0.382, 0.401, 0.394, 0.358, 0.304, 0.253, 0.256, 0.287, 0.325),
    ),
    SSIM: (
        (6.51, 7.39, 8.76, 10.7, 12.9, 15.4, 18.1, 20.4, 22.6),
        (0.305, 0.354, 0.395, 0.418, 0.407, 0.357, 0.273, 0.212, 0.195),
    ),
    SSIMULACRA2: (
        (11.8, 31.0, 46.6, 60.6, 71.5, 79.5, 85.0, 88.5, 90.2),
        (0.654, 0.53, 0.417, 0.281, 0.161, 0.0794, 0.0488, 0.046, 0.0471),
    ),
}


@dataclass(frozen=True)
class Target:
    """kind: SIZE (bytes of the whole file), BPP, PSNR (dB, of the colours), SSIM (of the luma,
    below 1) or SSIMULACRA2 (below 100: 90 looks like the original, 70 is good)."""

    kind: str
    value: float

    def __post_init__(self) -> None:
        most = {PSNR: 100.0, SSIM: 1.0, SSIMULACRA2: 100.0}.get(self.kind, math.inf)
        if not is_number(self.value) or not 0 < self.value < most:
            limit = "" if most == math.inf else f" and below {most:g}"
            raise UnsupportedError(
                f"a target of {self.value} {UNITS[self.kind]}: give a number above 0{limit}"
            )


@dataclass(frozen=True)
class Reached:
    """The file found: its bytes, gain index, the target's quantity as it is, and how many encodings
    it took."""

    data: bytes
    gain_index: int
    achieved: float
    probes: int


def encode_to_target(
    codec: Codec,
    image: Image.Image | NDArray[Any],
    target: Target,
    metadata: bool = True,
    effort: int | None = None,
    tune: str | None = None,
    restore: str | None = None,
    enhance: str | None = None,
    convert: bool = False,
    preview: bool | None = None,
) -> Reached:
    """The .aei file of an image that meets a target: SIZE and BPP within 2 % and never above, where
    one of the 256 gain indexes gives that, else the next below; PSNR and SSIM within 0.1 dB and
    never below, else the next above; SSIMULACRA2 within 0.5 to either side, else the nearest above
    that was met with.

    image, metadata, effort, tune, restore, enhance, convert, preview: see Codec.encode;
    restored and converted once, the target then being met for that image. Raises UnsupportedError
    where even the smallest file is too large, or the best not good enough, or for a score of an
    image with a side below 8 pixels; a size that the best file does not fill is no error.
    """
    settings = EncodeSettings(
        metadata=metadata,
        effort=effort,
        tune=tune,
        restore=restore,
        enhance=enhance,
        convert=convert,
        preview=preview,
    )
    return reach(codec, image, target, settings)


def reach(
    codec: Codec,
    image: Image.Image | NDArray[Any],
    target: Target,
    settings: EncodeSettings,
    progress: Callable[[int, int], None] | None = None,
) -> Reached:
    """`encode_to_target` with its keywords as one object, whose quality and gain index do not
    count. progress: as of Codec.encode_with; how many encodings it takes is not known before, so
    that each is told as a third of what is left."""
    first = restore_first(lambda: codec.restorers, as_pixels(image), settings)
    image, settings = first.image, first.settings
    shape = image.shape if isinstance(image, np.ndarray) else image.size
    pixels = max(1, math.prod(shape[:2]))
    if target.kind == SSIMULACRA2 and min(shape[:2]) < MIN_SIDE:
        raise UnsupportedError(
            f"SSIMULACRA 2 is not defined for sides below {MIN_SIDE} pixels: choose another target"
        )
    low, high = _window(target, pixels)

    files: dict[int, bytes] = {}

    def measure(index: int) -> float:
        data = files[index] = codec.encode_with(
            image, replace(settings, gain_index=index), _part_of(progress, len(files))
        )
        if target.kind in RATES:
            return math.log(8 * len(data) / pixels)
        pair = seen(image, codec.decode(data), settings.metadata)
        if target.kind == SSIM:
            return quality_in_db(ssim(*pair))
        return psnr(*pair) if target.kind == PSNR else ssimulacra2(*pair)

    index, values = _search(measure, target.kind, (low, high))
    if target.kind == SSIMULACRA2:
        index = _nearby(measure, index, values, (low, high))
    data = files[index]
    reached = {
        SIZE: float(len(data)),
        BPP: 8 * len(data) / pixels,
        PSNR: values[index],
        SSIM: 1 - 10 ** (-values[index] / 10),
        SSIMULACRA2: values[index],
    }[target.kind]
    log.debug("gain index %d after %d encodings", index, len(files))
    unit = UNITS[target.kind]
    if target.kind in RATES and values[index] > high:
        raise UnsupportedError(
            f"even the smallest file has {reached:.6g} {unit}: ask for more, or scale the image "
            "down"
        )
    if target.kind not in RATES and values[index] < low:
        raise UnsupportedError(
            f"even the best file has only {reached:.6g} {unit}: ask for less, or keep the source"
        )
    return Reached(data, index, reached, len(files))


def _window(target: Target, pixels: int) -> tuple[float, float]:
    """The values that will do, as the search sees them: log of bits per pixel, dB of PSNR, dB of
    SSIM, a score."""
    if target.kind in RATES:
        bpp = target.value if target.kind == BPP else 8 * target.value / pixels
        return math.log(bpp * (1 - SIZE_TOLERANCE)), math.log(bpp)
    if target.kind == SSIMULACRA2:
        return target.value - SCORE_TOLERANCE, target.value + SCORE_TOLERANCE
    goal = target.value if target.kind == PSNR else quality_in_db(target.value)
    return goal, goal + DB_TOLERANCE


def seen(
    image: Image.Image | NDArray[Any], decoded: Image.Image, metadata: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What a viewer sees of an image and of its decoded file: uint8 (H, W, C) without alpha; pixels
    that are fully transparent are made equal."""
    if not isinstance(image, np.ndarray):
        if not metadata:  # the file has its orientation applied
            from PIL import ImageOps

            image = ImageOps.exif_transpose(image)
        image = np.asarray(image.convert(decoded.mode))
    back = np.array(decoded)
    a, b = (x.reshape(*x.shape[:2], -1) for x in (image, back))
    if a.shape[2] in (2, 4):
        hidden = a[..., -1] == 0
        a, b = a[..., :-1], b[..., :-1]
        b[hidden] = a[hidden]
    return (a, b) if a.shape[2] == 3 else (a[..., 0], b[..., 0])


def _part_of(
    progress: Callable[[int, int], None] | None, probe: int
) -> Callable[[int, int], None] | None:
    """The progress of one encoding of several, within what those before it have left."""
    if progress is None:
        return None
    left = (1 - SHARE) ** probe

    def told(done: int, total: int) -> None:
        progress(int(total * (1 - left) + done * SHARE * left), total)

    return told


def quality_in_db(value: float) -> float:
    """-10 log10(1 - SSIM)."""
    return -10 * math.log10(max(1 - value, 1e-10))


def _search(
    measure: Callable[[int], float],
    kind: str,
    window: tuple[float, float],
) -> tuple[int, dict[int, float]]:
    """A gain index whose value lies in the window, else the nearest one on the safe side (rate
    below, quality above), else the last one there is; and all values measured. `measure` rises with
    the index."""
    low, high = window
    goal = (low + high) / 2
    mean, component = (np.interp(np.arange(GAIN_LEVELS), KNOTS, curve) for curve in CURVES[kind])
    values: dict[int, float] = {}
    below, above = -1, GAIN_LEVELS
    index = int(np.abs(mean - goal).argmin())
    while above - below > 1:
        value = values[index] = measure(index)
        if low <= value <= high:
            return index, values
        if value < low:
            below = index
        else:
            above = index
        index = _predict(values, goal, mean, component)
        if len(values) > PATIENCE:
            index = (below + above) // 2
        index = min(max(index, below + 1), above - 1)
    safe = below if kind in RATES else above
    return min(max(safe, 0), GAIN_LEVELS - 1), values


def _nearby(
    measure: Callable[[int], float],
    index: int,
    values: dict[int, float],
    window: tuple[float, float],
) -> int:
    """The index, or where its value misses the window, a neighbour whose value does not: scores
    rise with the gain index in the large, but from one to the next they jump up and down by a point
    in small images."""
    low, high = window
    for step in (0, *NEIGHBOURS):
        at = index + step
        if not 0 <= at < GAIN_LEVELS or max(values.values()) < low:
            continue
        if at not in values:
            values[at] = measure(at)
        if low <= values[at] <= high:
            return at
    return min((i for i in values if values[i] >= low), key=lambda i: values[i], default=index)


def _predict(
    values: dict[int, float], goal: float, mean: NDArray[Any], component: NDArray[Any]
) -> int:
    """Where the curve through the nearest one or two measured values meets the goal."""
    near = sorted(values, key=lambda index: abs(values[index] - goal))
    at = near[0]
    curve = mean + (values[at] - mean[at]) / component[at] * component
    slope = 1.0
    if len(near) > 1:
        slope = (values[near[1]] - values[at]) / (curve[near[1]] - curve[at])
    predicted = values[at] + (curve - curve[at]) * min(max(slope, 0.5), 2.0)
    return int(np.abs(predicted - goal).argmin())

"""Simple measurements of an image, by which `--restore auto` and `--enhance auto` choose, or leave
it alone.

They look at the middle of the image, at most SAMPLE pixels a side. Thresholds were set on the 24
Kodak images and their degraded versions, see docs/guide/restoration.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...formats.tiles import Box
from ..pixels.quality import LUMA

if TYPE_CHECKING:
    from ..pixels.images import Picture

SAMPLE = 2048
COUNT = 1_000_000  # pixels that light and colour are judged on
# Of the luma table of the JPEG standard (ITU T.81, table K.1), of which qualities are multiples,
# the 16 least entries, which stay below 255 at low qualities too: how many, and their sum.
LEAST_ENTRIES, STANDARD_SUM = 16, 246


NOISE = (
    9.5  # standard deviation in levels, above which an image is denoised; clean photographs reach 8
)
JPEG_QUALITY = 65  # of the file's tables, below which it is deblocked
BLOCKINESS = 0.15  # clean photographs reach 0.05
SHARPNESS = 0.32  # below which an image is deblurred; clean photographs have 0.38 and more
DARK = 0.2  # median luma, below which there was too little light
# range of luma, below which contrast is low, or haze is the cause where the dark channel is above
# HAZE
FLAT = 0.55
HAZE = 0.45
PALE, GREY = 0.055, 0.004  # mean chroma, between which colour has faded


def choose_restoring(
    picture: Picture, tables: dict[int, list[int]] | None = None
) -> tuple[str | None, str]:
    """Which restoration an image wants, or None; and why, in a few words. tables: of the JPEG file
    it came from.

    JPEG goes before noise, since blocks disturb the other measurements, and noise before blur.
    """
    if tables:
        quality = table_quality(tables)
        if quality < JPEG_QUALITY:
            return "deblock", f"JPEG of quality {quality:.0f}"
    pixels = _middle(picture)
    if min(pixels.shape[:2]) < 16:
        return None, "too small to measure"
    luma = pixels @ LUMA if pixels.shape[2] == 3 else pixels[..., 0]
    sigma, blocks = noise_sigma(pixels), blockiness(luma)
    if sigma > NOISE:
        return "denoise", f"noise of standard deviation {sigma:.0f}"
    if blocks > BLOCKINESS:
        return "deblock", f"JPEG blocks, {blocks:.2f}"
    sharp = sharpness(luma, noise_sigma(luma[..., None]))
    if sharp < SHARPNESS:
        return "deblur", f"blur, sharpness {sharp:.2f}"
    return None, f"noise {sigma:.1f}, blocks {blocks:.2f}, sharpness {sharp:.2f}: clean enough"


def choose_enhancing(picture: Picture, tables: object = None) -> tuple[str | None, str]:
    """Which enhancement an image wants, or None; and why, in a few words. Haze and low contrast
    look much alike; the dark channel decides."""
    pixels = _spread(picture)
    if min(pixels.shape[:2]) < 8:
        return None, "too small to measure"
    middle, reach, chroma, dark = lightness(pixels)
    if middle < DARK:
        return "low-light", f"median brightness {100 * middle:.0f} %"
    if reach < FLAT:
        if dark > HAZE:
            return "haze", f"darkest places at {100 * dark:.0f} %"
        return "contrast", f"contrast {100 * reach:.0f} %"
    if GREY < chroma < PALE:
        return "colour", f"colourfulness {100 * chroma:.1f} %"
    return None, (
        f"brightness {100 * middle:.0f} %, contrast {100 * reach:.0f} %, "
        f"colourfulness {100 * chroma:.1f} %: well exposed"
    )


def _middle(picture: Picture) -> np.ndarray:
    """The middle of an image: float32 (H, W, C), its corner where a grid of 8 has one."""
    width, height = picture.size
    left, top = (max(0, n - SAMPLE) // 16 * 8 for n in (width, height))
    box = Box(left, top, min(width, SAMPLE), min(height, SAMPLE))
    return picture.read(box)[0].astype(np.float32)


def _spread(picture: Picture) -> np.ndarray:
    """Pixels at even distances from all of an image: uint8 (H, W, C), about COUNT of them at
    most."""
    width, height = picture.size
    step = max(1, int(np.ceil((width * height / COUNT) ** 0.5)))
    rows = 512 * step
    return np.concatenate([
        picture.read(Box(0, top, width, min(rows, height - top)))[0][::step, ::step]
        for top in range(0, height, rows)
    ])  # fmt: skip


def noise_sigma(pixels: np.ndarray) -> float:
    """Standard deviation of the noise in levels: the median absolute value of the finest diagonal
    Haar band over 0.6745 (Donoho and Johnstone 1994), mean over the channels. pixels: float32 (H,
    W, C), 0..255, H and W above 1."""
    h, w = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    x = pixels[:h, :w]
    diagonal = (x[0::2, 0::2] - x[0::2, 1::2] - x[1::2, 0::2] + x[1::2, 1::2]) / 2
    return float(np.median(np.abs(diagonal), axis=(0, 1)).mean() / 0.6745)


def table_quality(tables: dict[int, list[int]]) -> float:
    """The quality 1..100 of a JPEG file from its quantisation tables, as libjpeg scales them."""
    percent = 100 * sum(sorted(tables[min(tables)])[:LEAST_ENTRIES]) / STANDARD_SUM
    quality = 5000 / percent if percent > 100 else (200 - percent) / 2
    return float(np.clip(quality, 1, 100))


def blockiness(luma: np.ndarray) -> float:
    """How much steeper the image is on the lines of an 8x8 grid, wherever it lies, than just beside
    them; about 0 without one, towards 1 and above for strong blocks. luma: float32 (H,
    W), 0..255."""
    found = []
    for x in (luma, luma.T):
        if x.shape[1] < 64:
            return 0.0
        steps = np.minimum(np.abs(np.diff(x, axis=1)), 24).mean(axis=0)
        excess = steps[1:-1] - (steps[:-2] + steps[2:]) / 2
        phases = np.array([excess[p::8].mean() for p in range(8)])
        found.append(phases / max(steps.mean(), 0.25))
    across, down = found
    return float(min(across.max(), down.max()))


def sharpness(luma: np.ndarray, sigma: float) -> float:
    """Squared differences of neighbours over those two pixels apart, less what noise adds to both:
    near 0.25 for smooth images, 0.35 to 0.6 for sharp ones. luma: float32 (H, W), 0..255; sigma: of
    its noise."""
    noise = 2 * sigma**2
    near = far = 0.0
    for x in (luma, luma.T):
        near += float(np.square(x[:, 1:] - x[:, :-1]).mean()) - noise
        far += float(np.square(x[:, 2:] - x[:, :-2]).mean()) - noise
    return near / far if far > 1 else 1.0


def lightness(pixels: np.ndarray) -> tuple[float, float, float, float]:
    """Median luma; the range of luma but for a hundredth at either end; the mean distance of the
    largest channel from the smallest; and the median of the dark channel (least of channels and 8x8
    squares; He, Sun and Tang 2009): all as shares of 255. pixels: (H, W, C), 0..255, H and W 8 or
    more."""
    x = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.float32) / np.float32(255)
    luma = x @ LUMA
    low, middle, high = np.quantile(luma, (0.01, 0.5, 0.99))
    least = x.min(axis=2)
    h, w = (n // 8 * 8 for n in least.shape)
    dark = least[:h, :w].reshape(h // 8, 8, w // 8, 8).min(axis=(1, 3))
    chroma = (x.max(axis=2) - least).mean()
    return float(middle), float(high - low), float(chroma), float(np.median(dark))

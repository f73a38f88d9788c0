"""Synthetic degradations, to train and to judge restoration with: a clean crop in, a spoilt one
out.

All take and return uint8 (H, W, 3). `degrade(kind, image, rng)` draws the strength of a kind at
random; the functions below it take the strength, so that benchmarks can name it. Equal generators
give equal images. NumPy and Pillow only: it runs in the thread that loads training data.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ...pixels.quality import LUMA

Generator = np.random.Generator
# Of the noise, the mildest to the strongest that is trained on: benchmarks ask for sigma 15, 25
# and 50.
SIGMA = (0.0, 55.0)
QUALITY = (5, 60)


def degrade(kind: str, image: np.ndarray, rng: Generator) -> np.ndarray:
    """The image as a kind of mishap leaves it. kind: one of DEGRADATIONS. Raises KeyError for
    others."""
    return DEGRADATIONS[kind](image, rng)


def add_noise(image: np.ndarray, sigma: float, rng: Generator, shot: float = 0.0) -> np.ndarray:
    """Gaussian noise of standard deviation `sigma`, in levels of 0..255, rounded and clipped.

    shot: share of the variance, 0..1, that is proportional to brightness, as photon noise is; the
    mean variance over brightnesses stays sigma^2.
    """
    x = image.astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32)
    if shot > 0:
        noise *= np.sqrt(1 - shot + shot * x * np.float32(2 / 255))
    x += np.float32(sigma) * noise
    return _levels(x)


def jpeg(
    image: np.ndarray, quality: int, subsampling: int = 2, shift: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Through a JPEG file. subsampling: 0 is 4:4:4, 2 is 4:2:0. shift: how far, down and right, the
    grid of 8x8 blocks lies from the corner, as in an image that was cropped after it was
    compressed."""
    down, right = (-n % 16 for n in shift)
    padded = np.pad(image, ((down, 0), (right, 0), (0, 0)), mode="edge")
    out = io.BytesIO()
    Image.fromarray(padded).save(out, "JPEG", quality=int(quality), subsampling=subsampling)
    with Image.open(out) as back:
        return np.ascontiguousarray(np.asarray(back)[down:, right:])


def gaussian_kernel(sigma: float) -> np.ndarray:
    """float32 (n, n), n odd, of sum 1. sigma: pixels."""
    reach = max(1, int(np.ceil(3.5 * sigma)))
    t = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma))
    kernel = np.outer(t, t)
    return (kernel / kernel.sum()).astype(np.float32)


def disc_kernel(radius: float) -> np.ndarray:
    """The image of a point out of focus: float32 (n, n), n odd, of sum 1. radius: pixels; the edge
    is one pixel soft."""
    reach = max(1, int(np.ceil(radius + 0.5)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return (disc / disc.sum()).astype(np.float32)


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The image under a point-spread function, edges mirrored: float32 (H, W, 3), 0..255."""
    reach = kernel.shape[0] // 2
    h, w = image.shape[:2]
    pad = ((reach, reach), (reach, reach), (0, 0))
    padded = np.pad(image, pad, mode="symmetric").astype(np.float32)
    size = padded.shape[:2]
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(kernel, size)[..., None]
    full = np.fft.irfft2(spectrum, size, axes=(0, 1)).astype(np.float32)
    return full[2 * reach : 2 * reach + h, 2 * reach : 2 * reach + w]


def blur(
    image: np.ndarray, kernel: np.ndarray, sigma: float = 0.0, rng: Generator | None = None
) -> np.ndarray:
    """Blurred by a kernel, then with a little noise of standard deviation `sigma` (levels), as a
    sensor adds it."""
    x = convolve(image, kernel)
    if sigma > 0 and rng is not None:
        x += np.float32(sigma) * rng.standard_normal(x.shape, np.float32)
    return _levels(x)


def darken(
    image: np.ndarray, exposure: float, gamma: float, sigma: float, rng: Generator
) -> np.ndarray:
    """Too little light: levels raised to `gamma` (above 1 darkens the shadows), times `exposure`
    (below 1), with shot noise of `sigma` levels at mid-grey, which the dark image then shows."""
    x = 255 * exposure * np.power(image.astype(np.float32) / 255, np.float32(gamma))
    noise = rng.standard_normal(x.shape, np.float32)
    x += np.float32(sigma) * np.sqrt(0.25 + x * np.float32(1.5 / 255)) * noise
    return _levels(x)


def flatten(image: np.ndarray, share: float, middle: float) -> np.ndarray:
    """Low contrast: levels drawn towards `middle` (0..255), `share` of the contrast left."""
    return _levels(middle + np.float32(share) * (image.astype(np.float32) - np.float32(middle)))


def fade(
    image: np.ndarray, share: float, tint: np.ndarray, black: float, white: float
) -> np.ndarray:
    """Old colour: `share` of the saturation left, channels times `tint` (3 numbers near 1), and
    levels squeezed into black..white."""
    x = image.astype(np.float32)
    grey = (x @ LUMA)[..., None]
    tinted = (grey + np.float32(share) * (x - grey)) * np.asarray(tint, np.float32)
    return _levels(black + tinted * np.float32((white - black) / 255))


def add_haze(image: np.ndarray, transmission: np.ndarray, air: np.ndarray) -> np.ndarray:
    """The atmospheric scattering model (Koschmieder 1924; Narasimhan and Nayar 2002): I = J t + A
    (1 - t).

    transmission: t in 0..1, (H, W); air: A, the colour of the haze, 3 levels of 0..255.
    """
    t = transmission[..., None].astype(np.float32)
    return _levels(image.astype(np.float32) * t + np.asarray(air, np.float32) * (1 - t))


def _levels(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _noisy(image: np.ndarray, rng: Generator) -> np.ndarray:
    shot = rng.uniform(0, 1) if rng.random() < 0.25 else 0.0
    return add_noise(image, rng.uniform(*SIGMA), rng, shot)


def _compressed(image: np.ndarray, rng: Generator) -> np.ndarray:
    # a few of good quality, so that there little is changed
    low, high = QUALITY if rng.random() < 0.9 else (QUALITY[1], 96)
    shift = tuple(rng.integers(0, 16, 2).tolist()) if rng.random() < 0.2 else (0, 0)
    return jpeg(image, int(rng.integers(low, high)), 2 if rng.random() < 0.6 else 0, shift)


def _blurred(image: np.ndarray, rng: Generator) -> np.ndarray:
    if rng.random() < 0.6:
        kernel = gaussian_kernel(rng.uniform(0.4, 3.0))
    else:
        kernel = disc_kernel(rng.uniform(0.8, 4.0))
    return blur(image, kernel, rng.uniform(0, 3) if rng.random() < 0.7 else 0.0, rng)


def _dark(image: np.ndarray, rng: Generator) -> np.ndarray:
    return darken(image, rng.uniform(0.1, 0.7), rng.uniform(1.0, 2.2), rng.uniform(0, 6), rng)


def _flat(image: np.ndarray, rng: Generator) -> np.ndarray:
    share = rng.uniform(0.2, 0.8)
    reach = 127.5 * (1 - share)
    return flatten(image, share, 127.5 + rng.uniform(-reach, reach))


def _faded(image: np.ndarray, rng: Generator) -> np.ndarray:
    tint = rng.uniform(0.85, 1.0, 3)
    return fade(image, rng.uniform(0.15, 0.75), tint, rng.uniform(0, 50), rng.uniform(200, 255))


def _hazy(image: np.ndarray, rng: Generator) -> np.ndarray:
    """Depth grows up the image, or another way, with a smooth random relief; t = exp(-depth)."""
    h, w = image.shape[:2]
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    angle = rng.normal(-np.pi / 2, 0.8)
    along = np.cos(angle) * x / w + np.sin(angle) * y / h
    relief = rng.uniform(-1, 1, (4, 4)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(relief).resize((w, h), Image.Resampling.BICUBIC))
    depth = rng.uniform(0.2, 1.4) * np.exp(
        rng.uniform(0, 1.2) * along + rng.uniform(0, 0.4) * smooth
    )
    air = rng.uniform(150, 250) * rng.uniform(0.94, 1.0, 3)
    return add_haze(image, np.clip(np.exp(-depth), 0.05, 1), air)


DEGRADATIONS = {
    "denoise": _noisy,
    "deblock": _compressed,
    "deblur": _blurred,
    "low-light": _dark,
    "contrast": _flat,
    "colour": _faded,
    "haze": _hazy,
}

"""Synthetic night: stars over a dark sky, and lights in the dark.

Points of light of one or two pixels on a flat, dark ground cost few squared errors and are seen at
once when they are missing. Photographs hold too few of them to learn from.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from .drawing import Generator

REACH = 3  # pixels around its middle that a star is drawn on


def sky_page(rng: Generator, side: int) -> Image.Image:
    """A dark gradient with noise, and stars whose number grows as they get fainter; at times with
    glowing lights, or a black skyline below."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    top, bottom, across = rng.uniform(0, 40, 3), rng.uniform(0, 60, 3), rng.uniform(-8, 8, 3)
    sky = top + (bottom - top) * y[..., None] + across * x[..., None]
    if rng.random() < 0.4:
        sky = _add_glows(sky, rng, side)
    density = 10 ** rng.uniform(-4, -2.3)
    slope = rng.uniform(1.0, 2.0)  # of their brightness: the smaller, the more bright ones
    _add_stars(sky, rng, int(density * side * side), slope)
    sky += rng.standard_normal(sky.shape) * rng.choice([0, 0.5, 1, 2])
    page = Image.fromarray(np.clip(np.rint(sky), 0, 255).astype(np.uint8))
    if rng.random() < 0.2:
        page.paste((0, 0, 0), (0, int(side * rng.uniform(0.7, 0.95)), side, side))
    return page


def _add_glows(sky: np.ndarray, rng: Generator, side: int) -> np.ndarray:
    """A few wide lights, out of focus."""
    small = Image.new("RGB", (side // 8, side // 8))
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.integers(0, side // 8, 2).tolist()
        small.paste(tuple(rng.integers(40, 256, 3).tolist()), (x, y, x + 3, y + 3))
    blurred = small.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 6))))
    wide = blurred.resize((side, side), Image.Resampling.BICUBIC)
    return sky + np.asarray(wide, np.float32)


def _add_stars(sky: np.ndarray, rng: Generator, count: int, slope: float) -> None:
    """Stars as small Gaussians at places between pixels, of about one colour, in place."""
    side = sky.shape[0]
    near = np.arange(-REACH, REACH + 1)
    middles = rng.integers(REACH, side - REACH, (count, 2))
    shifts = rng.uniform(-0.5, 0.5, (count, 2))
    widths = rng.uniform(0.4, 1.1, count)
    lights = np.minimum(240, 3 + 8 * rng.pareto(slope, count))
    colours = lights[:, None] * (1 + 0.2 * rng.standard_normal((count, 3)))
    for (top, left), shift, width, colour in zip(middles, shifts, widths, colours):
        down, right = (np.exp(-((near - s) ** 2) / (2 * width**2)) for s in shift)
        spot = (down[:, None] * right)[..., None] * colour
        sky[top - REACH : top + REACH + 1, left - REACH : left + REACH + 1] += spot

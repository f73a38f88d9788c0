"""Synthetic gradients and patterns: smooth shades, checkerboards, hatchings, line art."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from .drawing import Canvas, Generator, colour_in, load_font, phrase, pick_font, pick_theme


def gradient(rng: Generator, height: int, width: int) -> np.ndarray:
    """A smooth gradient, uint8 (height, width, 3): linear or radial, two to four colours."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if rng.random() < 0.6:
        angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
        t = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    else:
        cy, cx = rng.uniform(-0.2, 1.2, 2) * (height, width)
        t = np.hypot(x - np.float32(cx), (y - np.float32(cy)) * np.float32(rng.uniform(0.6, 1.6)))
    t = (t - t.min()) / max(float(np.ptp(t)), 1.0)
    n = int(rng.integers(2, 5))
    stops = rng.uniform(0, 255, (n, 3))
    if rng.random() < 0.5:  # close colours: a shallow gradient, where banding shows
        stops = np.clip(stops[:1] + rng.uniform(-40, 40, (n, 3)), 0, 255)
    places = np.linspace(0, 1, n)
    levels = np.linspace(0, 1, 4096)
    ramps = np.stack([np.interp(levels, places, stops[:, c]) for c in range(3)], 1)
    values = ramps.astype(np.float32)[(t * 4095).astype(np.int32)]
    noise = float(rng.choice([0, 0, 0, 0.5, 1, 2.5]))
    if noise:
        values += rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(noise)
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def gradient_page(rng: Generator, side: int) -> Image.Image:
    """One gradient, or cards of gradients, with or without a large heading."""
    page = Image.fromarray(gradient(rng, side, side))
    draw = ImageDraw.Draw(page)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(3, 9))):
            w, h = rng.integers(side // 12, side // 2, 2).tolist()
            x, y = rng.integers(0, side * 9 // 10, 2).tolist()
            mask = Image.new("L", (w * 2, h * 2))
            radius = int(rng.choice([0, 12, 40]))
            ImageDraw.Draw(mask).rounded_rectangle((0, 0, w * 2 - 1, h * 2 - 1), radius, 255)
            page.paste(Image.fromarray(gradient(rng, h, w)), (x, y), mask.reduce(2))
    if rng.random() < 0.4:
        for _ in range(5):
            font = load_font(pick_font(rng), int(rng.integers(16, 90)))
            x, y = rng.integers(0, side, 2).tolist()
            draw.text((x - 100, y), phrase(rng, 1, 3), colour_in(rng), font)
    return page


def pattern(rng: Generator, height: int, width: int) -> Image.Image:
    """A checkerboard, stripes, dots, hatching, rings, blocks, or thin line art."""
    theme = pick_theme(rng)
    pens = [theme.ink, *theme.accents]
    kind = rng.integers(7)
    if kind < 3:
        cell = int(rng.choice([1, 2, 3, 4, 6, 8, 12, 16, 24]))
        y, x = np.mgrid[0:height, 0:width] // cell
        if kind == 0:
            which = (x + y) % 2
        elif kind == 1:
            which = [x, y, x + y][rng.integers(3)] % int(rng.integers(2, 5)) == 0
        else:  # random blocks, as in a matrix code, or in bars
            blocks = rng.integers(0, 2, (height, width))
            which = blocks[y, x] if rng.random() < 0.7 else blocks[0][x]
        colours = np.array([theme.paper, pens[rng.integers(6)]], dtype=np.uint8)
        return Image.fromarray(colours[np.asarray(which, dtype=np.intp)])
    canvas = Canvas(width, height, theme.paper)
    if kind == 3:
        step, angle = rng.uniform(3, 20), rng.uniform(0, np.pi)
        pen, thick = pens[rng.integers(6)], rng.choice([1, 1, 2])
        along = np.array([np.cos(angle), np.sin(angle)])
        across, middle = np.array([-along[1], along[0]]), np.array([width, height]) / 2
        reach = float(np.hypot(width, height)) / 2
        for offset in np.arange(-reach, reach, step):
            start = middle + across * offset
            canvas.line([start - along * reach, start + along * reach], pen, thick)
    elif kind == 4:
        cx, cy, step = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(3, 16)
        for r in np.arange(step, max(width, height), step):
            canvas.ellipse(cx, cy, r, r, None, pens[0], 1)
    elif kind == 5:
        step, r = int(rng.integers(6, 24)), rng.uniform(0.8, 3)
        for x in range(step // 2, width, step):
            for y in range(step // 2, height, step):
                canvas.ellipse(x, y, r, r, pens[1])
    else:
        for _ in range(int(rng.integers(8, 40))):
            pen, shape = pens[rng.integers(6)], rng.integers(3)
            p = rng.uniform(0, 1, (int(rng.integers(2, 6)), 2)) * [width, height]
            if shape == 0:
                canvas.line(p, pen, float(rng.choice([0.7, 1, 1, 2])))
            elif shape == 1:
                r = rng.uniform(3, 60)
                canvas.ellipse(p[0, 0], p[0, 1], r, r * rng.uniform(0.5, 1), None, pen, 1)
            elif rng.random() < 0.5:
                canvas.polygon(np.concatenate([p[:1], p[:1] + rng.uniform(-60, 60, (2, 2))]), pen)
            else:
                x0, y0 = p[:2].min(0).astype(int).tolist()
                x1, y1 = p[:2].max(0).astype(int).tolist()
                canvas.box(x0, y0, x1, y1, None, pen)
    return canvas.finish()


def pattern_page(rng: Generator, side: int) -> Image.Image:
    """Patterns side by side."""
    page = Image.new("RGB", (side, side))
    n = int(rng.integers(1, 5))
    edges = [side * i // n for i in range(n + 1)]
    for x0, x1 in pairwise(edges):
        for y0, y1 in pairwise(edges):
            page.paste(pattern(rng, y1 - y0, x1 - x0), (x0, y0))
    return page

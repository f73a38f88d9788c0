"""Scanned pages that no model was trained on, to show what training on images of one's own kind
gains.

    python -m aei.benchmarks.studies.scans pages/ --count 500
    python -m aei.benchmarks.studies.scans others/ --count 24 --seed 1

Pages of text, tables and plots are drawn by aei.codec.training.graphics (hence the [train] extra),
then go through a scanner: uneven paper, a turn of up to 1.5 degrees, the blur of a lens, light that
falls off, the other side shining through, noise. Nothing is read from disk but fonts. Equal seeds
give equal pages on one machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ...codec.training.data.degrade import add_noise
from ...codec.training.data.graphics.pages import draw_page

KINDS = {"text": 0.7, "table": 0.18, "plot": 0.12}
SCANS = 3  # first word of a page's seed: neither training's nor evaluation's in graphics.py
TURNED = 1.08  # pages are drawn this much larger, so that turning leaves no empty corners


def scanned_page(seed: int, number: int, side: int = 768) -> np.ndarray:
    """A scanned page, uint8 (side, side, 3), a function of its seed and number."""
    rng = np.random.default_rng([SCANS, seed, number])
    front = _printed(rng, side)
    if rng.random() < 0.5:  # thin paper: the other side, mirrored and out of focus
        back = _printed(rng, side)[:, ::-1]
        blurred = Image.fromarray(back).filter(ImageFilter.GaussianBlur(2.5))
        shining = rng.uniform(0.03, 0.1) * (255 - np.asarray(blurred, np.float32))
        front = np.clip(front - shining, 0, 255).astype(np.uint8)
    page = Image.fromarray(front).rotate(rng.uniform(-1.5, 1.5), Image.Resampling.BICUBIC)
    page = page.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.9)))
    edge = (page.width - side) // 2
    x = np.asarray(page.crop((edge, edge, edge + side, edge + side)), np.float32)
    paper = np.array([1.0, rng.uniform(0.96, 1.0), rng.uniform(0.86, 1.0)], np.float32)
    black = rng.uniform(10, 50)
    x = (black + x * ((255 - black) / 255)) * paper
    x *= _smooth(rng, side, 3, 0.88, 1.0)  # light
    x += 6 * _smooth(rng, side, side // 3, -0.5, 0.5)  # fibres
    return add_noise(np.clip(x, 0, 255).astype(np.uint8), rng.uniform(0.8, 2.5), rng, shot=0.5)


def _printed(rng: np.random.Generator, side: int) -> np.ndarray:
    """A page as it was printed: dark on light."""
    names, shares = list(KINDS), np.array(list(KINDS.values()))
    page = draw_page(rng, int(side * TURNED), kind=str(rng.choice(names, p=shares)))
    return page if page.mean() > 128 else 255 - page


def _smooth(rng: np.random.Generator, side: int, cells: int, low: float, high: float) -> np.ndarray:
    """A random field of about so many cells a side, in low..high: float32 (side, side, 1)."""
    coarse = Image.fromarray(rng.uniform(low, high, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))[..., None]


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw scanned pages, as PNG files.")
    parser.add_argument("out", type=Path, help="folder")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--side", type=int, default=768, help="pixels")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other pages")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for i in range(arguments.count):
        page = Image.fromarray(scanned_page(arguments.seed, i, arguments.side))
        page.save(arguments.out / f"scan{arguments.seed}_{i:04d}.png", compress_level=1)


if __name__ == "__main__":
    main()

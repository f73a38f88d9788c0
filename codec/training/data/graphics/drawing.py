"""What synthetic graphics are drawn with: fonts, made-up words, colours, an anti-aliased canvas."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Generator = np.random.Generator
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont

SUPERSAMPLING = 3  # shapes are drawn this much larger and averaged down: anti-aliased edges
MAX_FONTS = 60
FONT_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts",
    "/Library/Fonts", "/System/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
# fonts whose Latin letters are not letters
SYMBOL_FONTS = ("math", "siz", "nonuni", "lastresort", "cmex", "cmsy", "cmmi", "display", "symbol",
                "emoji", "dingbat", "icon", "awesome")  # fmt: skip


@cache
def font_files() -> tuple[str, ...]:
    """TrueType and OpenType fonts of this machine that can write Latin letters, sorted by path.

    Matplotlib brings some too and is searched, not imported, where it is installed.
    """
    folders = [Path(os.path.expanduser(f)) for f in FONT_FOLDERS]
    spec = importlib.util.find_spec("matplotlib")
    if spec is not None and spec.origin:
        folders.append(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf")
    seen: dict[str, str] = {}
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".ttf", ".otf"}):
            name = path.name.lower()
            if not any(word in name for word in SYMBOL_FONTS) and _writes_latin(str(path)):
                seen.setdefault(name, str(path))
            if len(seen) == MAX_FONTS:
                break
    return tuple(seen.values())


def _writes_latin(path: str) -> bool:
    try:
        font = ImageFont.truetype(path, 16, layout_engine=ImageFont.Layout.BASIC)
        drawn = {bytes(font.getmask(letter)) for letter in "aegQ7\uffff"}
    except (OSError, ValueError):
        return False
    return len(drawn) == 6


@lru_cache(512)
def load_font(path: str, size: int) -> Font:
    """A font at a size in pixels; the empty path is Pillow's own."""
    if not path:
        return ImageFont.load_default(size)  # type: ignore[return-value]
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _advances(path: str) -> np.ndarray:
    """Widths of the ASCII characters of a font at a size of 1, float64 (128,)."""
    font = load_font(path, 64)
    return np.array([font.getlength(chr(max(i, 32))) / 64 for i in range(128)])


def text_width(path: str, size: int, string: str) -> float:
    """About the width of an ASCII string in pixels: Pillow's own measure takes as long as
    drawing."""
    return size * float(_advances(path)[np.frombuffer(string.encode("ascii"), np.uint8)].sum())


def pick_font(rng: Generator, mono: bool = False) -> str:
    """The path of a random font, now and then Pillow's own (the empty path)."""
    files = font_files()
    if mono:
        files = tuple(f for f in files if "mono" in f.lower() or "cmtt" in f.lower()) or files
    if not files or (not mono and rng.random() < 0.1):
        return ""
    return files[rng.integers(len(files))]


class Canvas:
    """A drawing in pixels: anti-aliased shapes below, text on top of them."""

    def __init__(self, width: int, height: int, background: Colour):
        self.size = (width, height)
        self.background = background
        self._shapes: ImageDraw.ImageDraw | None = None
        self._texts: list[tuple] = []

    def _draw(self) -> ImageDraw.ImageDraw:
        if self._shapes is None:
            width, height = self.size
            large = Image.new(
                "RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING), self.background
            )
            self._shapes = ImageDraw.Draw(large)
        return self._shapes

    def box(self, x0, y0, x1, y1, fill=None, outline=None, radius=0.0, width=1) -> None:
        """A rectangle over [x0, x1) x [y0, y1); its border lies inside."""
        if x1 <= x0 or y1 <= y0:
            return
        s = SUPERSAMPLING
        corners = (x0 * s, y0 * s, x1 * s - 1, y1 * s - 1)
        radius = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
        if radius:
            self._draw().rounded_rectangle(corners, radius * s, fill, outline, width * s)
        else:
            self._draw().rectangle(corners, fill, outline, width * s)

    def ellipse(self, x, y, rx, ry, fill=None, outline=None, width=1.0) -> None:
        s = SUPERSAMPLING
        corners = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._draw().ellipse(corners, fill, outline, max(1, round(width * s)))

    def line(self, points, colour: Colour, width: float = 1.0) -> None:
        scaled = (np.asarray(points, dtype=float) * SUPERSAMPLING).ravel().tolist()
        self._draw().line(scaled, colour, max(1, round(width * SUPERSAMPLING)), joint="curve")

    def polygon(self, points, fill: Colour) -> None:
        self._draw().polygon((np.asarray(points) * SUPERSAMPLING).ravel().tolist(), fill)

    def text(self, x, y, string: str, font: Font, colour: Colour, anchor: str = "la") -> None:
        self._texts.append(((x, y), string, colour, font, anchor))

    def finish(self) -> Image.Image:
        if self._shapes is None:
            image = Image.new("RGB", self.size, self.background)
        else:
            image = self._shapes._image.reduce(SUPERSAMPLING)
        draw = ImageDraw.Draw(image)
        for xy, string, colour, font, anchor in self._texts:
            draw.text(xy, string, colour, font, anchor)
        return image


def colour_in(rng: Generator, low: int = 0, high: int = 256) -> Colour:
    r, g, b = rng.integers(low, high, 3).tolist()
    return r, g, b


def mix(a: Colour, b: Colour, share: float) -> Colour:
    r, g, b_ = (round(p + (q - p) * share) for p, q in zip(a, b))
    return r, g, b_


@dataclass
class Theme:
    """Colours that belong together: paper, ink, and accents readable on the paper."""

    paper: Colour
    ink: Colour
    accents: list[Colour]

    def tint(self, share: float) -> Colour:
        """The paper with a share of the ink."""
        return mix(self.paper, self.ink, share)


def pick_theme(rng: Generator) -> Theme:
    kind = rng.random()
    if kind < 0.45:
        paper, ink, dark = (255, 255, 255), colour_in(rng, 0, 50), False
    elif kind < 0.6:
        paper, ink, dark = colour_in(rng, 225, 256), colour_in(rng, 0, 70), False
    elif kind < 0.9:
        grey = int(rng.integers(0, 50))
        paper = mix((grey, grey, grey), colour_in(rng, 0, 60), 0.3)
        ink, dark = colour_in(rng, 200, 256), True
    else:
        paper = colour_in(rng)
        dark = sum(paper) < 380
        ink = colour_in(rng, 215, 256) if dark else colour_in(rng, 0, 40)
    low, high = (90, 256) if dark else (0, 200)
    accents = [colour_in(rng, low, high) for _ in range(5)]
    # two saturated ones: a full and an empty channel, as in hand-picked colours
    for i in range(2):
        pure = [high - 1 if dark else 220, low, int(rng.integers(low, high))]
        r, g, b = rng.permutation(pure).tolist()
        accents[i] = r, g, b
    return Theme(paper, ink, accents)


VOWELS, CONSONANTS = "eaoiuy", "tnsrhldcmfpgwbvkxjqz"


def words(rng: Generator, count: int) -> list[str]:
    """Made-up words with capitals, figures and punctuation in about the shares of a text."""
    result = []
    lengths = rng.integers(1, 5, count)
    v = np.minimum(rng.geometric(0.35, (count, 4)) - 1, len(VOWELS) - 1)
    c = np.minimum(rng.geometric(0.13, (count, 4)) - 1, len(CONSONANTS) - 1)
    kind, number = rng.random(count), rng.integers(0, 10_000, count)
    for i in range(count):
        pairs = [CONSONANTS[c[i, k]] + VOWELS[v[i, k]] for k in range(lengths[i])]
        word = "".join(pairs) + (CONSONANTS[c[i, 3]] if number[i] % 2 else "")
        if kind[i] < 0.05:
            word = str(number[i]) if number[i] % 3 else f"{number[i] / 100:.2f}"
        elif kind[i] < 0.15:
            word = word.capitalize()
        elif kind[i] < 0.23:
            word += ",.;:!?"[number[i] % 6]
        elif kind[i] < 0.26:
            word = f"({word})" if number[i] % 2 else f'"{word}"'
        elif kind[i] < 0.28:
            word = word.upper()
        result.append(word)
    return result


def phrase(rng: Generator, low: int = 1, high: int = 3) -> str:
    return " ".join(words(rng, int(rng.integers(low, high + 1)))).capitalize()


def paragraph(
    canvas: Canvas, rng: Generator, area, path: str, size: int, colour: Colour, spacing=1.35
) -> int:
    """Fill an area (x0, y0, x1, y1) with lines of text; returns where the next line would start."""
    x0, y0, x1, y1 = area
    font = load_font(path, size)
    step = max(size + 1, round(size * spacing))
    y = y0
    while y + size < y1:
        supply = words(rng, max(2, int((x1 - x0) / size / 1.6)))
        ends = np.cumsum([text_width(path, size, word + " ") for word in supply])
        fit = int(np.searchsorted(ends, x1 - x0, side="right"))
        canvas.text(x0, y, " ".join(supply[:fit]), font, colour)
        y += step
    return y

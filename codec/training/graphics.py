"""Synthetic graphics to train and to judge on: rendered text, plots, interfaces, gradients, patterns.

Pages are drawn with Pillow and NumPy (no torch operation: see `data.batch_of`) and kept in a pool, from
which crops are cut: drawing a page costs far more than a crop of it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Generator = np.random.Generator
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont

PAGE = 768
SUPERSAMPLING = 3  # shapes are drawn this much larger and averaged down: anti-aliased edges
SLOTS = 64  # pages in the pool
LIFETIME = 2048  # steps after which a page of the pool is drawn anew
TRAINING, EVALUATION = 1, 2  # first word of a page's seed: the two never share a page
MAX_FONTS = 60
FONT_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts",
    "/Library/Fonts", "/System/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
# fonts whose Latin letters are not letters
SYMBOL_FONTS = ("math", "siz", "nonuni", "lastresort", "cmex", "cmsy", "display", "symbol",
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
    """About the width of an ASCII string in pixels: Pillow's own measure takes as long as drawing."""
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


def _colour(rng: Generator, low: int = 0, high: int = 256) -> Colour:
    r, g, b = rng.integers(low, high, 3).tolist()
    return r, g, b


def _mix(a: Colour, b: Colour, share: float) -> Colour:
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
        return _mix(self.paper, self.ink, share)


def pick_theme(rng: Generator) -> Theme:
    kind = rng.random()
    if kind < 0.45:
        paper, ink, dark = (255, 255, 255), _colour(rng, 0, 50), False
    elif kind < 0.6:
        paper, ink, dark = _colour(rng, 225, 256), _colour(rng, 0, 70), False
    elif kind < 0.9:
        grey = int(rng.integers(0, 50))
        paper = _mix((grey, grey, grey), _colour(rng, 0, 60), 0.3)
        ink, dark = _colour(rng, 200, 256), True
    else:
        paper = _colour(rng)
        dark = sum(paper) < 380
        ink = _colour(rng, 215, 256) if dark else _colour(rng, 0, 40)
    low, high = (90, 256) if dark else (0, 200)
    accents = [_colour(rng, low, high) for _ in range(5)]
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


def text_page(rng: Generator, side: int) -> Image.Image:
    """A document: headings, paragraphs in one to three columns, lists, rules."""
    theme = pick_theme(rng)
    canvas = Canvas(side, side, theme.paper)
    body, head = pick_font(rng), pick_font(rng)
    size = int(rng.choice([8, 9, 10, 11, 12, 13, 14, 16, 18, 22, 28]))
    columns = int(rng.integers(1, 4)) if size < 16 else 1
    margin = int(rng.integers(6, 40))
    width = (side - margin * (columns + 1)) // columns
    ruled = rng.random() < 0.3
    for i in range(columns):
        x = margin + i * (width + margin)
        y = int(rng.integers(-size, margin))
        while y < side:
            part = rng.random()
            if part < 0.3:
                big = int(size * rng.choice([1.2, 1.5, 2.0, 3.0, 4.5]))
                colour = theme.ink if rng.random() < 0.6 else theme.accents[rng.integers(5)]
                canvas.text(x, y, phrase(rng, 2, 5), load_font(head, big), colour)
                y += round(big * 1.4)
                if ruled:
                    canvas.box(x, y, x + width, y + 1, theme.tint(0.4))
                    y += 6
            elif part < 0.45:
                for _ in range(int(rng.integers(2, 6))):
                    canvas.text(
                        x + size, y, "\u2022 " if body else "- ", load_font(body, size), theme.ink
                    )
                    area = (x + size * 2, y, x + width, y + size + 1)
                    y = paragraph(canvas, rng, area, body, size, theme.ink)
            else:
                colour = theme.ink if rng.random() < 0.7 else theme.tint(rng.uniform(0.4, 0.9))
                bottom = y + size * int(rng.integers(3, 14))
                y = paragraph(canvas, rng, (x, y, x + width, bottom), body, size, colour)
                y += size // 2
    return canvas.finish()


def code_page(rng: Generator, side: int) -> Image.Image:
    """An editor or a terminal: a fixed-width font, indented lines, words in several colours."""
    theme = pick_theme(rng)
    canvas = Canvas(side, side, theme.paper)
    size = int(rng.choice([10, 11, 12, 13, 14, 16, 18]))
    font = load_font(pick_font(rng, mono=True), size)
    cell = font.getlength("m")
    step, indent, gutter = round(size * rng.uniform(1.15, 1.6)), 0, 0
    if rng.random() < 0.6:
        gutter = round(cell * 4)
        canvas.box(0, 0, gutter, side, theme.tint(0.07))
    for number, y in enumerate(range(int(rng.integers(0, step)), side, step)):
        if gutter:
            canvas.text(gutter - 4, y, str(number + 1), font, theme.tint(0.45), "ra")
        indent = int(np.clip(indent + rng.integers(-1, 2), 0, 6))
        if rng.random() < 0.12:
            continue
        if rng.random() < 0.04:
            canvas.box(gutter, y, side, y + step, theme.tint(0.12))
        x = gutter + 6 + indent * 4 * cell
        for word in words(rng, int(rng.integers(1, 9))):
            token = word + str(rng.choice(["", "()", " =", "[0]", " {", ":", "_id", " ==", ";"]))
            colour = theme.ink if rng.random() < 0.5 else theme.accents[rng.integers(5)]
            canvas.text(round(x), y, token, font, colour)
            x += (len(token) + 1) * cell
            if x > side:
                break
    return canvas.finish()


def table(canvas: Canvas, rng: Generator, area, theme: Theme, path: str, size: int) -> None:
    """Rows of figures and words between one-pixel lines, some rows tinted."""
    x0, y0, x1, y1 = area
    font = load_font(path, size)
    step = round(size * rng.uniform(1.5, 2.4))
    edges = [x0]
    while edges[-1] < x1:
        edges.append(min(x1, edges[-1] + int(rng.integers(size * 4, size * 12))))
    striped, ruled, border = rng.random() < 0.5, rng.random() < 0.6, theme.tint(0.25)
    canvas.box(x0, y0, x1, y0 + step, theme.accents[0] if rng.random() < 0.4 else theme.tint(0.15))
    numeric = rng.random(len(edges)) < 0.5
    for row, y in enumerate(range(y0, y1 - step + 1, step)):
        if striped and row % 2 and row:
            canvas.box(x0, y, x1, y + step, theme.tint(0.06))
        for left, right, figures in zip(edges, edges[1:], numeric):
            text = f"{rng.normal(0, 500):,.2f}" if figures and row else phrase(rng, 1, 2)
            while text and text_width(path, size, text) > right - left - 6:
                text = text[:-1]
            middle = y + step // 2
            if figures:
                canvas.text(right - 4, middle, text, font, theme.ink, "rm")
            else:
                canvas.text(left + 4, middle, text, font, theme.ink, "lm")
        if ruled:
            canvas.box(x0, y + step - 1, x1, y + step, border)
    if rng.random() < 0.6:
        for x in edges:
            canvas.box(x, y0, x + 1, y1, border)


def table_page(rng: Generator, side: int) -> Image.Image:
    """A spreadsheet that fills the page."""
    theme = pick_theme(rng)
    canvas = Canvas(side, side, theme.paper)
    area = (int(rng.integers(0, 30)), int(rng.integers(0, 30)), side, side)
    table(canvas, rng, area, theme, pick_font(rng), int(rng.integers(9, 18)))
    return canvas.finish()


def plot(canvas: Canvas, rng: Generator, area, theme: Theme) -> None:
    """A figure: axes with ticks, and curves, bars, points or an area; a grid, a legend, titles."""
    x0, y0, x1, y1 = area
    size = int(np.clip((x1 - x0) / rng.uniform(25, 45), 8, 18))
    font = load_font(pick_font(rng), size)
    left, right, top, bottom = x0 + size * 4, x1 - size, y0 + size * 2, y1 - size * 3
    if right - left < 40 or bottom - top < 40:
        return
    if rng.random() < 0.3:
        canvas.box(left, top, right, bottom, theme.tint(0.08))
    grid, frame = rng.random() < 0.5, rng.random() < 0.6
    nx, ny = int(rng.integers(3, 9)), int(rng.integers(3, 8))
    unit = float(rng.choice([0.1, 0.25, 1, 5, 20, 100]))
    for i in range(nx + 1):
        x = left + round((right - left - 1) * i / nx)
        if grid:
            canvas.box(x, top, x + 1, bottom, theme.tint(0.2))
        canvas.box(x, bottom, x + 1, bottom + 4, theme.ink)
        canvas.text(x, bottom + 6, f"{i * unit:g}", font, theme.ink, "ma")
    for i in range(ny + 1):
        y = bottom - 1 - round((bottom - top - 1) * i / ny)
        if grid:
            canvas.box(left, y, right, y + 1, theme.tint(0.2))
        canvas.box(left - 4, y, left, y + 1, theme.ink)
        canvas.text(left - 6, y, f"{i * unit * 2:g}", font, theme.ink, "rm")
    kind, series = rng.choice(["curves", "bars", "points", "area"]), int(rng.integers(1, 5))
    colours = [theme.accents[i] for i in range(series)]
    width, height = right - left, bottom - top
    for i, colour in enumerate(colours):
        if kind == "bars":
            n = nx * 2
            bar = width / n / (series + 0.5)
            for k, value in enumerate(rng.uniform(0.05, 0.95, n)):
                x = left + width * k / n + bar * (i + 0.25)
                outline = theme.ink if series == 1 else None
                canvas.box(
                    round(x),
                    round(bottom - height * value),
                    round(x + bar),
                    bottom,
                    colour,
                    outline,
                )
            continue
        n = int(rng.integers(8, 200))
        t = np.linspace(0, 1, n)
        if rng.random() < 0.5:
            v = 0.5 + 0.35 * np.sin(t * rng.uniform(2, 25) + rng.uniform(0, 6)) * rng.uniform(
                0.3, 1
            )
        else:
            v = np.cumsum(rng.normal(0, 1, n))
            v = 0.05 + 0.9 * (v - v.min()) / np.ptp(v)
        v = np.clip(v + rng.normal(0, rng.choice([0, 0.01, 0.08]), n), 0.01, 0.99)
        xy = np.stack([left + t * width, bottom - v * height], 1)
        if kind == "area":
            ends = [[right, bottom], [left, bottom]]
            canvas.polygon(np.concatenate([xy, ends]), _mix(theme.paper, colour, 0.4))
        if kind == "points":
            xy[:, 0] = left + rng.uniform(0, 1, n) * width
            radius = rng.uniform(1.2, 4)
            for x, y in xy:
                canvas.ellipse(x, y, radius, radius, colour)
        else:
            canvas.line(xy, colour, float(rng.choice([1, 1, 1.5, 2, 3])))
            if n < 30:
                for x, y in xy:
                    canvas.ellipse(x, y, 3, 3, colour)
    canvas.box(left, top, left + 1, bottom, theme.ink)
    canvas.box(left, bottom - 1, right, bottom, theme.ink)
    if frame:
        canvas.box(left, top, right, bottom, None, theme.ink)
    if rng.random() < 0.7:
        canvas.text((left + right) // 2, y0 + 2, phrase(rng, 2, 4), font, theme.ink, "ma")
        canvas.text((left + right) // 2, y1 - 3, phrase(rng, 1, 3), font, theme.ink, "md")
    if rng.random() < 0.6:
        w, step = size * 8, round(size * 1.4)
        x, y = int(rng.integers(left + 4, max(left + 5, right - w))), top + 6
        canvas.box(x, y, x + w, y + step * series + 4, theme.paper, theme.tint(0.5), 3)
        for i, colour in enumerate(colours):
            middle = y + 2 + step * i + step // 2
            canvas.box(x + 4, middle - 1, x + 4 + size, middle + 1, colour)
            canvas.text(x + 10 + size, middle, words(rng, 1)[0], font, theme.ink, "lm")


def pie(canvas: Canvas, rng: Generator, area, theme: Theme) -> None:
    x0, y0, x1, y1 = area
    cx, cy, radius = (x0 + x1) / 2, (y0 + y1) / 2, min(x1 - x0, y1 - y0) * 0.42
    edges = np.concatenate([[0], np.sort(rng.uniform(0, 2 * np.pi, 4)), [2 * np.pi]])
    for a, b, colour in zip(edges, edges[1:], theme.accents):
        t = np.linspace(a, b, 40)
        arc = np.stack([cx + radius * np.cos(t), cy + radius * np.sin(t)], 1)
        canvas.polygon(np.concatenate([arc, [[cx, cy]]]), colour)
    if rng.random() < 0.5:
        canvas.ellipse(cx, cy, radius / 2, radius / 2, theme.paper)


def plot_page(rng: Generator, side: int) -> Image.Image:
    """One to nine figures in a grid."""
    theme = pick_theme(rng)
    canvas = Canvas(side, side, theme.paper)
    columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    for i in range(columns):
        for j in range(rows):
            area = (
                side * i // columns, side * j // rows,
                side * (i + 1) // columns - 6, side * (j + 1) // rows - 6,
            )  # fmt: skip
            (pie if rng.random() < 0.12 else plot)(canvas, rng, area, theme)
    return canvas.finish()


def icon(canvas: Canvas, rng: Generator, x: int, y: int, side: int, theme: Theme) -> None:
    """A small pictogram of two to four shapes."""
    if rng.random() < 0.5:
        canvas.box(
            x,
            y,
            x + side,
            y + side,
            theme.accents[rng.integers(5)],
            None,
            side * rng.choice([0, 0.2, 0.5]),
        )
        pens = [theme.paper, theme.ink]
    else:
        pens = [theme.ink, theme.accents[rng.integers(5)]]
    for _ in range(int(rng.integers(1, 4))):
        colour, kind = pens[rng.integers(2)], rng.integers(4)
        a, b = np.sort(rng.uniform(0.12, 0.88, (2, 2)), axis=0) * side
        if kind == 0:
            canvas.box(
                round(x + a[0]), round(y + a[1]), round(x + b[0]), round(y + b[1]), None, colour, 2
            )
        elif kind == 1:
            r = rng.uniform(0.12, 0.35) * side
            canvas.ellipse(x + side / 2, y + side / 2, r, r, None, colour, 1.5)
        elif kind == 2:
            canvas.line(rng.uniform(0.15, 0.85, (3, 2)) * side + [x, y], colour, 1.5)
        else:
            canvas.polygon(rng.uniform(0.15, 0.85, (3, 2)) * side + [x, y], colour)


def list_view(canvas: Canvas, rng: Generator, area, theme: Theme, path: str, size: int) -> None:
    """Rows with icons, one or two lines of text and separators; one row selected."""
    x0, y0, x1, y1 = area
    lines = 1 if rng.random() < 0.6 else 2
    step = round(size * (1.9 if lines == 1 else 3.2))
    chosen, icons = rng.integers(0, 12), rng.random() < 0.7
    font, small = load_font(path, size), load_font(path, max(8, size - 3))
    for row, y in enumerate(range(y0, y1 - step + 1, step)):
        ink = theme.ink
        if row == chosen:
            canvas.box(x0, y, x1, y + step, theme.accents[0])
            ink = theme.paper
        x = x0 + 6
        if icons:
            icon(canvas, rng, x, y + (step - size) // 2, size, theme)
            x += size + 6
        text = phrase(rng, 1, 4)
        while text and text_width(path, size, text) > x1 - x - 4:
            text = text[:-1]
        if lines == 1:
            canvas.text(x, y + step // 2, text, font, ink, "lm")
        else:
            canvas.text(x, y + 3, text, font, ink)
            canvas.text(x, y + size + 7, text[::-1], small, _mix(theme.paper, ink, 0.6))
            canvas.box(x0, y + step - 1, x1, y + step, theme.tint(0.15))


def form(canvas: Canvas, rng: Generator, area, theme: Theme, path: str, size: int) -> None:
    """Labels, text fields, buttons, check boxes, switches, sliders, progress bars."""
    x0, y0, x1, y1 = area
    font, height = load_font(path, size), round(size * 2)
    radius, y = float(rng.choice([0, 2, 4, 8, 99])), y0 + 6
    accent, border = theme.accents[0], theme.tint(0.35)
    while y + height < y1 - 4:
        x = x0 + 8
        while x < x1 - size * 6:
            kind, w = rng.integers(6), min(int(rng.integers(size * 5, size * 14)), x1 - x - 6)
            middle, label = y + height // 2, phrase(rng, 1, 2)
            if kind == 0:
                w = min(w, round(font.getlength(label)) + size * 2)
                full = rng.random() < 0.5
                canvas.box(
                    x,
                    y,
                    x + w,
                    y + height,
                    accent if full else theme.tint(0.08),
                    None if full else border,
                    radius,
                )
                canvas.text(
                    x + w // 2, middle, label, font, theme.paper if full else theme.ink, "mm"
                )
            elif kind == 1:
                canvas.box(x, y, x + w, y + height, theme.paper, border, min(radius, 6))
                canvas.text(x + 6, middle, label[: w // size], font, theme.tint(0.6), "lm")
            elif kind == 2:
                on, s = rng.random() < 0.5, size
                canvas.box(
                    x,
                    middle - s // 2,
                    x + s,
                    middle - s // 2 + s,
                    accent if on else theme.paper,
                    border,
                    2,
                )
                if on:
                    tick = np.array([[0.2, 0.5], [0.42, 0.75], [0.82, 0.25]]) * s + [
                        x,
                        middle - s // 2,
                    ]
                    canvas.line(tick, theme.paper, 1.5)
                canvas.text(x + s + 5, middle, label, font, theme.ink, "lm")
            elif kind == 3:
                canvas.box(x, middle - 3, x + w, middle + 3, theme.tint(0.2), None, 3)
                canvas.box(
                    x, middle - 3, x + int(w * rng.uniform(0.1, 0.9)), middle + 3, accent, None, 3
                )
            elif kind == 4:
                w, knob = size * 3, (1 if rng.random() < 0.5 else 2) * size
                canvas.box(x, middle - size // 2, x + w, middle + size // 2, accent, None, 99)
                canvas.ellipse(x + knob, middle, size * 0.4, size * 0.4, theme.paper)
            else:
                canvas.text(x, middle, label, font, theme.ink, "lm")
                w = round(font.getlength(label))
            x += w + size
            if kind == 2:
                x += round(font.getlength(label))
        y += height + int(rng.integers(4, size + 4))


def window(rng: Generator, width: int, height: int) -> Image.Image:
    """An application: title bar, toolbar, side bar, status bar, and a content of some kind."""
    theme = pick_theme(rng)
    canvas = Canvas(width, height, theme.paper)
    path, size = pick_font(rng), int(rng.integers(10, 17))
    font = load_font(path, size)
    bar, border = round(size * 2), theme.tint(0.25)
    coloured = rng.random() < 0.4
    canvas.box(0, 0, width, bar, theme.accents[0] if coloured else theme.tint(0.1))
    canvas.text(10 if rng.random() < 0.5 else width // 3, bar // 2, phrase(rng, 1, 4), font,
                theme.paper if coloured else theme.ink, "lm")  # fmt: skip
    for i, colour in enumerate(theme.accents[1:4]):
        canvas.ellipse(width - 14 - i * 20, bar / 2, 5.5, 5.5, colour)
    canvas.box(0, bar - 1, width, bar, border)
    top, left, bottom = bar, 0, height
    if rng.random() < 0.6:
        for x in range(8, width - bar, bar + 4):
            icon(canvas, rng, x, top + 5, bar - 8, theme)
        top += bar + 4
        canvas.box(0, top - 1, width, top, border)
    if rng.random() < 0.5:
        bottom -= bar
        canvas.box(0, bottom, width, height, theme.tint(0.06))
        canvas.box(0, bottom, width, bottom + 1, border)
        canvas.text(8, bottom + bar // 2, phrase(rng, 2, 6), font, theme.tint(0.7), "lm")
    if width > 260 and rng.random() < 0.6:
        left = int(width * rng.uniform(0.2, 0.4))
        canvas.box(0, top, left, bottom, theme.tint(0.05))
        list_view(canvas, rng, (0, top, left - 1, bottom), theme, path, size)
        canvas.box(left - 1, top, left, bottom, border)
    while bottom - top > size * 6:
        below = min(bottom, top + int(rng.integers(size * 5, size * 24)))
        area = (left + 8, top + 8, width - 8, below - 4)
        kind = rng.integers(7)
        if kind == 0:
            paragraph(canvas, rng, area, path, size, theme.ink)
        elif kind == 1:
            table(canvas, rng, area, theme, path, size)
        elif kind == 2:
            plot(canvas, rng, area, theme)
        elif kind == 3:
            list_view(canvas, rng, area, theme, path, size)
        elif kind == 4:
            s = int(rng.choice([16, 24, 32, 48]))
            for y in range(area[1], area[3] - s - size, s + size * 2):
                for x in range(area[0], area[2] - s, s * 2):
                    icon(canvas, rng, x, y, s, theme)
                    canvas.text(x + s // 2, y + s + 3, words(rng, 1)[0], font, theme.ink, "ma")
        else:
            form(canvas, rng, area, theme, path, size)
        top = below
    canvas.box(0, 0, width, height, None, border)
    return canvas.finish()


def paste_window(page: Image.Image, rng: Generator, width: int, height: int) -> None:
    """A window somewhere on the page, perhaps over its edge, with or without a shadow and round corners."""
    x = int(rng.integers(-width // 4, page.width - width * 3 // 4))
    y = int(rng.integers(-height // 4, page.height - height * 3 // 4))
    shadow = int(rng.choice([0, 0, 4, 10]))
    if shadow:
        pad = shadow * 3
        mask = Image.new("L", (width + pad * 2, height + pad * 2))
        mask.paste(int(rng.integers(60, 160)), (pad, pad, pad + width, pad + height))
        mask = mask.filter(ImageFilter.BoxBlur(shadow)).filter(ImageFilter.BoxBlur(shadow))
        page.paste((0, 0, 0), (x - pad, y - pad + shadow // 2), mask)
    corners = None
    if rng.random() < 0.4:
        s = SUPERSAMPLING
        large = Image.new("L", (width * s, height * s))
        ImageDraw.Draw(large).rounded_rectangle((0, 0, width * s - 1, height * s - 1), 8 * s, 255)
        corners = large.reduce(s)
    page.paste(window(rng, width, height), (x, y), corners)


def interface_page(rng: Generator, side: int) -> Image.Image:
    """A desktop with windows, or one application that fills the screen."""
    if rng.random() < 0.5:
        return window(rng, side, side)
    if rng.random() < 0.5:
        page = Image.new("RGB", (side, side), _colour(rng))
    else:
        page = Image.fromarray(gradient(rng, side, side))
    for _ in range(int(rng.integers(2, 5))):
        paste_window(page, rng, *rng.integers(side // 3, side * 4 // 5, 2).tolist())
    return page


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
            draw.text((x - 100, y), phrase(rng, 1, 3), _colour(rng), font)
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
                canvas.ellipse(*p[0], r, r * rng.uniform(0.5, 1), None, pen, 1)
            elif rng.random() < 0.5:
                canvas.polygon(np.concatenate([p[:1], p[:1] + rng.uniform(-60, 60, (2, 2))]), pen)
            else:
                a, b = p[0].astype(int), p[1].astype(int)
                canvas.box(*np.minimum(a, b).tolist(), *np.maximum(a, b).tolist(), None, pen)
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


def photo_page(rng: Generator, side: int, photos: Sequence[np.ndarray]) -> Image.Image:
    """Captions and windows over a photograph. It is scaled down, so that losses of a JPEG source
    are gone: the page serves every quality."""
    photo = photos[rng.integers(len(photos))]
    short = min(photo.shape[:2])
    window_side = min(short, int(side * rng.uniform(1.3, 2.5)))
    y, x = (int(rng.integers(0, n - window_side + 1)) for n in photo.shape[:2])
    page = Image.fromarray(photo[y : y + window_side, x : x + window_side])
    inner = min(
        side, max(1, int(window_side / 1.3))
    )  # a small photograph covers a part of the page
    page = page.resize((inner, inner), Image.Resampling.LANCZOS)
    if inner < side:
        background = text_page(rng, side)
        background.paste(page, tuple(rng.integers(0, side - inner + 1, 2).tolist()))
        page = background
    draw = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(2, 9))):
        size = int(rng.integers(10, 60))
        font = load_font(pick_font(rng), size)
        x, y = rng.integers(0, side, 2).tolist()
        text, colour = phrase(rng, 1, 5), _colour(rng) if rng.random() < 0.4 else (255, 255, 255)
        if rng.random() < 0.3:
            draw.rectangle(
                (x - 106, y - 3, x - 94 + font.getlength(text), y + size * 1.3), _colour(rng, 0, 90)
            )
        elif rng.random() < 0.5:
            draw.text((x - 99, y + 1), text, (0, 0, 0), font)
        draw.text((x - 100, y), text, colour, font)
    for _ in range(int(rng.integers(0, 3))):
        paste_window(page, rng, *rng.integers(side // 4, side // 2, 2).tolist())
    return page


Painter = Callable[[Generator, int], Image.Image]
# kind: (how it is drawn, its share of the pages)
KINDS: dict[str, tuple[Painter, float]] = {
    "text": (text_page, 0.24),
    "code": (code_page, 0.08),
    "table": (table_page, 0.06),
    "plot": (plot_page, 0.17),
    "interface": (interface_page, 0.22),
    "gradient": (gradient_page, 0.09),
    "pattern": (pattern_page, 0.06),
}
PHOTO_SHARE = 0.08  # photographs with graphics over them, where there are photographs


def draw_page(
    rng: Generator, side: int = PAGE, photos: Sequence[np.ndarray] = (), kind: str | None = None
) -> np.ndarray:
    """A page of graphics, uint8 (side, side, 3), of a kind of `KINDS`, by default a random one."""
    if kind is None:
        if photos and rng.random() < PHOTO_SHARE:
            return np.asarray(photo_page(rng, side, photos))
        shares = np.array([share for _, share in KINDS.values()])
        kind = list(KINDS)[rng.choice(len(KINDS), p=shares / shares.sum())]
    return np.asarray(KINDS[kind][0](rng, side))


def graphics_pages(seed: int, count: int, side: int = PAGE) -> list[np.ndarray]:
    """Pages to evaluate on, each uint8 (side, side, 3), without photographs.

    They are drawn from other seeds than those of training, whatever the run's own seed: no page is
    ever trained on. They come from the same generator and fonts, though, so they tell how well a
    model does on new pages of these kinds, not on kinds it has never met.
    """
    return [draw_page(np.random.default_rng([EVALUATION, seed, i]), side) for i in range(count)]


@dataclass
class PagePool:
    """Pages that training crops are cut from.

    Which page lies in a slot is a function of (seed, slot, step) alone, and each is drawn when first
    asked for: a resumed run finds the pages of the run that it goes on from. A page is replaced
    after `LIFETIME` steps, the slots at different times.
    """

    seed: int
    side: int = PAGE
    photos: Sequence[np.ndarray] = ()
    _pages: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict, repr=False)

    def page(self, slot: int, step: int) -> np.ndarray:
        age = (step + slot * LIFETIME // SLOTS) // LIFETIME
        held = self._pages.get(slot)
        if held is None or held[0] != age:
            rng = np.random.default_rng([TRAINING, self.seed, slot, age])
            held = age, draw_page(rng, self.side, self.photos)
            self._pages[slot] = held
        return held[1]

    def crop(self, size: int, step: int, rng: Generator, augment: bool) -> np.ndarray:
        """A crop, uint8 (size, size, 3): most at the page's own scale, some smaller or magnified.

        With `augment`, mirrored, turned, inverted, and its channels swapped at random.
        """
        page = self.page(int(rng.integers(SLOTS)), step)
        scale = rng.random()
        if scale < 0.75:
            factor = 1.0
        elif scale < 0.9:
            factor = rng.uniform(1.0, min(2.0, self.side / size))
        else:
            factor = 0.5  # every pixel doubled, or smoothly magnified
        side = max(1, round(size * factor))
        for _ in range(8):  # blank paper teaches nothing: look elsewhere
            y, x = rng.integers(0, self.side - side + 1, 2).tolist()
            crop = page[y : y + side, x : x + side]
            if (crop[::4, ::4] != crop[0, 0]).any():
                break
        if side > size:
            crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.LANCZOS))
        elif side < size and rng.random() < 0.5:
            crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC))
        elif side < size:
            crop = crop.repeat(2, axis=0).repeat(2, axis=1)[:size, :size]
        if not augment:
            return crop
        if rng.random() < 0.25:
            crop = crop[:, ::-1]
        if rng.random() < 0.25:
            crop = np.rot90(crop, int(rng.integers(1, 4)))
        if rng.random() < 0.25:
            crop = 255 - crop
        if rng.random() < 0.3:
            crop = crop[:, :, rng.permutation(3)]
        return crop

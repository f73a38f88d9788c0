"""Synthetic interfaces: windows, lists, forms, icons."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .documents import plot, table
from .drawing import (
    SUPERSAMPLING,
    Canvas,
    Generator,
    Theme,
    colour_in,
    load_font,
    mix,
    paragraph,
    phrase,
    pick_font,
    pick_theme,
    text_width,
    words,
)
from .patterns import gradient


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
            canvas.text(x, y + size + 7, phrase(rng, 1, 2), small, mix(theme.paper, ink, 0.6))
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
    """A window somewhere on the page, perhaps over its edge, with or without a shadow and round
    corners."""
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
        page = Image.new("RGB", (side, side), colour_in(rng))
    else:
        page = Image.fromarray(gradient(rng, side, side))
    for _ in range(int(rng.integers(2, 5))):
        paste_window(page, rng, *rng.integers(side // 3, side * 4 // 5, 2).tolist())
    return page

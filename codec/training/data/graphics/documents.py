"""Synthetic documents: text, code, tables and plots."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .drawing import (
    Canvas,
    Generator,
    Theme,
    load_font,
    mix,
    paragraph,
    phrase,
    pick_font,
    pick_theme,
    text_width,
    words,
)


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
                    canvas.text(x + size, y, "-", load_font(body, size), theme.ink)
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
            canvas.polygon(np.concatenate([xy, ends]), mix(theme.paper, colour, 0.4))
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

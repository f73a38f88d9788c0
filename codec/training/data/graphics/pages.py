"""Synthetic graphics to train and to judge on: rendered text, plots, interfaces, gradients,
patterns, night skies.

Pages are drawn with Pillow and NumPy (no torch operation: see `data.batch_of`) and kept in a pool,
from which crops are cut: drawing a page costs far more than a crop of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from .documents import code_page, plot_page, table_page, text_page
from .drawing import Generator, colour_in, load_font, phrase, pick_font
from .interfaces import interface_page, paste_window
from .patterns import gradient_page, pattern_page
from .skies import sky_page

PAGE = 768
SLOTS = 64  # pages in the pool
LIFETIME = 2048  # steps after which a page of the pool is drawn anew
TRAINING, EVALUATION = 1, 2  # first word of a page's seed: the two never share a page


def photo_page(rng: Generator, side: int, photos: Sequence[np.ndarray]) -> Image.Image:
    """Captions and windows over a photograph. It is scaled down, so that losses of a JPEG source
    are gone: the page serves every quality."""
    photo = photos[rng.integers(len(photos))]
    short = min(photo.shape[:2])
    window_side = min(short, int(side * rng.uniform(1.3, 2.5)))
    y, x = (int(rng.integers(0, n - window_side + 1)) for n in photo.shape[:2])
    page = Image.fromarray(photo[y : y + window_side, x : x + window_side])
    # a small photograph covers a part of the page
    inner = min(side, max(1, int(window_side / 1.3)))
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
        text, colour = phrase(rng, 1, 5), colour_in(rng) if rng.random() < 0.4 else (255, 255, 255)
        if rng.random() < 0.3:
            draw.rectangle(
                (x - 106, y - 3, x - 94 + font.getlength(text), y + size * 1.3),
                colour_in(rng, 0, 90),
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
    "sky": (sky_page, 0.12),
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

    Which page lies in a slot is a function of (seed, slot, step) alone, and each is drawn when
    first asked for: a resumed run finds the pages of the run that it goes on from. A page is
    replaced after `LIFETIME` steps, the slots at different times.
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

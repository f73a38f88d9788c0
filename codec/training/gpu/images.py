"""Training images in the memory of the device, and batches of crops that are gathered from there.

What is drawn at random follows data.py and graphics.py, with two shortcuts: every photograph is
stored at six scales, found once, instead of being scaled for each crop; and pages of graphics are
drawn once.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.graphics.pages import TRAINING, draw_page
from ..data.photographs import HIGH_RATE_INDEX, Photographs
from ..networks.latent_codec import GAIN_LEVELS

# A photograph is scaled down by a factor from each of these intervals. High rates leave out the
# first: JPEG sources have lost their finest detail.
FACTORS = (1.0, 1.3, 1.5, 1.7, 1.85, 2.0)
# Shares of a page as it is, smaller, twice as large, and that smoothly
PAGE_KINDS = (0.75, 0.15, 0.05, 0.05)
PARAMETERS = 8  # of a crop, see Store.draw


def _scaled(image: np.ndarray, patch: int, rng: np.random.Generator) -> list[np.ndarray]:
    height, width = image.shape[:2]
    out, source = [image], Image.fromarray(image)
    for low, high in itertools.pairwise(FACTORS):
        factor = min(rng.uniform(low, high), min(height, width) / patch)
        size = max(patch, round(width / factor)), max(patch, round(height / factor))
        out.append(np.asarray(source.resize(size, Image.Resampling.LANCZOS)))
    return out


def _page(seed: int, number: int, patch: int) -> list[np.ndarray]:
    rng = np.random.default_rng([TRAINING, 1000 + seed, number])
    page = draw_page(rng)
    source, side = Image.fromarray(page), page.shape[0]
    small = max(patch, round(side / rng.uniform(1, 2)))
    top, left = rng.integers(0, side - side // 2 + 1, 2).tolist()
    part = source.crop((left, top, left + side // 2, top + side // 2))
    return [
        page,
        np.asarray(source.resize((small, small), Image.Resampling.LANCZOS)),
        np.asarray(part.resize((side, side), Image.Resampling.NEAREST)),
        np.asarray(part.resize((side, side), Image.Resampling.BICUBIC)),
    ]


class Store:
    """Images one behind the other in one buffer, `flat`, uint8, on the host.

    photos: those smaller than `patch` on a side are left out. pages: of graphics. Raises ValueError
    where no photograph is left.
    """

    def __init__(self, photos: Photographs, patch: int, pages: int, seed: int):
        self.patch = patch
        kept = [image for image in photos.train if min(image.shape[:2]) >= patch]
        if not kept:
            raise ValueError(f"no training image has {patch} pixels on each side")
        lossless = {id(image) for image in photos.lossless}
        self.lossless = np.array([i for i, image in enumerate(kept) if id(image) in lossless])
        self.photos, self.pages = len(kept), pages
        jobs = [(seed, i, patch) for i in range(pages)]
        if pages > 16:
            # forked, hence before anything of CUDA; the pages first, while there is little to fork
            with get_context("fork").Pool(os.cpu_count()) as processes:
                drawn = processes.starmap(_page, jobs, 4)
        else:
            drawn = [_page(*job) for job in jobs]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            rngs = [np.random.default_rng([seed, i]) for i in range(len(kept))]
            sets = list(threads.map(lambda a: _scaled(a[0], patch, a[1]), zip(kept, rngs)))
        sets += drawn
        shape = len(sets), max(len(views) for views in sets)
        self.start, self.height, self.width = (np.zeros(shape, np.int64) for _ in range(3))
        self.flat = np.empty(sum(view.size for views in sets for view in views), np.uint8)
        at = 0
        for i, views in enumerate(sets):
            for k, view in enumerate(views):
                self.start[i, k], self.height[i, k], self.width[i, k] = at, *view.shape[:2]
                self.flat[at : at + view.size] = view.ravel()
                at += view.size

    def _choose(self, index: np.ndarray, page: np.ndarray, rng: np.random.Generator):
        """Image and view of each crop: int (B,) both."""
        batch, high = len(index), index > HIGH_RATE_INDEX
        share = np.diff(FACTORS)
        which = rng.integers(self.photos, size=batch)
        far = rng.choice(len(share) - 1, batch, p=share[1:] / share[1:].sum()) + 2
        near = rng.choice(len(share), batch, p=share / share.sum()) + 1
        own = rng.random(batch) < 0.4
        view = np.where(high, far, np.where(own, near, 0))
        if len(self.lossless):
            whole = high & own
            which = np.where(
                whole, self.lossless[rng.integers(len(self.lossless), size=batch)], which
            )
            view = np.where(whole, 0, view)
        if self.pages:
            which = np.where(page, self.photos + rng.integers(self.pages, size=batch), which)
            view = np.where(page, rng.choice(len(PAGE_KINDS), batch, p=PAGE_KINDS), view)
        return which, view

    def draw(
        self, rng: np.random.Generator, batch: int, graphics: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Crops at random: int64 (batch, PARAMETERS), which `crops` takes, and gain indexes,
        float32 (batch,), stratified.

        Of a crop: place of its first pixel in `flat`, steps to the next line and column, offsets of
        the channels (3), whether it is inverted, whether made grey.
        """
        side = self.patch
        index = (rng.permutation(batch) + rng.random(batch)) / batch * (GAIN_LEVELS - 1)
        page = (rng.random(batch) < graphics) & (self.pages > 0)
        which, view = self._choose(index, page, rng)
        start, height, width = (a[which, view] for a in (self.start, self.height, self.width))
        y = (rng.random(batch) * (height - side + 1)).astype(np.int64)
        x = (rng.random(batch) * (width - side + 1)).astype(np.int64)
        for b in np.flatnonzero(page):
            image = self.flat[start[b] :][: 3 * height[b] * width[b]]
            image = image.reshape(height[b], width[b], 3)
            for _ in range(8):  # blank paper teaches nothing: look elsewhere
                crop = image[y[b] : y[b] + side : 4, x[b] : x[b] + side : 4]
                if (crop != crop[0, 0]).any():
                    break
                y[b], x[b] = (int(rng.integers(0, n - side + 1)) for n in image.shape[:2])
        turned = rng.integers(2, size=(3, batch)).astype(bool)  # upside down, mirrored, transposed
        turned &= ~page | (rng.random(batch) < 0.25)
        line, column = 3 * width, np.full(batch, 3)
        first = start + 3 * (y * width + x)
        first = first + np.where(turned[0], line * (side - 1), 0)
        first = first + np.where(turned[1], column * (side - 1), 0)
        line, column = np.where(turned[0], -line, line), np.where(turned[1], -column, column)
        line, column = np.where(turned[2], column, line), np.where(turned[2], line, column)
        channels = np.tile(np.arange(3), (batch, 1))
        for b in np.flatnonzero(page & (rng.random(batch) < 0.3)):
            channels[b] = rng.permutation(3)
        inverted = page & (rng.random(batch) < 0.25)
        grey = ~page & (rng.random(batch) < 0.04)
        out = np.stack([first, line, column, *channels.T, inverted, grey], 1).astype(np.int64)
        return out, index.astype(np.float32)


def crops(flat: Tensor, parameters: Tensor, side: int) -> Tensor:
    """Crops as the networks take them, float32 (B, 3, side, side) in -0.5..0.5, channels-last.
    flat: Store.flat on the device; parameters: int64 (B, PARAMETERS), see Store.draw."""
    i = torch.arange(side, device=flat.device)
    first, line, column = (parameters[:, k, None, None] for k in range(3))
    place = first + line * i[:, None] + column * i
    x = flat[place[..., None] + parameters[:, None, None, 3:6]].float()
    x = torch.where(parameters[:, 6, None, None, None] > 0, 255 - x, x)
    grey = (x[..., 0] * 0.299 + x[..., 1] * 0.587 + x[..., 2] * 0.114).round()
    x = torch.where(parameters[:, 7, None, None, None] > 0, grey[..., None].expand_as(x), x)
    return x.div(255).sub(0.5).permute(0, 3, 1, 2)


def tiles(x: Tensor, index: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """A batch cut into tiles of that side, and their gain indexes."""
    b, _, whole, _ = x.shape
    n = whole // side
    x = x.view(b, 3, n, side, n, side).permute(0, 2, 4, 3, 5, 1)
    x = x.reshape(b * n * n, side, side, 3).permute(0, 3, 1, 2)
    return x, index.repeat_interleave(n * n)

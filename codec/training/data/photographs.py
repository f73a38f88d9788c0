"""Training photographs: loading, the held-out split, and random crops matched to a quality."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..networks.latent_codec import GAIN_LEVELS
from .graphics.pages import PagePool

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
LOSSLESS = {".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
HOLD_OUT_EVERY = 50
# lambda 0.0157; above, the JPEG sources' own losses would teach the model to drop detail
HIGH_RATE_INDEX = 124


@dataclass
class Photographs:
    """Decoded images, uint8 (H, W, 3), and which of them are stored without loss."""

    train: list[np.ndarray]
    lossless: list[np.ndarray]
    held_out: list[np.ndarray]


def list_images(folder: Path) -> list[Path]:
    """Image files below a folder: in the order of `<folder>_manifest.tsv` beside it if there is
    one, else sorted by path. The order matters: every 50th file is held out."""
    manifest = folder.parent / f"{folder.name}_manifest.tsv"
    if manifest.is_file():
        rows = manifest.read_text(encoding="utf-8").splitlines()[1:]
        return [folder / row.split("\t")[0] for row in rows if row]
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise FileNotFoundError(f"{folder}: no image files found; name a folder of photographs")
    return files


def load_photographs(folder: Path) -> Photographs:
    """Decode a folder into memory (3 bytes a pixel)."""
    files = list_images(folder)

    def load(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))

    with ThreadPoolExecutor(2) as pool:
        images = list(pool.map(load, files))
    train, lossless, held_out = [], [], []
    for i, (path, image) in enumerate(zip(files, images)):
        if len(files) > 1 and i % HOLD_OUT_EVERY == 0:
            held_out.append(image)
            continue
        train.append(image)
        if path.suffix.lower() in LOSSLESS:
            lossless.append(image)
    return Photographs(train, lossless, held_out or train[:1])


def random_crop(
    photos: Photographs, index: float, size: int, rng: np.random.Generator, augment: bool
) -> np.ndarray:
    """One crop, uint8 (size, size, 3): at high gain indexes from lossless or downscaled sources."""
    high = index > HIGH_RATE_INDEX
    if high and photos.lossless and rng.random() < 0.4:
        image, low, top = photos.lossless[rng.integers(len(photos.lossless))], 1.0, 1.0
    else:
        image = photos.train[rng.integers(len(photos.train))]
        low, top = (1.3, 2.0) if high else (1.0, 2.0 if rng.random() < 0.4 else 1.0)
    height, width = image.shape[:2]
    factor = min(rng.uniform(low, top), min(height, width) / size)
    if factor < 1:  # a small source: repeat its mirror image rather than invent detail
        pad = [(0, max(0, size - height)), (0, max(0, size - width)), (0, 0)]
        image = np.pad(image, pad, mode="symmetric")
        height, width, factor = *image.shape[:2], 1.0
    side = size * factor
    y, x = rng.uniform(0, height - side), rng.uniform(0, width - side)
    if factor == 1.0:
        y, x = int(y), int(x)
        crop = image[y : y + size, x : x + size]
    else:
        y0, x0 = int(y), int(x)
        window = Image.fromarray(image[y0 : int(y + side) + 1, x0 : int(x + side) + 1])
        side = min(side, *window.size)
        crop = np.asarray(
            window.resize((size, size), Image.Resampling.LANCZOS, box=(0, 0, side, side))
        )
    if not augment:
        return crop
    turn = int(rng.integers(8))
    crop = np.rot90(crop, turn % 4)
    if turn >= 4:
        crop = crop[:, ::-1]
    if rng.random() < 0.04:
        grey = np.asarray(Image.fromarray(np.ascontiguousarray(crop)).convert("L"))
        crop = np.repeat(grey[:, :, None], 3, axis=2)
    return crop


def batch_of(
    photos: Photographs, batch: int, size: int, seed: int, step: int, augment: bool = True,
    pages: PagePool | None = None, graphics: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The batch of one step, a pure function of (seed, step), so that a resumed run repeats
    nothing.

    Returns uint8 (batch, 3, size, size) and gain indexes float32 (batch,), stratified over 0..255.
    With `augment`, crops are turned and mirrored, and a few made grey. A share `graphics` of the
    crops, at any gain index, comes from `pages` instead. In one step of ten the crops are cut into
    tiles of 32, 64 or 128 pixels, so that small images and image borders are seen.
    """
    rng = np.random.default_rng([seed, step])
    index = (rng.permutation(batch) + rng.random(batch)) / batch * (GAIN_LEVELS - 1)
    crops = [random_crop(photos, i, size, rng, augment) for i in index]
    if pages is not None and graphics > 0:
        own = np.random.default_rng([seed, step, 1])  # the photographs stay what they are without
        for i in np.flatnonzero(own.random(batch) < graphics):
            crops[i] = pages.crop(size, step, own, augment)
    x = np.stack(crops).transpose(0, 3, 1, 2)
    index = index.astype(np.float32)
    # NumPy only: a torch operation here would start a second OpenMP team in the loading thread, and
    # with more threads than cores libgomp stops spinning, which costs the training thread 40 %.
    if rng.random() < 0.1:
        tile = int(rng.choice([32, 64, 64, 128]))
        n = size // tile
        x = x.reshape(batch, 3, n, tile, n, tile).transpose(0, 2, 4, 1, 3, 5)
        x = x.reshape(batch * n * n, 3, tile, tile)
        index = index.repeat(n * n)
    return torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(index)

"""The 32x32 images that the cae trains on, and batches of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..networks.cae import SIDE
from .cifar_files import HELP, Cifar, CifarMissingError, load_cifar
from .photographs import list_images
from .tensors import planes_of_images

TILES = 16  # of an image larger than 32x32, so that a few large ones do not crowd out the rest
HOLD_OUT = 0.1


def load_images(folder: Path, seed: int) -> Cifar:
    """CIFAR-10 if the folder holds it, else 32x32 tiles of any images in it: all of an image, or 16
    drawn by the seed, which also draws the tenth of the images that is held out.

    Raises CifarMissingError where there is neither.
    """
    try:
        return load_cifar(folder)
    except CifarMissingError as missing:
        try:
            files = list_images(folder)
        except FileNotFoundError:
            raise missing from None
    rng = np.random.default_rng(seed)
    tiles = []
    for path in files:
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("RGB"))
        rows, columns = image.shape[0] // SIDE, image.shape[1] // SIDE
        cut = image[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3)
        cut = cut.swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
        if len(cut):
            tiles.append(cut[np.sort(rng.permutation(len(cut))[:TILES])])
    if len(tiles) < 2:
        raise CifarMissingError(f"{folder}: fewer than two images of 32x32 or more; {HELP}")
    order = rng.permutation(len(tiles))
    held = max(1, round(HOLD_OUT * len(tiles)))
    return Cifar(
        np.concatenate([tiles[i] for i in order[held:]]),
        np.concatenate([tiles[i] for i in order[:held]]),
        f"32x32 tiles of {len(tiles)} images",
    )


def batch_of(
    images: np.ndarray, batch: int, seed: int, step: int, augment: bool
) -> tuple[Tensor, Tensor]:
    """The batch of one step, a pure function of (seed, step): every image once an epoch, in an
    order drawn anew; the last batch of an epoch may be smaller. With `augment`, mirrored at random.

    Returns uint8 (b, 3, 32, 32) and zeros (b,), the gain indexes of a model of one rate.
    """
    per_epoch = -(-len(images) // batch)
    epoch, i = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(len(images))
    chosen = images[order[i * batch : (i + 1) * batch]]
    if augment:
        mirror = np.random.default_rng([seed, epoch, i]).random(len(chosen)) < 0.5
        chosen = np.where(mirror[:, None, None, None], chosen[:, :, ::-1], chosen)
    return planes_of_images(chosen), torch.zeros(len(chosen))

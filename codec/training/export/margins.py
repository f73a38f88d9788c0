"""How much around a window g_s has to see, as far as that shows.

By its structure it sees `NetworkConfig.halo` cells, one for each 3x3 convolution at 1/16. What
comes from far away fades on its way: of the 15 cells of the shipped model, 7 move no pixel by a
hundredth of a level, on photographs or on noise. Large images are decoded in windows with this
margin on all sides, so it decides how much is worked out twice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..data.tensors import tensor_of_image
from ..networks.latent_codec import LatentCodec

SHOWS = 0.005  # levels (1/255); sums in another order differ by up to 0.0004
INDEXES = (0, 60, 130, 230)
SIDE = 384  # of an image of noise, in pixels: 24 cells


@torch.no_grad()
def visible_halo(model: LatentCodec, images: list[np.ndarray]) -> int:
    """The least margin, in cells, with which windows of half an image's sides give the pixels of
    the whole, to SHOWS levels, at each of INDEXES.

    images: uint8 (H, W, 3), sides multiples of 32. An image of noise, which spreads furthest, is
    added to them.
    """
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    decoded = []
    for image in (noise, *images):
        x = tensor_of_image(image)
        for index in INDEXES:
            gain_index = torch.tensor([float(index)])
            steps = (model.g_a(x, gain_index) * model.gain(gain_index)).round()
            y = steps * model.inverse_gain(gain_index)
            decoded.append((gain_index, y, model.g_s(y, gain_index)))
    most = model.config.halo
    # a window of the whole image of noise would prove nothing
    for margin in range(1, min(most, SIDE // 16 // 2)):
        if all(_same(model, margin, *one) for one in decoded):
            return margin
    return most


def _same(model: LatentCodec, margin: int, gain_index: Tensor, y: Tensor, whole: Tensor) -> bool:
    """Whether each quarter of an image comes out of a window with this margin as it does out of the
    whole."""
    h, w = y.shape[2:]
    for top, bottom in ((0, h // 2), (h // 2, h)):
        for left, right in ((0, w // 2), (w // 2, w)):
            above, before = max(0, top - margin), max(0, left - margin)
            part = model.g_s(y[:, :, above : bottom + margin, before : right + margin], gain_index)
            part = part[:, :, 16 * (top - above) :, 16 * (left - before) :]
            wanted = whole[:, :, 16 * top : 16 * bottom, 16 * left : 16 * right]
            difference = part[:, :, : wanted.shape[2], : wanted.shape[3]] - wanted
            if difference.abs().max() * 255 > SHOWS:
                return False
    return True

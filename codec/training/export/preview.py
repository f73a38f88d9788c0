"""A linear synthesis of small images: latents to means of 4x4 pixels, fitted to the decoder by
least squares.

Means of pixels hardly depend on what the network adds to its linear path, so one matrix gives
previews without running the network (codec/models/transforms.py, `preview`).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ...models.transforms import PREVIEW_CELL
from ..data.tensors import tensor_of_image
from ..networks.latent_codec import LatentCodec

INDEXES = (40, 120, 200)
RIDGE = 1e-2


@torch.no_grad()
def fit_preview(model: LatentCodec, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """`preview.weight`, float32 (M, 48), and `preview.bias` (48,): dequantised latents of a cell to
    its 4x4 reduced pixels of range -0.5..0.5, in the order (channel, row, column).

    images: uint8 (H, W, 3), sides multiples of 16.
    """
    inputs, targets = [], []
    for image in images:
        x = tensor_of_image(image)
        for index in INDEXES:
            gain_index = torch.tensor([float(index)])
            steps = (model.g_a(x, gain_index) * model.gain(gain_index)).round()
            y = steps * model.inverse_gain(gain_index)
            small = F.avg_pool2d(model.g_s(y, gain_index), 16 // PREVIEW_CELL)
            inputs.append(y[0].flatten(1).T)
            targets.append(F.pixel_unshuffle(small, PREVIEW_CELL)[0].flatten(1).T)
    a = torch.cat(inputs).double()
    a = torch.cat([a, torch.ones(len(a), 1, dtype=torch.float64)], 1)
    b = torch.cat(targets).double()
    square = a.T @ a + RIDGE * torch.eye(a.shape[1], dtype=torch.float64)
    fitted = torch.linalg.solve(square, a.T @ b).float().numpy()
    return {"preview.weight": fitted[:-1], "preview.bias": fitted[-1]}

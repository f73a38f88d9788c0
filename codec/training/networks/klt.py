"""Karhunen-Loeve basis of 16x16x3 training patches: where the linear path of the transforms
starts."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 16


def klt_basis(images: list[np.ndarray], components: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Leading eigenvectors of the second-moment matrix of 16x16 RGB patches.

    images: uint8 (H, W, 3) arrays. Returns (basis, std): basis float32 (components, 768),
    orthonormal rows in `pixel_unshuffle(16)` channel order; std float32 (components,), the root
    mean square of each coefficient for pixels in -0.5..0.5. Components are dealt to the four
    channel groups of the context model in turn (0, 4, 8, ... then 1, 5, 9, ...), so that every
    group spans the spectrum.
    """
    rng = np.random.default_rng(seed)
    moment = torch.zeros(3 * PATCH**2, 3 * PATCH**2, dtype=torch.float64)
    count = 0
    for image in images:
        # A random phase: patches of the training sources must not all sit on the JPEG grid.
        top, left = rng.integers(0, PATCH, 2)
        x = torch.from_numpy(image[top:, left:])
        x = x[: x.shape[0] // PATCH * PATCH, : x.shape[1] // PATCH * PATCH]
        if x.numel() == 0:
            continue
        x = F.pixel_unshuffle((x.permute(2, 0, 1)[None] / 255.0 - 0.5), PATCH)
        x = x[0].flatten(1).double()
        moment += x @ x.T
        count += x.shape[1]
    if count == 0:
        raise ValueError("no training image is at least 16x16 pixels")
    values, vectors = torch.linalg.eigh(moment / count)
    order = torch.argsort(values, descending=True)[:components]
    order = order.reshape(components // 4, 4).T.flatten()
    basis = vectors[:, order].T.float().contiguous()
    std = values[order].clamp(min=1e-6).sqrt().float()
    return basis, std

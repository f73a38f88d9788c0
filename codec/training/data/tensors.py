"""Images as the networks see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def planes_of_images(images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
    """uint8 (B, 3, H, W), contiguous, of B images (H, W, 3) of one size. By NumPy alone: it runs in
    loading threads, too, where torch would start a second team of threads."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))


def tensor_of_image(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """float32 (1, 3, H, W) from -0.5 to 0.5 of an image uint8 (H, W, 3)."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].to(device) / 255.0 - 0.5

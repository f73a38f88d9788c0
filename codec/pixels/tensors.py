"""PyTorch tensors as images, without importing torch: only a caller who has a tensor has torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...formats import UnsupportedError


def as_pixels(image: Any) -> Any:
    """A torch tensor as a uint8 array (H, W) or (H, W, C); anything else as it is.

    Tensors: (H, W) or (C, H, W) with 1 to 4 channels, uint8, or floating point from 0 to 1 as
    torchvision has them (then rounded to 8 bits); on any device. Raises UnsupportedError.
    """
    if type(image).__module__.partition(".")[0] != "torch" or not hasattr(image, "detach"):
        return image
    tensor = image.detach().cpu()
    if tensor.is_floating_point():
        values = tensor.float().numpy()
        if not (values.min(initial=0) >= 0 and values.max(initial=0) <= 1):  # NaN fails too
            raise UnsupportedError("a floating-point tensor must hold values from 0 to 1")
        pixels = np.rint(values * 255).astype(np.uint8)
    else:
        pixels = tensor.numpy()
    if pixels.ndim == 3:
        pixels = pixels.transpose(1, 2, 0)
        if not 1 <= pixels.shape[2] <= 4:
            raise UnsupportedError(
                f"a tensor of shape {tuple(tensor.shape)} is not an image: "
                "give (H, W), or (C, H, W) with 1 to 4 channels"
            )
    return np.ascontiguousarray(pixels)

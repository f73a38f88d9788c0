"""What the output of g_s depends on, in torch: gradients, and layer-wise relevance propagation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..models.bundle import Bundle
from .export.export import restore_model
from .networks.cae import ConvAutoencoder


def explain(
    bundle: Bundle, y: np.ndarray, gain_index: int, direction: np.ndarray, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient by the latents of sum(direction * g_s(y)), and the relevance of the latents for
    that sum.

    y: float32 (h, w, M), dequantised; gain_index: 0 to 255; direction: float32 (h', w', 3). Both
    results are float32 (h, w, M). Relevance follows the epsilon rule of Bach et al. 2015, R_i = x_i
    sum_j w_ij R_j / (z_j + epsilon sign z_j), at every convolution, epsilon in root mean squares of
    the layer's z; elementwise functions pass it on unchanged, and where tensors are added each gets
    the share that it gives. Biases and epsilon keep a part, so that the sum is less than
    sum(direction * g_s(y)).
    """
    model = restore_model(bundle).eval().requires_grad_(False)
    index = torch.tensor([float(gain_index)])
    wanted = torch.from_numpy(np.ascontiguousarray(direction.transpose(2, 0, 1)[None]))

    def gradient() -> Tensor:
        latents = torch.from_numpy(np.ascontiguousarray(y.transpose(2, 0, 1)[None]))
        latents.requires_grad_(True)
        x = model.g_s(latents) if isinstance(model, ConvAutoencoder) else model.g_s(latents, index)
        return torch.autograd.grad((wanted * x).sum(), latents)[0]

    plain = gradient()
    # The epsilon rule is input times gradient of a network whose layers divide by z + epsilon sign
    # z instead of z (Ancona et al. 2018).
    hooks = []
    for module in model.g_s.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(lambda _, __, z: _stabilised(z, epsilon)))
        elif isinstance(module, nn.Sigmoid):
            hooks.append(module.register_forward_hook(lambda _, given, __: _through_zero(given[0])))
    ruled = gradient()
    for hook in hooks:
        hook.remove()
    arrays = (g[0].permute(1, 2, 0).numpy() for g in (plain, ruled))
    first, second = (np.ascontiguousarray(a, np.float32) for a in arrays)
    return first, y * second


def _stabilised(z: Tensor, epsilon: float) -> Tensor:
    """z, with a gradient of z / (z + epsilon sign z)."""
    value = z.detach()
    scale = epsilon * value.square().mean().sqrt() + 1e-12
    kept = value / (value + torch.where(value < 0, -scale, scale))
    return z * kept + value * (1 - kept)


def _through_zero(z: Tensor) -> Tensor:
    """The sigmoid of z, as a line from (0, 1/2): images are sigmoid - 1/2, so that relevance passes
    as it is."""
    value = z.detach()
    slope = torch.where(value.abs() < 1e-3, 0.25, (torch.sigmoid(value) - 0.5) / value)
    return z * slope + 0.5

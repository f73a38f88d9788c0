"""SSIMULACRA 2 as a loss: its weighted sum of errors before the last curve, differentiable.

The definition is Jon Sneyers' (https://github.com/cloudinary/ssimulacra2, version 2.1): in XYB, at
six scales, a structural error d and two errors of edges (artefacts and lost detail), each as mean
and as 4-norm, weighted. That sum is nearly proportional to the mean squared error (3,300 to 4,700
times, scores 84 to 34), so that it takes the Lagrangian weights that training has.

Only the 25 of 108 terms with a weight above 0.1 are computed: the others come to less than a
ten-thousandth of the sum (docs/research/base-8.md), and at full resolution luma alone is left,
which is most of the work.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...metrics.recursive_gaussian import SIGMA
from ...metrics.ssimulacra2 import C2, FACTOR, MIN_SIDE, B, X, Y
from ...metrics.xyb import LMS, LMS_BIAS
from ...search.ssimulacra2 import REACH, SCALES, TERMS


def linear(x: Tensor) -> Tensor:
    """sRGB in 0..1 to linear light, clamped."""
    x = x.clamp(0, 1)
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04) + 0.055) / 1.055) ** 2.4)


def opsin(rgb: Tensor, channels: set[int]) -> dict[int, Tensor]:
    """Linear RGB (B, 3, H, W) -> the channels of XYB asked for, (B, H, W), in SSIMULACRA 2's
    ranges."""
    rows = LMS if B in channels else LMS[:2]
    lms = F.conv2d(rgb, rgb.new_tensor(rows)[:, :, None, None]) + LMS_BIAS
    # where the original is black, the slope of a cube root would be all that counts
    root = lms.clamp_min(1e-6) ** (1 / 3) - LMS_BIAS ** (1 / 3)
    y = 0.5 * (root[:, 0] + root[:, 1])
    out = {Y: y + 0.01}
    if X in channels:
        out[X] = 0.5 * (root[:, 0] - root[:, 1]) * 14 + 0.42
    if B in channels:
        out[B] = root[:, 2] - y + 0.55
    return {c: out[c] for c in sorted(channels)}


def band(side: int, like: Tensor) -> Tensor:
    """The Gaussian of SIGMA over a side as a (side, side) matrix. Rows sum to one, so that borders
    are not darkened: a crop's borders are not the image's."""
    at = torch.arange(side, device=like.device, dtype=torch.float32)
    distance = (at[:, None] - at).abs()
    taps = torch.exp(-0.5 * (distance / SIGMA) ** 2) * (distance <= REACH)
    return taps / taps.sum(1, keepdim=True)


def blur(x: Tensor) -> Tensor:
    """Gaussian blur of (..., H, W) by two matrix products, which cost less than convolutions
    here."""
    return band(x.shape[-2], x) @ x @ band(x.shape[-1], x).T


def ssimulacra2_sum(x_hat: Tensor, x: Tensor) -> Tensor:
    """x_hat, x: (B, 3, H, W) in -0.5..0.5 -> (B,), 0 for equal images, unbounded above."""
    with torch.autocast(x.device.type, enabled=False):
        a, b = linear(x.float() + 0.5), linear(x_hat.float() + 0.5)
        total = x.new_zeros(x.shape[0], dtype=torch.float32)
        for scale in range(SCALES):
            if min(a.shape[2:]) < MIN_SIDE:
                break
            channels = {c for c, s in TERMS if s == scale}
            for c, errors in _errors(a, b, channels):
                total = total + _norms(errors, TERMS[c, scale])
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        return FACTOR * total


def _errors(a: Tensor, b: Tensor, channels: set[int]):
    """Per channel, (d, artefact, lost detail) of linear images of one scale, each (B, H, W)."""
    with torch.no_grad():
        originals = opsin(a, channels)
    for c, q in opsin(b, channels).items():
        p = originals[c]
        with torch.no_grad():
            m1, s11 = blur(torch.stack([p, p * p]))
        m2, s22, s12 = blur(torch.stack([q, q * q, p * q]))
        similarity = (2 * (s12 - m1 * m2) + C2) / ((s11 - m1 * m1) + (s22 - m2 * m2) + C2)
        d = (1 - (1 - (m1 - m2).square()) * similarity).clamp_min(0)
        edge = (1 + (q - m2).abs()) / (1 + (p - m1).abs()) - 1
        yield c, (d, edge.clamp_min(0), (-edge).clamp_min(0))


def _norms(errors: tuple[Tensor, Tensor, Tensor], weights: tuple[float, ...]) -> Tensor:
    """Weighted sum of means and 4-norms, (B,)."""
    total = errors[0].new_zeros(errors[0].shape[0])
    for error, mean, fourth in zip(errors, weights[:3], weights[3:]):
        if mean:
            total = total + mean * error.mean((1, 2))
        if fourth:
            power = error.square().square().mean((1, 2))
            total = total + fourth * (power + 1e-20) ** 0.25
    return total

"""SSIMULACRA 2 as a loss: its weighted sum of errors before the last curve, differentiable.

The definition is Jon Sneyers' (https://github.com/cloudinary/ssimulacra2, version 2.1): in XYB, at
six scales, a structural error d and two errors of edges (artefacts and lost detail), each as mean
and as 4-norm, weighted. That sum is nearly proportional to the mean squared error (3,300 to 4,700
times, scores 84 to 34), so that it takes the Lagrangian weights that training has.

Only the 26 of 108 terms with a weight above 0.1 are computed: the others come to 0.03 of the sum at
most, and at full resolution luma alone is left, which is most of the work.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Channel, scale (sides divided by 2^scale) -> weights of
# (d, artefact, lost detail) as means, then the same as 4-norms.
X, Y, B = 0, 1, 2
TERMS: dict[tuple[int, int], tuple[float, float, float, float, float, float]] = {
    (X, 1): (0, 0, 0, 1.1041726, 0, 0),
    (X, 2): (0, 0, 0, 1.8422456, 11.4411726, 0),
    (X, 3): (0, 0, 0, 1.8787595, 10.9490699, 0),
    (X, 4): (0, 0.9677937, 0, 0, 0.9981767, 0),
    (Y, 0): (0, 0, 0, 7.4668903, 0, 17.4458340),
    (Y, 1): (0, 0, 0, 6.6836781, 0, 1.0278899),
    (Y, 2): (225.2051530, 0, 0, 19.2132382, 0, 0),
    (Y, 3): (176.3931760, 0, 0, 24.4330100, 0.2852080, 0),
    (Y, 4): (0, 0, 0, 34.7790634, 44.8356253, 0),
    (B, 3): (0, 0, 0, 8.8269828, 23.1924334, 0),
    (B, 4): (95.1080499, 0.9863978, 0.9834383, 0, 171.2667256, 0.9807859),
}
FACTOR = 0.9562382616834844
SCALES = 5  # the sixth has no weight
SIGMA, C2 = 1.5, 0.0009
# libjxl's XYB: linear RGB to LMS, a bias before the cube root
LMS = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.55180986650955360),
)
BIAS = 0.0037930732552754493


def linear(x: Tensor) -> Tensor:
    """sRGB in 0..1 to linear light, clamped."""
    x = x.clamp(0, 1)
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04) + 0.055) / 1.055) ** 2.4)


def opsin(rgb: Tensor, channels: set[int]) -> dict[int, Tensor]:
    """Linear RGB (B, 3, H, W) -> the channels of XYB asked for, (B, H, W), in SSIMULACRA 2's ranges."""
    rows = LMS if B in channels else LMS[:2]
    lms = F.conv2d(rgb, rgb.new_tensor(rows)[:, :, None, None]) + BIAS
    # where the original is black, the slope of a cube root would be all that counts
    root = lms.clamp_min(1e-6) ** (1 / 3) - BIAS ** (1 / 3)
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
    taps = torch.exp(-0.5 * (distance / SIGMA) ** 2) * (distance <= 5)
    return taps / taps.sum(1, keepdim=True)


def blur(x: Tensor) -> Tensor:
    """Gaussian blur of (..., H, W) by two matrix products, which cost less than convolutions here."""
    return band(x.shape[-2], x) @ x @ band(x.shape[-1], x).T


def ssimulacra2_sum(x_hat: Tensor, x: Tensor) -> Tensor:
    """x_hat, x: (B, 3, H, W) in -0.5..0.5 -> (B,), 0 for equal images, unbounded above."""
    with torch.autocast(x.device.type, enabled=False):
        a, b = linear(x.float() + 0.5), linear(x_hat.float() + 0.5)
        total = x.new_zeros(x.shape[0], dtype=torch.float32)
        for scale in range(SCALES):
            if min(a.shape[2:]) < 8:
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
            total = total + fourth * (power + 1e-12) ** 0.25
    return total


def score(total: Tensor) -> Tensor:
    """SSIMULACRA 2 of a sum: 100 for equal images, 90 visually lossless, 70 high quality."""
    r = total
    r = 2.326765642916932 * r - 0.020884521182843837 * r**2 + 6.248496625763138e-05 * r**3
    return 100 - 10 * r.clamp_min(0) ** 0.6276336467831387

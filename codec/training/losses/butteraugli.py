"""Butteraugli as a loss: the map of metrics/butteraugli.py in torch, differentiable.

Its 3-norm goes with the root of squared errors, so that its square takes the Lagrangian weights
that training has. The whole costs five times as much as a step of training; so a window of each
crop is looked at, the same place in all, and a random part of the Malta filter's lines, each
counted for several. Borders are not mirrored as the metric's are: a crop's are not the image's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...metrics import butteraugli as metric
from .ssimulacra2 import linear

SIDE = 128  # pixels of a window
LINE_SHARE = 4  # one line of so many
PER_SQUARED_ERROR = 2500.0  # on two Kodak images as JPEG, quality 20 to 92: 1,200 to 5,800
TINY = 1e-12  # under a root, whose slope at 0 has no end


def window(x_hat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """A part of (B, 3, H, W), SIDE pixels a side at most, of both the same."""
    top, left = (int(torch.randint(max(1, n - SIDE + 1), ())) for n in x.shape[2:])
    rows, columns = slice(top, top + SIDE), slice(left, left + SIDE)
    return x_hat[:, :, rows, columns], x[:, :, rows, columns]


def butteraugli_squared(x_hat: Tensor, x: Tensor, share: int = 1) -> Tensor:
    """The square of the 3-norm, (B,). x_hat, x: (B, 3, H, W) in -0.5..0.5; share: see
    LINE_SHARE."""
    with torch.autocast(x.device.type, enabled=False):
        return error_map(x_hat, x, share).pow(3).mean((1, 2)).pow(2 / 3)


def error_map(x_hat: Tensor, x: Tensor, share: int = 1) -> Tensor:
    """(B, H, W): how visible each pixel's difference is. Sides are even."""
    p, q = linear(x.float() + 0.5), linear(x_hat.float() + 0.5)
    whole = (_squares(p, q, share) + TINY).sqrt()
    half = (_squares(F.avg_pool2d(p, 2), F.avg_pool2d(q, 2), share) + TINY).sqrt()
    wide = half.repeat_interleave(2, 1).repeat_interleave(2, 2)
    return whole * float(metric.KEPT) + float(metric.HALF_SIZE_SHARE) * wide


def _squares(p: Tensor, q: Tensor, share: int) -> Tensor:
    """The squared map of one size; p, q: linear light (B, 3, H, W) of original and distorted."""
    with torch.no_grad():
        a = _bands(_opponent_colours(p))
        texture = _blur(_texture(*a[2:]), metric.MASK_SIGMA)
        eroded = _erode(texture)
        of_ac, of_dc = (_mask(eroded, *m) for m in (metric.MASK_OF_AC, metric.MASK_OF_DC))
    b = _bands(_opponent_colours(q))
    other = _blur(_texture(*b[2:]), metric.MASK_SIGMA)
    ac = float(metric.MASK_ERROR) * (texture - other).square()
    dc = torch.zeros_like(ac)
    low, medium, high, ultra = zip(a, b)
    root = metric.ASYMMETRY**0.5
    for c in range(2):
        for band, (weight, norm), by, lines, scale in (
            (ultra, metric.MALTA_ULTRA[c], root * root, metric.LINES, metric.DENSE_SCALE),
            (high, metric.MALTA_HIGH[c], root, metric.SPARSE_LINES, metric.SPARSE_SCALE),
            (medium, metric.MALTA_MEDIUM[c], 1.0, metric.SPARSE_LINES, metric.SPARSE_SCALE),
        ):
            weights = (weight * by, weight / by)
            ac = ac + _malta(band[0][:, c], band[1][:, c], weights, norm, lines, scale, share)
        ac = ac + _asymmetric(high[0][:, c], high[1][:, c], metric.SQUARES[0][c])
    for c in range(3):
        ac = ac + metric.SQUARES[1][c] * (medium[0][:, c] - medium[1][:, c]).square()
        dc = dc + metric.SQUARES[2][c] * (low[0][:, c] - low[1][:, c]).square()
    return dc * of_dc + ac * of_ac


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (..., H, W) by two matrix products; rows of the matrices sum to one."""
    return _band_matrix(x.shape[-2], sigma, x) @ x @ _band_matrix(x.shape[-1], sigma, x).T


def _band_matrix(side: int, sigma: float, like: Tensor) -> Tensor:
    at = torch.arange(side, device=like.device, dtype=torch.float32)
    distance = (at[:, None] - at).abs()
    reach = max(1, int(metric.KERNEL_REACH * sigma))
    taps = torch.exp(-0.5 * (distance / sigma) ** 2) * (distance <= reach)
    return taps / taps.sum(1, keepdim=True)


def _opponent_colours(linear_rgb: Tensor) -> Tensor:
    """X, Y and B, (B, 3, H, W)."""
    bright = linear_rgb * float(metric.WHITE)
    absorbance = bright.new_tensor(metric.ABSORBANCE)[:, :, None, None]
    offset = bright.new_tensor(metric.OFFSET)
    adapted = F.conv2d(_blur(bright, metric.SIGMA_ADAPTATION), absorbance) + offset
    adapted = torch.maximum(adapted, offset)
    response = torch.log(adapted + metric.GAMMA_BIAS) * metric.GAMMA_SCALE + metric.GAMMA_OFFSET
    gain = (response / adapted).clamp_min(1e-4)
    cones = torch.maximum((F.conv2d(bright, absorbance) + offset) * gain, offset)
    return torch.stack([cones[:, 0] - cones[:, 1], cones[:, 0] + cones[:, 1], cones[:, 2]], 1)


def _bands(xyb: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Low and medium (B, 3, H, W), high and ultra (B, 2, H, W)."""
    low = _blur(xyb, metric.SIGMA_LOW)
    rest = xyb - low
    blue = low[:, 2] + float(metric.BLUE_BY_LUMA) * low[:, 1]
    low = torch.stack([low[:, 0], low[:, 1], blue], 1)
    low = low * xyb.new_tensor(metric.LOW_SCALE)[:, None, None]
    medium = _blur(rest, metric.SIGMA_MEDIUM)
    x, y = rest[:, 0] - medium[:, 0], rest[:, 1] - medium[:, 1]
    medium = torch.stack(
        [_without(medium[:, 0], 0.29), _stressed(medium[:, 1], 0.1), medium[:, 2]], 1
    )
    floor, suppression = float(metric.SUPPRESSION_FLOOR), float(metric.SUPPRESSION)
    x = x * (suppression / (y.square() + suppression) * (1 - floor) + floor)
    high_x, high_y = _blur(torch.stack([x, y], 1), metric.SIGMA_HIGH).unbind(1)
    high_y = _limited(high_y, 28.4691806922)
    ultra = torch.stack(
        [_without(x - high_x, 0.04), _limited(y - high_y, 5.19175294647) * 2.69313763794], 1
    )
    high = torch.stack([_without(high_x, 1.5), _stressed(high_y * 2.155, 0.132)], 1)
    return low, medium, high, ultra


def _without(x: Tensor, width: float) -> Tensor:
    return x - x.clamp(-width, width)


def _stressed(x: Tensor, width: float) -> Tensor:
    return x + x.clamp(-width, width)


def _limited(x: Tensor, limit: float) -> Tensor:
    inside = x.clamp(-limit, limit)
    return inside + (x - inside) * float(metric.CLAMP_SLOPE)


def _sides(a: Tensor, b: Tensor, small: float, big: float) -> tuple[Tensor, Tensor]:
    towards, size = torch.where(a < 0, -b, b), a.abs()
    return (small * size - towards).clamp_min(0), (towards - big * size).clamp_min(0)


def _asymmetric(a: Tensor, b: Tensor, weight: float) -> Tensor:
    below, above = _sides(a, b, 0.4, 1.0)
    both = metric.ASYMMETRY * (a - b).square() + (below + above).square() / metric.ASYMMETRY
    return 0.8 * weight * both


def _malta(
    a: Tensor,
    b: Tensor,
    weights: tuple[float, float],
    norm: float,
    lines: tuple,
    scale: float,
    share: int,
) -> Tensor:
    """Squared sums of differences along lines."""
    by_difference, by_side = (
        scale * (part * weight) ** 0.5 / 8.5 * norm for part, weight in zip((0.5, 0.33), weights)
    )
    below, above = _sides(a, b, 0.55, 1.05)
    one_sided = torch.where(a < 0, above - below, below - above)
    difference = by_difference * (a - b) + by_side * one_sided
    difference = difference / (norm + 0.5 * (a.abs() + b.abs()))
    kernels = _line_kernels(lines, share, a)
    return F.conv2d(difference[:, None], kernels, padding=metric.REACH).square().sum(1)


def _line_kernels(lines: tuple, share: int, like: Tensor) -> Tensor:
    """(n, 1, 9, 9): one of `share` lines each, weighed so that squares add up to those of all."""
    count = len(lines) // share
    chosen = range(len(lines)) if share == 1 else torch.randperm(len(lines))[:count].tolist()
    middle, kernels = metric.REACH, []
    for i in chosen:
        times, offsets = lines[i]
        kernel = torch.zeros(2 * middle + 1, 2 * middle + 1)
        kernel[middle, middle] = 1
        for down, right in offsets:
            kernel[middle + down, middle + right] = kernel[middle - down, middle - right] = 1
        kernels.append(kernel * (times * len(lines) / len(chosen)) ** 0.5)
    return torch.stack(kernels)[:, None].to(like.device)


def _texture(high: Tensor, ultra: Tensor) -> Tensor:
    x, y = (ultra[:, 0] + high[:, 0]) * 2.5, (ultra[:, 1] + high[:, 1]) * 0.4
    bias = metric.MASK_SCALE * metric.MASK_BIAS
    size = (x.square() + y.square() + TINY).sqrt()
    return (metric.MASK_SCALE * size + bias).sqrt() - bias**0.5


def _erode(x: Tensor) -> Tensor:
    """See metrics/butteraugli.py."""
    height, width = x.shape[1:]
    padded = F.pad(x[:, None], (3, 3, 3, 3), value=float("inf"))[:, 0]
    lowest, second, third = x, 2 * x, 2 * x
    for down in (0, 3, 6):
        for right in (0, 3, 6):
            if down == right == 3:
                continue
            v = padded[:, down : down + height, right : right + width]
            rest, lowest = torch.maximum(lowest, v), torch.minimum(lowest, v)
            v, second = torch.maximum(second, rest), torch.minimum(second, rest)
            third = torch.minimum(third, v)
    return 0.45 * lowest + 0.3 * second + 0.25 * third


def _mask(texture: Tensor, scale: float, slope: float, offset: float) -> Tensor:
    return (metric.GLOBAL_SCALE * (1 + scale / (slope * texture + offset))).square()

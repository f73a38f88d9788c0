"""Rounding of residuals and their rate, each as one kernel; the rate's gradients are worked out on
the way."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..symbols.scales import (
    LOG_SCALE_STEP,
    OFFSET_EVERY,
    OFFSETS,
    RAREST,
    SCALE_MAX,
    SCALE_MIN,
)

BLOCK = 512
LEAST_MASS = 1e-9  # of a symbol, as LatentCodec.bits has it


@triton.jit
def _erfc(x):
    """By a Chebyshev polynomial (Press et al., Numerical Recipes), relative error below 1.2e-7: 1 -
    erf would be 0 in the tails, whose bits count."""
    z = tl.abs(x)
    t = 1.0 / (1.0 + 0.5 * z)
    q = -1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))
    q = 0.09678418 + t * (-0.18628806 + t * (0.27886807 + t * q))
    q = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * q))
    r = t * tl.exp(q - z * z)
    return tl.where(x >= 0, r, 2.0 - r)


@triton.jit
def _slope(low, high, s, BOUND: tl.constexpr):
    """Bits of the mass between two magnitudes; their derivatives by the scale, and by both
    magnitudes together."""
    inv = 0.70710678 / s
    p = 0.5 * (_erfc(low * inv) - _erfc(high * inv))
    p = tl.maximum(p, BOUND)
    u, v = low / s, high / s
    a = 0.39894228 * tl.exp(-0.5 * u * u)
    b = 0.39894228 * tl.exp(-0.5 * v * v)
    k = -1.44269504 / (p * s)
    return -tl.log2(p), k * (u * a - v * b), k * (b - a)


@triton.jit
def _rate(
    value, low, high, scale, noise, bits, gv, gs, n,
    MIN: tl.constexpr, MAX: tl.constexpr, BOUND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = i < n
    raw = tl.load(scale + i, live, 1.0)
    s = tl.minimum(tl.maximum(raw, MIN), MAX)
    v = tl.load(value + i, live, 0.0) + tl.load(noise + i, live, 0.5) - 0.5
    seen = tl.abs(v)
    _, _, slope = _slope(seen - 0.5, seen + 0.5, s, BOUND)
    hard, by_scale, _ = _slope(tl.load(low + i, live, -0.5), tl.load(high + i, live, 0.5), s, BOUND)
    passes = ((raw >= MIN) | (by_scale < 0)) & (raw <= MAX)
    tl.store(bits + i, hard, live)
    tl.store(gv + i, tl.where(v < 0, -slope, slope), live)
    tl.store(gs + i, tl.where(passes, by_scale, 0.0), live)


@triton.jit
def _magnitude(size, one, two):
    return size - tl.where(size == 1, one, tl.where(size == 2, two, 0.0))


@triton.jit
def _rounded(
    residual, scale, offsets, points, low, high, n, rounding,
    MIN: tl.constexpr, MAX: tl.constexpr, STEP: tl.constexpr, RAREST: tl.constexpr,
    EVERY: tl.constexpr, ANCHORS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = i < n
    r = tl.load(residual + i, live, 0.0)
    s = tl.minimum(tl.maximum(tl.load(scale + i, live, 1.0), MIN), MAX)
    place = tl.minimum(tl.log(s / MIN) / STEP / EVERY, ANCHORS - 1.0)
    below = tl.minimum(tl.floor(place), ANCHORS - 2.0)
    share = place - below
    k = tl.maximum(below.to(tl.int32), 0)
    one = tl.load(offsets + k) * (1 - share) + tl.load(offsets + k + 1) * share
    two = tl.load(offsets + ANCHORS + k) * (1 - share) + tl.load(offsets + ANCHORS + k + 1) * share
    error = tl.abs(r)
    size = tl.floor(error + 0.5)
    inv = 0.70710678 / s
    e0, e1, e2 = _erfc((size - 1.5) * inv), _erfc((size - 0.5) * inv), _erfc((size + 0.5) * inv)
    closer = tl.maximum((e0 - e1) * 0.5, RAREST)
    own = tl.maximum((e1 - e2) * 0.5, RAREST)
    a = error - _magnitude(size - 1, one, two)
    b = error - _magnitude(size, one, two)
    lower = (size > 0) & (tl.log2(closer / own) > rounding * (a * a - b * b))
    size = tl.where(lower, size - 1, size)
    m = _magnitude(size, one, two)
    m = tl.where(size > 0, m, 0.0)
    tl.store(points + i, tl.where(r < 0, -m, m), live)
    tl.store(low + i, size - 0.5, live)
    tl.store(high + i, size + 0.5, live)


class _Rate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, low, high, scale):
        inputs = [t.detach().float().contiguous() for t in (value, low, high, scale)]
        noise = torch.rand(value.shape, device=value.device)
        bits, by_value, by_scale = (torch.empty_like(inputs[0]) for _ in range(3))
        n = value.numel()
        _rate[(triton.cdiv(n, BLOCK),)](
            *inputs, noise, bits, by_value, by_scale, n,
            MIN=SCALE_MIN, MAX=SCALE_MAX, BOUND=LEAST_MASS, BLOCK=BLOCK,
        )  # fmt: skip
        ctx.save_for_backward(by_value, by_scale)
        return bits.flatten(1).sum(1)

    @staticmethod
    def backward(ctx, g):
        by_value, by_scale = ctx.saved_tensors
        g = g.view(-1, *[1] * (by_value.dim() - 1))
        return by_value * g, None, None, by_scale * g


def rate(value: Tensor, low: Tensor, high: Tensor, scale: Tensor) -> Tensor:
    """LatentCodec.rate while training with rounding, summed over images: float32 (B,).

    All float32 of one shape (B, ...). Its gradients assume that the loss grows with it.
    """
    return _Rate.apply(value, low, high, scale)


@torch.no_grad()
def rounded(
    residual: Tensor, scale: Tensor, rounding: float, offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """scales.symbols_of, and what it chooses stands for: points, and least and largest magnitude of
    the symbols, float32 of the shape of `residual` and `scale`."""
    residual, scale = residual.contiguous(), scale.contiguous()
    points, low, high = (torch.empty_like(residual) for _ in range(3))
    n = residual.numel()
    _rounded[(triton.cdiv(n, BLOCK),)](
        residual, scale, offsets.contiguous(), points, low, high, n, rounding,
        MIN=SCALE_MIN, MAX=SCALE_MAX, STEP=LOG_SCALE_STEP, RAREST=RAREST, EVERY=OFFSET_EVERY,
        ANCHORS=OFFSETS, BLOCK=BLOCK,
    )  # fmt: skip
    return points, low, high

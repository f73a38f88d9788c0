"""The convolutions of the networks on channels-last tensors: depthwise 3x3 as Triton kernels, 1x1
as matrix products.

Both take and keep the parameters of the nn.Conv2d that they stand in for (`stand_in`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor, nn

from ..networks.latent_codec import Linear

ROWS, CHANNELS = 16, 64  # positions and channels of one program
GRADIENT_ROWS = 8  # positions at once, of the weights' gradient
GRADIENT_CHUNKS = 128

# Where values span many quantisation steps, bfloat16 would be noise of its own: these compute in
# TF32.
FINE = (
    "h_a.stem", "g_a.klt", "g_a.head", "g_s.klt", "g_s.stem", "g_s.head",
    "context.0.view", "context.1.view", "context.2.view", "context.3.view",
)  # fmt: skip
FINE_STAGE = "g_s.finish."


@triton.jit
def _depthwise(
    x, weight, bias, out, positions, height, width, channels,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr, FLIP: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    """x, out: (positions, channels); weight: float32 (9, channels). FLIP: taps in reverse, the
    gradient by x."""
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = c < channels
    column, row = p % width, (p // width) % height
    total = tl.zeros((ROWS, CHANNELS), tl.float32)
    for dy in tl.static_range(3):
        for dx in tl.static_range(3):
            y, z = row + dy - 1, column + dx - 1
            inside = (p < positions) & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            q = (p + (dy - 1) * width + dx - 1).to(tl.int64)
            near = tl.load(
                x + q[:, None] * channels + c[None, :], inside[:, None] & there[None, :], 0.0
            )
            tap = 8 - (dy * 3 + dx) if FLIP else dy * 3 + dx
            total += near.to(tl.float32) * tl.load(weight + tap * channels + c, there, 0.0)[None, :]
    if BIAS:
        total += tl.load(bias + c, there, 0.0)[None, :]
    place = p[:, None].to(tl.int64) * channels + c[None, :]
    tl.store(out + place, total, (p < positions)[:, None] & there[None, :])


@triton.jit
def _tap(go, base, offset, mask):
    return go * tl.load(base + offset, mask, 0.0).to(tl.float32)


@triton.jit
def _weight_gradient(
    x, g, out, positions, height, width, channels, chunk_rows,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sums over chunks of positions: out, float32 (chunks, 10, channels), nine taps and the
    bias."""
    chunk = tl.program_id(0)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = (c < channels)[None, :]
    zero = tl.zeros((ROWS, CHANNELS), tl.float32)
    t0, t1, t2, t3, t4, t5, t6, t7, t8, t9 = (
        zero, zero, zero, zero, zero, zero, zero, zero, zero, zero,
    )  # fmt: skip
    for start in range(0, chunk_rows, ROWS):
        p = chunk * chunk_rows + start + tl.arange(0, ROWS)
        live = (p < positions)[:, None] & there
        column, row = p % width, (p // width) % height
        place = p[:, None].to(tl.int64) * channels + c[None, :]
        go = tl.load(g + place, live, 0.0).to(tl.float32)
        up, down = live & (row >= 1)[:, None], live & (row < height - 1)[:, None]
        left, right = (column >= 1)[:, None], (column < width - 1)[:, None]
        line = width * channels
        t0 += _tap(go, x + place, -line - channels, up & left)
        t1 += _tap(go, x + place, -line, up)
        t2 += _tap(go, x + place, -line + channels, up & right)
        t3 += _tap(go, x + place, -channels, live & left)
        t4 += _tap(go, x + place, 0, live)
        t5 += _tap(go, x + place, channels, live & right)
        t6 += _tap(go, x + place, line - channels, down & left)
        t7 += _tap(go, x + place, line, down)
        t8 += _tap(go, x + place, line + channels, down & right)
        t9 += go
    o = out + chunk * 10 * channels + c
    there1 = c < channels
    tl.store(o, tl.sum(t0, 0), there1)
    tl.store(o + channels, tl.sum(t1, 0), there1)
    tl.store(o + 2 * channels, tl.sum(t2, 0), there1)
    tl.store(o + 3 * channels, tl.sum(t3, 0), there1)
    tl.store(o + 4 * channels, tl.sum(t4, 0), there1)
    tl.store(o + 5 * channels, tl.sum(t5, 0), there1)
    tl.store(o + 6 * channels, tl.sum(t6, 0), there1)
    tl.store(o + 7 * channels, tl.sum(t7, 0), there1)
    tl.store(o + 8 * channels, tl.sum(t8, 0), there1)
    tl.store(o + 9 * channels, tl.sum(t9, 0), there1)


def _last(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W, C), a view where x is channels-last."""
    return x.permute(0, 2, 3, 1).contiguous()


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, kind: torch.dtype) -> Tensor:
    """Depthwise, of float or bfloat16 (N, C, H, W); without a bias the taps are taken in
    reverse."""
    rows = _last(x)
    n, h, w, c = rows.shape
    out = torch.empty((n, h, w, c), dtype=kind, device=x.device)
    taps = weight.float().reshape(c, 9).t().contiguous()
    grid = (triton.cdiv(n * h * w, ROWS), triton.cdiv(c, CHANNELS))
    _depthwise[grid](
        rows, taps, taps if bias is None else bias.float(), out, n * h * w, h, w, c,
        ROWS=ROWS, CHANNELS=CHANNELS, FLIP=bias is None, BIAS=bias is not None,
    )  # fmt: skip
    return out.permute(0, 3, 1, 2)


class _Depthwise(torch.autograd.Function):
    """kind: of the result."""

    @staticmethod
    def forward(ctx, x, weight, bias, kind):
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias, kind)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        rows, grown = _last(x), _last(g)
        n, h, w, c = rows.shape
        positions = n * h * w
        size = triton.cdiv(positions, GRADIENT_CHUNKS * GRADIENT_ROWS) * GRADIENT_ROWS
        chunk_rows = max(8 * GRADIENT_ROWS, size)
        chunks = triton.cdiv(positions, chunk_rows)
        part = torch.empty((chunks, 10, c), dtype=torch.float32, device=x.device)
        _weight_gradient[(chunks, triton.cdiv(c, CHANNELS))](
            rows, grown, part, positions, h, w, c, chunk_rows, ROWS=GRADIENT_ROWS, CHANNELS=CHANNELS
        )
        sums = part.sum(0)
        by_weight = sums[:9].t().reshape(weight.shape)
        return _convolve(g, weight, None, x.dtype), by_weight, sums[9], None


class _Product(torch.autograd.Function):
    """x (..., I) times weight (O, I) plus bias in bfloat16. The bias's gradient is a product too: a
    reduction took as long as everything else."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        x16, weight16 = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        ctx.save_for_backward(x16, weight16)
        ctx.kind = x.dtype
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x16, weight16, bias.to(torch.bfloat16))

    @staticmethod
    def backward(ctx, g):
        x16, weight16 = ctx.saved_tensors
        g = g.contiguous().view(-1, g.shape[-1])
        by_x = (g @ weight16).view(x16.shape).to(ctx.kind) if ctx.needs_input_grad[0] else None
        ones = torch.ones((8, len(g)), dtype=torch.bfloat16, device=g.device)
        rows = x16.reshape(-1, x16.shape[-1])
        return by_x, (g.t() @ rows).float(), (ones @ g)[0].float()


class Depthwise(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return _Depthwise.apply(x, self.weight, self.bias, torch.bfloat16)


class FineDepthwise(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return _Depthwise.apply(x, self.weight, self.bias, torch.float32)


class Pointwise(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        y = _Product.apply(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias)
        return y.permute(0, 3, 1, 2)


class FinePointwise(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y = F.linear(x.float().permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias)
        return y.permute(0, 3, 1, 2)


def stand_in(model: nn.Module) -> None:
    """Make the convolutions of a LatentCodec those above; the strided ones of h_a stay what they
    are."""
    for name, module in model.named_modules():
        if type(module) not in (nn.Conv2d, Linear):
            continue
        fine = name in FINE or name.startswith(FINE_STAGE)
        if module.groups > 1:
            module.__class__ = FineDepthwise if fine else Depthwise
        elif module.kernel_size == (1, 1):
            module.__class__ = FinePointwise if fine else Pointwise

"""The torch networks that are trained: transforms, hyper-transforms and the context model.

Names follow the literature: g_a / g_s are the analysis and synthesis transforms, h_a / h_s the
hyper-analysis and hyper-synthesis (Balle et al. 2018), means and scales as in Minnen et al. 2018,
and a four-step spatial-channel context after Li et al. 2023 (DCVC-DC, "quadtree" partition).

Everything that the run time executes as integers (h_s, the context model) is built only from
operations the integer interpreter has: 1x1 and depthwise 3x3 convolutions, leaky ReLU of slope 1/8,
pixel shuffle, addition and rescaling by a row of numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...exact.hyper_latents import ABOVE_AND_LEFT
from ...search.slopes import SCALE_MAX, SCALE_MIN
from ...settings import GAIN_LEVELS
from ..symbols.scales import OFFSETS, magnitude, symbols_of
from ..symbols.steering import Steering
from .bounds import LowerBound, rounded

PRIOR_SLOPE = 0.125  # leaky ReLU of the integer prior: a power of two, so a shift at run time
LAMBDA_MIN, LAMBDA_MAX = 0.0003, 1.0  # from thumbnails to SSIMULACRA 2 of 90 ("visually lossless")
LAMBDA_MIDDLE = (LAMBDA_MIN * LAMBDA_MAX) ** 0.5

# Order in which the four positions of each 2x2 cell take their turns: (0,0), (1,1), (0,1), (1,0).
# A cell is indexed row * 2 + column; in step k the position decodes channel group k XOR turn.
TURN_OF_CELL = (0, 2, 3, 1)
STEPS = 4


@dataclass(frozen=True)
class NetworkConfig:
    """Widths and depths. `width2`, `blocks2` act at half the resolution, in g_s alone, `width8`,
    `blocks8` at 1/8, `width16`, `blocks16` at 1/16."""

    latents: int = 320
    width2: int = 32
    blocks2: int = 0  # none: g_s ends with the sum of its linear path and its network
    width8: int = 96
    blocks8: int = 2
    width16: int = 256
    blocks16: int = 8
    prior_width: int = 128
    prior_blocks: int = 4
    hyper_latents: int = 96
    hyper_context: int = 0  # width of the context model of z_hat; 0: it has none
    anchors: int = 8
    # Hidden widths of the blocks of g_a and g_s, those at 1/8 first; none: twice the width of each.
    hidden_a: tuple[int, ...] = ()
    hidden_s: tuple[int, ...] = ()

    def hidden_widths(self, hidden: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Hidden widths of the blocks at 1/8 and at 1/16, of `hidden_a` or `hidden_s`."""
        usual = (2 * self.width8,) * self.blocks8 + (2 * self.width16,) * self.blocks16
        hidden = hidden or usual
        return hidden[: self.blocks8], hidden[self.blocks8 :]

    @property
    def halo(self) -> int:
        """Cells of the latents' grid that g_a and g_s see beyond a cell: one per 3x3 convolution at
        1/16, half of one at 1/8, an eighth of one at 1/2."""
        return self.blocks16 + -(-self.blocks8 // 2) + -(-self.blocks2 // 8)

    @property
    def margin(self) -> int:
        """Pixels around one that the end of g_s sees: two per 3x3 convolution at half the
        resolution."""
        return 2 * self.blocks2


def lambda_of_index(index: Tensor | float) -> Tensor | float:
    """Lagrangian weight of a gain index in 0..255: log-linear from LAMBDA_MIN to LAMBDA_MAX."""
    return LAMBDA_MIN * (LAMBDA_MAX / LAMBDA_MIN) ** (index / (GAIN_LEVELS - 1))


def lagrangian(lam, distortion, bpp):
    """What training minimises: lambda * 255^2 * D + bpp, D in pixels of range 1. Of floats or
    tensors."""
    return lam * 255.0**2 * distortion + bpp


def loss_weight(lam: Tensor | float, balance: float) -> Tensor | float:
    """How much the loss at a lambda counts beside that at the geometric middle of the lambdas, see
    train.objective."""
    return (lam / LAMBDA_MIDDLE) ** -balance


def initial_gain(index: Tensor) -> Tensor:
    """1 / step for which uniform quantisation minimises lambda * 255^2 * MSE + bpp at high rate.

    D = step^2 / 12 per coefficient of an orthonormal transform and dR/dstep = -3 / (step ln 2)
    bits per pixel give step^2 = 18 / (ln 2 * 255^2 * lambda).
    """
    step2 = 18.0 / (math.log(2.0) * 255.0**2 * lambda_of_index(index))
    return step2**-0.5


class Rows(nn.Module):
    """One value per channel and gain index, piecewise linear between a few learned anchors.

    With `log=True` the anchors hold logarithms and the result is positive.
    """

    def __init__(self, anchors: Tensor, log: bool = True):
        super().__init__()
        self.log = log
        self.anchors = nn.Parameter(anchors.clone())

    def forward(self, index: Tensor) -> Tensor:
        """index: float (B,) in 0..255 -> (B, C, 1, 1) float32."""
        n = self.anchors.shape[0]
        t = index.float() * ((n - 1) / (GAIN_LEVELS - 1))
        knots = torch.arange(n, device=t.device, dtype=t.dtype)
        weights = (1 - (t[:, None] - knots).abs()).clamp(min=0)  # hat functions, rows sum to 1
        # not a matrix product, which autocast would round to bfloat16: a gain wrong by half a per
        # cent
        row = (weights[:, :, None] * self.anchors).sum(1)
        return (row.exp() if self.log else row)[:, :, None, None]


class Linear(nn.Conv2d):
    """A layer of the linear path, which autocast leaves in float32: its values span hundreds of
    quantisation steps, and eight bits of them would be noise that costs 0.7 % of the rate, at high
    rates a tenth of a decibel."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Block(nn.Module):
    """Depthwise 3x3, pointwise expand (x2 unless pruned), leaky ReLU, pointwise back, residual."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.dw = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.up = nn.Conv2d(width, hidden, 1)
        self.down = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.leaky_relu(self.up(self.dw(x)), 0.1))


class Analysis(nn.Module):
    """g_a: image (B, 3, H, W), H and W multiples of 16, range -0.5..0.5 -> latents (B, M, H/16,
    W/16)."""

    def __init__(self, c: NetworkConfig, basis: Tensor, std: Tensor):
        super().__init__()
        hidden8, hidden16 = c.hidden_widths(c.hidden_a)
        self.klt = Linear(3 * 256, c.latents, 1, bias=False)
        self.klt.weight.data.copy_(basis[:, :, None, None])
        self.stem = nn.Conv2d(3 * 64, c.width8, 1)
        self.gain8 = Rows(torch.zeros(c.anchors, c.width8))
        self.blocks8 = nn.Sequential(*[Block(c.width8, n) for n in hidden8])
        self.shrink = nn.Conv2d(4 * c.width8, c.width16, 1)
        self.gain16 = Rows(torch.zeros(c.anchors, c.width16))
        self.blocks16 = nn.Sequential(*[Block(c.width16, n) for n in hidden16])
        self.head = nn.Conv2d(c.width16, c.latents, 1)
        self.head.weight.data.mul_(0.1)
        self.head.bias.data.zero_()
        self.register_buffer("scale", std[None, :, None, None].clone())

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        f = self.stem(F.pixel_unshuffle(x, 8)) * self.gain8(index).to(x.dtype)
        f = self.blocks8(f)
        f = self.shrink(F.pixel_unshuffle(f, 2)) * self.gain16(index).to(x.dtype)
        f = self.head(self.blocks16(f))
        return self.klt(F.pixel_unshuffle(x, 16)) + f * self.scale.to(x.dtype)


class Finish(nn.Module):
    """The end of g_s, at half the resolution: image (B, 3, H, W) -> image. What stands before works
    on blocks of 8x8 and 16x16 pixels, whose sum it alone sees, pixel beside pixel. In float32:
    eight bits of a pixel are a level."""

    def __init__(self, c: NetworkConfig):
        super().__init__()
        self.stem = nn.Conv2d(3 * 4, c.width2, 1)
        self.gain = Rows(torch.full((c.anchors, c.width2), math.log(10.0)))
        self.blocks = nn.Sequential(*[Block(c.width2, 2 * c.width2) for _ in range(c.blocks2)])
        self.head = nn.Conv2d(c.width2, 3 * 4, 1)
        self.head.weight.data.mul_(0.1)
        self.head.bias.data.zero_()
        self.share = Rows(torch.full((c.anchors, 3 * 4), math.log(0.01)))

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            f = self.stem(F.pixel_unshuffle(x, 2)) * self.gain(index)
            f = self.head(self.blocks(f)) * self.share(index)
            return x + F.pixel_shuffle(f, 2)


class Synthesis(nn.Module):
    """g_s: dequantised latents (B, M, h, w) -> image (B, 3, 16 h, 16 w) in about -0.5..0.5."""

    def __init__(self, c: NetworkConfig, basis: Tensor, std: Tensor):
        super().__init__()
        hidden8, hidden16 = c.hidden_widths(c.hidden_s)
        self.klt = Linear(c.latents, 3 * 256, 1, bias=False)
        self.klt.weight.data.copy_(basis.T[:, :, None, None])
        self.register_buffer("scale", 1 / std[None, :, None, None])
        self.stem = nn.Conv2d(c.latents, c.width16, 1)
        self.gain16 = Rows(torch.zeros(c.anchors, c.width16))
        self.blocks16 = nn.Sequential(*[Block(c.width16, n) for n in hidden16])
        self.grow = nn.Conv2d(c.width16, 4 * c.width8, 1)
        self.gain8 = Rows(torch.zeros(c.anchors, c.width8))
        self.blocks8 = nn.Sequential(*[Block(c.width8, n) for n in hidden8])
        self.head = nn.Conv2d(c.width8, 3 * 64, 1)
        self.head.weight.data.mul_(0.1)
        self.head.bias.data.zero_()
        self.finish = Finish(c) if c.blocks2 else None

    def forward(self, y: Tensor, index: Tensor) -> Tensor:
        f = self.stem(y * self.scale.to(y.dtype)) * self.gain16(index).to(y.dtype)
        f = self.blocks16(f)
        f = F.pixel_shuffle(self.grow(f), 2) * self.gain8(index).to(y.dtype)
        f = self.head(self.blocks8(f))
        x = F.pixel_shuffle(self.klt(y), 16) + F.pixel_shuffle(f, 8)
        return x if self.finish is None else self.finish(x, index)


class HyperAnalysis(nn.Module):
    """h_a: scaled latents (B, M, h, w) -> (B, Z, ceil(h/4), ceil(w/4)). asinh tames the range, so
    that one network serves every rate."""

    def __init__(self, c: NetworkConfig):
        super().__init__()
        p = c.prior_width
        self.stem = nn.Conv2d(c.latents, p, 1)
        self.down1 = nn.Conv2d(p, p, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(p, c.hyper_latents, 3, stride=2, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        f = F.leaky_relu(self.stem(torch.asinh(y)), PRIOR_SLOPE)
        return self.down2(F.leaky_relu(self.down1(f), PRIOR_SLOPE))


class HyperSynthesis(nn.Module):
    """h_s: z_hat (B, Z, hz, wz) after its row of gains and biases -> (B, P, 4 hz, 4 wz)."""

    def __init__(self, c: NetworkConfig):
        super().__init__()
        p = c.prior_width
        self.stem = nn.Conv2d(c.hyper_latents, p, 1)
        self.up1 = nn.Conv2d(p, 4 * p, 1)
        self.dw1 = nn.Conv2d(p, p, 3, padding=1, groups=p)
        self.up2 = nn.Conv2d(p, 4 * p, 1)
        self.dw2 = nn.Conv2d(p, p, 3, padding=1, groups=p)
        self.head = nn.Conv2d(p, p, 1)

    def forward(self, z: Tensor) -> Tensor:
        f = F.leaky_relu(self.stem(z), PRIOR_SLOPE)
        f = F.leaky_relu(self.dw1(F.pixel_shuffle(self.up1(f), 2)), PRIOR_SLOPE)
        f = F.leaky_relu(self.dw2(F.pixel_shuffle(self.up2(f), 2)), PRIOR_SLOPE)
        return self.head(f)


class PriorBlock(nn.Module):
    """Pointwise, leaky ReLU, depthwise 3x3, pointwise, residual: light, and exact in integers."""

    def __init__(self, width: int):
        super().__init__()
        self.pw1 = nn.Conv2d(width, width, 1)
        self.dw = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pw2 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pw2(self.dw(F.leaky_relu(self.pw1(x), PRIOR_SLOPE)))


class ContextStep(nn.Module):
    """One of the four steps: h_s features and the view of what is decoded -> P features."""

    def __init__(self, c: NetworkConfig, first: bool):
        super().__init__()
        p = c.prior_width
        self.view = None if first else nn.Conv2d(c.latents, p, 1)
        self.blocks = nn.Sequential(*[PriorBlock(p) for _ in range(c.prior_blocks)])
        # Rows [group][mean, scale][channel of the group]: a position uses its group's rows only.
        self.head = nn.Conv2d(p, 2 * c.latents, 1)
        self.head.weight.data.mul_(0.1)
        self.head.bias.data.zero_()

    def features(self, h: Tensor, view: Tensor | None) -> Tensor:
        f = h if self.view is None else h + self.view(view)
        return self.blocks(F.leaky_relu(f, PRIOR_SLOPE))


class HyperContext(nn.Module):
    """What z_hat above and on the left says of a place: (B, Z, h, w) as h_s takes it -> (B, 2 Z, h,
    w), means in symbols and what the logs of the scales grow by; zeros at first."""

    def __init__(self, c: NetworkConfig):
        super().__init__()
        p, z = c.hyper_context, c.hyper_latents
        self.view = nn.Conv2d(len(ABOVE_AND_LEFT) * z, p, 1)
        self.middle = nn.Conv2d(p, p, 1)
        self.head = nn.Conv2d(p, 2 * z, 1)
        self.head.weight.data.zero_()
        self.head.bias.data.zero_()

    def features(self, z: Tensor) -> Tensor:
        h, w = z.shape[2:]
        padded = F.pad(z, (1, 1, 1, 0))
        near = [padded[:, :, 1 + i : 1 + i + h, 1 + j : 1 + j + w] for i, j in ABOVE_AND_LEFT]
        f = F.leaky_relu(self.view(torch.cat(near, 1)), PRIOR_SLOPE)
        return F.leaky_relu(self.middle(f), PRIOR_SLOPE)

    def forward(self, z: Tensor) -> Tensor:
        return self.head(self.features(z)).float()


def split_cells(x: Tensor) -> Tensor:
    """(B, C, h, w), even h and w -> (B, 4, C, h/2, w/2): the four positions of each 2x2 cell."""
    b, c, h, w = x.shape
    return F.pixel_unshuffle(x, 2).view(b, c, 4, h // 2, w // 2).transpose(1, 2)


def join_cells(x: Tensor) -> Tensor:
    """Inverse of split_cells."""
    b, _, c, h, w = x.shape
    return F.pixel_shuffle(x.transpose(1, 2).reshape(b, 4 * c, h, w), 2)


class LatentCodec(nn.Module):
    """The whole model: transforms, gains and prior.

    basis: (M, 768) float32, rows are the KLT basis in pixel-unshuffle order; std: (M,) standard
    deviation of each coefficient over the training patches, for pixel values in -0.5..0.5.
    """

    groups: Tensor  # (step, cell): which channels have their turn

    def __init__(self, config: NetworkConfig, basis: Tensor, std: Tensor):
        super().__init__()
        c = self.config = config
        self.g_a = Analysis(c, basis, std)
        self.g_s = Synthesis(c, basis, std)
        self.h_a = HyperAnalysis(c)
        self.h_s = HyperSynthesis(c)
        self.context = nn.ModuleList([ContextStep(c, first=k == 0) for k in range(STEPS)])
        self.hyper_context = HyperContext(c) if c.hyper_context else None
        index = torch.linspace(0, GAIN_LEVELS - 1, c.anchors)[:, None]
        log_gain = initial_gain(index).log().expand(-1, c.latents)
        sigma = (log_gain + std.log()).exp()  # of the latents in quantisation steps
        spread = (1 + sigma**2).sqrt()
        self.gain = Rows(log_gain)
        self.inverse_gain = Rows(-log_gain)
        self.view_gain = Rows(-spread.log())
        self.mean_gain = Rows(spread.log())
        self.scale_bias = Rows((spread - 0.9).log() - math.log(SCALE_MIN), log=False)
        zeros = torch.zeros(c.anchors, c.hyper_latents)
        self.z_gain = Rows(zeros)
        self.z_in_gain = Rows(zeros)
        self.z_in_bias = Rows(zeros, log=False)
        self.z_scale = Rows(zeros + math.log(1.0))
        self.offsets = nn.Parameter(torch.zeros(2, OFFSETS))
        self.rounding: float | None = None  # how symbols are chosen, see scales.py
        self.steering: Steering | None = None  # the trellis that chooses those of larger scales
        self.bound_scale = LowerBound(SCALE_MIN)
        self.bound_likelihood = LowerBound(1e-9)
        order = [k ^ TURN_OF_CELL[cell] for k in range(STEPS) for cell in range(4)]
        self.group_of = [order[4 * k : 4 * k + 4] for k in range(STEPS)]  # [step][cell]
        self.register_buffer("groups", torch.tensor(self.group_of), persistent=False)
        # where (cell, group) sits in the (step, cell) stack
        joined = [(g ^ TURN_OF_CELL[cell]) * 4 + cell for cell in range(4) for g in range(4)]
        self.register_buffer("joined", torch.tensor(joined), persistent=False)

    def bits(self, low: Tensor, high: Tensor, scale: Tensor) -> Tensor:
        """-log2 of the mass a zero-mean Gaussian puts between two magnitudes, the lower one
        negative for zero; all float32."""
        inv = 0.5**0.5 / self.bound_scale(scale).clamp(max=SCALE_MAX)
        p = 0.5 * (torch.erfc(low * inv) - torch.erfc(high * inv))
        return -torch.log2(self.bound_likelihood(p))

    def rate(self, value: Tensor, low: Tensor, high: Tensor, scale: Tensor, noisy: bool) -> Tensor:
        """Bits of symbols that stand for the magnitudes from `low` to `high`, `value` being what
        was quantised; all float32. If `noisy`, with gradients fit for training.

        Symbols rounded to the nearest are stood in for by additive uniform noise (Balle et
        al. 2017). It cannot stand in for rate-distortion optimised rounding, whose symbols are
        fewer: there the scale learns from the symbols themselves, and only the value (hence the
        encoder and the mean) from the noise.
        """
        if not noisy:
            return self.bits(low, high, scale)
        seen = (value + torch.rand_like(value) - 0.5).abs()
        if self.rounding is None:
            return self.bits(seen - 0.5, seen + 0.5, scale)
        soft = self.bits(seen - 0.5, seen + 0.5, scale.detach())
        return self.bits(low, high, scale) + (soft - soft.detach())

    def join_steps(self, steps: list[Tensor]) -> Tensor:
        """[(B, cell 4, M/4, h/2, w/2)] of the steps done so far -> (B, M, h, w), zero elsewhere."""
        b, _, m, h, w = steps[0].shape
        missing = [torch.zeros_like(steps[0])] * (STEPS - len(steps))
        stack = torch.cat([*steps, *missing], 1).index_select(1, self.joined)
        return join_cells(stack.view(b, 4, 4 * m, h, w))

    def hyper_bits(self, z: Tensor, z_hat: Tensor, index: Tensor, noisy: bool) -> Tensor:
        """Bits of z_hat, (B,). z: before rounding, float32 (B, Z, hz, wz); z_hat: after."""
        scale = self.z_scale(index).expand_as(z)
        mean = torch.zeros_like(z)
        if self.hyper_context is not None:
            known = z_hat * self.z_in_gain(index) + self.z_in_bias(index)
            mean, growth = self.hyper_context(known).chunk(2, 1)
            scale = scale * growth.clamp(-12, 12).exp()
        size = (z_hat - mean).abs()
        size = size.detach() if noisy else size
        return self.rate(z - mean, size - 0.5, size + 0.5, scale, noisy).sum((1, 2, 3))

    def step_parameters(self, k: int, h: Tensor, view: Tensor | None, index: Tensor):
        """Mean and scale of step k: each (B, cell 4, M/4, h/2, w/2) float32, in quantisation
        steps."""
        out = self.step_head(k, split_cells(self.context[k].features(h, view)))
        quarter = self.config.latents // 4
        groups = self.groups[k]
        mean_gain = self.mean_gain(index).view(-1, 4, quarter, 1, 1).index_select(1, groups)
        scale_bias = self.scale_bias(index).view(-1, 4, quarter, 1, 1).index_select(1, groups)
        mean = out[:, :, 0] * mean_gain
        scale = SCALE_MIN * (out[:, :, 1] + scale_bias).clamp(-12, 12).exp()
        return mean, scale

    def step_head(self, k: int, f: Tensor) -> Tensor:
        """Head of step k on features (B, cell 4, P, h/2, w/2), each cell with the rows of its
        group: float32 (B, cell 4, [mean, scale], M/4, h/2, w/2)."""
        head = self.context[k].head
        b, _, p, hh, ww = f.shape
        quarter, groups = self.config.latents // 4, self.groups[k]
        weight = head.weight.view(4, 2 * quarter, p, 1, 1).index_select(0, groups).flatten(0, 1)
        bias = head.bias.view(4, 2 * quarter).index_select(0, groups).flatten()
        out = F.conv2d(f.reshape(b, 4 * p, hh, ww), weight, bias, groups=4).float()
        return out.view(b, 4, 2, quarter, hh, ww)

    def quantised(
        self, residual: Tensor, scale: Tensor, learn: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What residuals become, and the least and the largest magnitude that their code words
        stand for, all of their shape. learn: follow where small values of the trellis lie."""
        symbols = symbols_of(residual, scale, self.rounding, self.offsets)
        size = symbols.abs()
        points = symbols.sign() * magnitude(size, scale.detach(), self.offsets)
        low, high = size - 0.5, size + 0.5
        if self.steering is not None:
            return self.steering.steer(residual, scale, points, low, high, learn=learn)
        return points, low, high

    def step_bits(
        self, residual: Tensor, low: Tensor, high: Tensor, scale: Tensor, noisy: bool
    ) -> Tensor:
        """`rate`, summed over images: (B,)."""
        return self.rate(residual, low, high, scale, noisy).sum((1, 2, 3, 4))

    def forward(self, x: Tensor, index: Tensor, noisy: bool = True) -> dict[str, Tensor]:
        """x: (B, 3, H, W) in -0.5..0.5 (H, W multiples of 32); index: float (B,) in 0..255.

        Mixed quantisation (Minnen and Singh 2020): the rate sees additive uniform noise (if
        `noisy`, else symbols; see `rate`), g_s and the context see rounded values with
        straight-through gradients. Returns x_hat, y_bits and z_bits, the last two summed per image.
        """
        y = self.g_a(x, index).float() * self.gain(index)
        # float32: the bf16 kernels of 3x3 stride-2 convolutions give NaN gradients on 2x2 inputs
        with torch.autocast(x.device.type, enabled=False):
            z = self.h_a(y) * self.z_gain(index)
        z_hat = rounded(z)
        z_bits = self.hyper_bits(z, z_hat, index, noisy)
        h = self.h_s(z_hat * self.z_in_gain(index) + self.z_in_bias(index))
        h = h[:, :, : y.shape[2], : y.shape[3]]
        view_gain = self.view_gain(index)
        cells = split_cells(y).unflatten(2, (4, -1))
        decoded: list[Tensor] = []
        y_bits = torch.zeros_like(z_bits)
        view = None
        for k in range(STEPS):
            mean, scale = self.step_parameters(k, h, view, index)
            part = torch.stack([cells[:, i, g] for i, g in enumerate(self.group_of[k])], 1)
            residual = part - mean
            points, low, high = self.quantised(residual, scale, learn=noisy)
            y_bits = y_bits + self.step_bits(residual, low, high, scale, noisy)
            decoded.append(residual + (points - residual.detach()) + mean)
            y_hat = self.join_steps(decoded)
            view = y_hat * view_gain
        x_hat = self.g_s(y_hat * self.inverse_gain(index), index).float()
        return {"x_hat": x_hat, "y_bits": y_bits, "z_bits": z_bits}

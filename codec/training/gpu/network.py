"""LatentCodec for training on a GPU: the same weights and loss, with what is slow there done otherwise."""

from __future__ import annotations

import torch
from compressai.ops import quantize_ste
from torch import Tensor

from ..networks import SCALE_MIN, STEPS, LatentCodec, split_cells
from ..scales import level_of
from .convolutions import stand_in
from .residuals import rate, rounded
from .trellis import GpuTrellis


class GpuCodec(LatentCodec):
    """A LatentCodec that `for_gpu` has turned. Its forward is for training only: with noise, rounding and trellis."""

    trellis: GpuTrellis
    worth: float  # of a squared error along the trellis, in bits
    watching = False  # whether to follow where small values of the trellis lie

    def step_parameters(self, k: int, h: Tensor, view: Tensor | None, index: Tensor):
        """As LatentCodec's; a batched product, in TF32, in place of the grouped convolution."""
        step = self.context[k]
        f = split_cells(step.features(h, view).float())
        b, _, p, hh, ww = f.shape
        quarter = self.config.latents // 4
        groups = self.groups[k]
        weight = step.head.weight.view(4, 2 * quarter, p).index_select(0, groups)
        bias = step.head.bias.view(4, 2 * quarter).index_select(0, groups)
        rows = f.permute(1, 0, 3, 4, 2).reshape(4, b * hh * ww, p)
        with torch.autocast(f.device.type, enabled=False):
            out = torch.baddbmm(bias[:, None], rows, weight.transpose(1, 2))
        out = out.view(4, b, hh, ww, 2, quarter).permute(1, 0, 4, 5, 2, 3)
        mean_gain = self.mean_gain(index).view(-1, 4, quarter, 1, 1).index_select(1, groups)
        scale_bias = self.scale_bias(index).view(-1, 4, quarter, 1, 1).index_select(1, groups)
        mean = out[:, :, 0] * mean_gain
        return mean, SCALE_MIN * (out[:, :, 1] + scale_bias).clamp(-12, 12).exp()

    @torch.no_grad()
    def steer(
        self, residual: Tensor, scale: Tensor, points: Tensor, low: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As Steering.steer, on the device."""
        exact = residual.reshape(-1).contiguous()
        index = level_of(scale).round().to(torch.uint8).reshape(-1).contiguous()
        size, shifted = self.trellis.choose(exact, index, self.worth)
        if self.watching:
            self.trellis.watch(exact, index, size, shifted)
        part = index >= self.trellis.first
        point = self.trellis.points(size, index, shifted) * exact.sign()
        half = self.trellis.half_step
        # zero is a point of both quantisers: its neighbours are nearer under the shifted one
        middle = (shifted == 1) & (size == 0)
        least = (2 * size - 1 - shifted) * half
        least = torch.where((shifted == 1) & (size == 1), half / 2, least)
        least = torch.where(middle, -half / 2, least)
        most = torch.where(middle, half / 2, (2 * size + 1 - shifted) * half)

        def chosen(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(part, new, old.reshape(-1)).view(residual.shape)

        return chosen(point, points), chosen(least, low), chosen(most, high)

    def forward(self, x: Tensor, index: Tensor, noisy: bool = True) -> dict[str, Tensor]:
        y = self.g_a(x, index).float() * self.gain(index)
        with torch.autocast(x.device.type, enabled=False):
            z = self.h_a(y) * self.z_gain(index)
        z_hat = quantize_ste(z)
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
            found = residual.detach(), scale.detach()
            points, low, high = rounded(*found, self.rounding, self.offsets.detach())
            points, low, high = self.steer(*found, points, low, high)
            y_bits = y_bits + rate(residual, low, high, scale)
            decoded.append(residual + (points - residual.detach()) + mean)
            y_hat = self.join_steps(decoded)
            view = (y_hat * view_gain).contiguous(memory_format=torch.channels_last)
        x_hat = self.g_s(y_hat * self.inverse_gain(index), index).float()
        return {"x_hat": x_hat, "y_bits": y_bits, "z_bits": z_bits}


def for_gpu(model: LatentCodec, trellis: GpuTrellis, rounding: float, worth: float) -> GpuCodec:
    """Turn a model, already on the device of the trellis, into a GpuCodec, in place."""
    stand_in(model)
    model.__class__ = GpuCodec
    assert isinstance(model, GpuCodec)
    model.rounding, model.worth, model.trellis = rounding, worth, trellis
    return model

"""LatentCodec for training on a GPU: the same weights and loss, with what is slow there done
otherwise."""

from __future__ import annotations

import torch
from torch import Tensor

from ..networks.latent_codec import LatentCodec
from ..symbols.scales import level_of
from .convolutions import stand_in
from .residuals import rate, rounded
from .trellis import GpuTrellis


class GpuCodec(LatentCodec):
    """A LatentCodec that `for_gpu` has turned. Its forward is for training only: with noise,
    rounding and trellis."""

    trellis: GpuTrellis
    worth: float  # of a squared error along the trellis, in bits
    watching = False  # whether to follow where small values of the trellis lie

    def step_parameters(self, k: int, h: Tensor, view: Tensor | None, index: Tensor):
        if view is not None:
            view = view.contiguous(memory_format=torch.channels_last)
        return super().step_parameters(k, h, view, index)

    def step_head(self, k: int, f: Tensor) -> Tensor:
        """As LatentCodec's; a batched product, in TF32, in place of the grouped convolution."""
        head = self.context[k].head
        b, _, p, hh, ww = f.shape
        quarter, groups = self.config.latents // 4, self.groups[k]
        weight = head.weight.view(4, 2 * quarter, p).index_select(0, groups)
        bias = head.bias.view(4, 2 * quarter).index_select(0, groups)
        rows = f.float().permute(1, 0, 3, 4, 2).reshape(4, b * hh * ww, p)
        with torch.autocast(f.device.type, enabled=False):
            out = torch.baddbmm(bias[:, None], rows, weight.transpose(1, 2))
        return out.view(4, b, hh, ww, 2, quarter).permute(1, 0, 4, 5, 2, 3)

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

    def quantised(
        self, residual: Tensor, scale: Tensor, learn: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = residual.detach(), scale.detach()
        return self.steer(*found, *rounded(*found, self.rounding, self.offsets.detach()))

    def step_bits(
        self, residual: Tensor, low: Tensor, high: Tensor, scale: Tensor, noisy: bool
    ) -> Tensor:
        return rate(residual, low, high, scale)


def for_gpu(model: LatentCodec, trellis: GpuTrellis, rounding: float, worth: float) -> GpuCodec:
    """Turn a model, already on the device of the trellis, into a GpuCodec, in place."""
    stand_in(model)
    model.__class__ = GpuCodec
    assert isinstance(model, GpuCodec)
    model.rounding, model.worth, model.trellis = rounding, worth, trellis
    return model

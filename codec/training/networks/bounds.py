"""Rounding, a lower bound and a density, with the gradients that training wants. The tests hold
each to CompressAI's, which the field compares with."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = (3, 3, 3, 3)  # widths between a value and its cumulative probability


def rounded(x: Tensor) -> Tensor:
    """The nearest integers (halves to even), with the gradient of x itself (Theis et al. 2017)."""
    return (x.round() - x).detach() + x


class _AtLeast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: Tensor) -> Tensor:
        ctx.save_for_backward(x, bound)
        return torch.max(x, bound)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, bound = ctx.saved_tensors
        return gradient * ((x >= bound) | (gradient < 0)), None


class LowerBound(nn.Module):
    """max(x, bound). What lies below has a gradient where that would raise it, else none."""

    bound: Tensor

    def __init__(self, bound: float):
        super().__init__()
        self.register_buffer("bound", torch.tensor([float(bound)]))

    def forward(self, x: Tensor) -> Tensor:
        return _AtLeast.apply(x, self.bound)


class FactorizedDensity(nn.Module):
    """A density of each channel by itself, of any shape: its cumulative is a small network whose
    matrices are positive, so it only rises (Balle et al. 2018, appendix 6.1).

    scale: how many units wide it is before training.
    """

    def __init__(self, channels: int, scale: float):
        super().__init__()
        widths = (1, *HIDDEN, 1)
        layers = len(widths) - 1
        self.matrices, self.biases, self.factors = (nn.ParameterList() for _ in range(3))
        for i in range(layers):
            start = math.log(math.expm1(scale ** (-1 / layers) / widths[i + 1]))
            self.matrices.append(torch.full((channels, widths[i + 1], widths[i]), start))
            self.biases.append(torch.empty(channels, widths[i + 1], 1).uniform_(-0.5, 0.5))
            if i < layers - 1:
                self.factors.append(torch.zeros(channels, widths[i + 1], 1))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        """Checkpoints of before hold what another class had beside these."""
        own = ("matrices.", "biases.", "factors.")
        for name in [n for n in state if n.startswith(prefix)]:
            if not name[len(prefix) :].startswith(own):
                del state[name]
        super()._load_from_state_dict(state, prefix, *others)

    def cumulative(self, x: Tensor) -> Tensor:
        """The logit of the probability of being below x. x: (C, 1, N)."""
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases)):
            x = F.softplus(matrix) @ x + bias
            if i < len(self.factors):
                x = x + torch.tanh(self.factors[i]) * torch.tanh(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The mass of x - 1/2 .. x + 1/2. x: (C, 1, N)."""
        low, high = self.cumulative(x - 0.5), self.cumulative(x + 0.5)
        # on the side where neither probability is close to 1, which would leave no digits
        side = -torch.sign(low + high).detach()
        return (torch.sigmoid(side * high) - torch.sigmoid(side * low)).abs()

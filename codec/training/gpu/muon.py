"""Muon (Jordan et al. 2024) with the updates of AdamW's size, for CUDA graphs: every parameter lies
in one buffer, matrices of one shape side by side, and nothing is read back.

The same steps as `--optimiser muon`: momentum whose matrices are orthogonalised by five
Newton-Schulz iterations; Adam for vectors, depthwise weights and the linear path.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..optimisers import KLT_LR, named_groups

MOMENTUM = 0.95
BETAS = (0.9, 0.95)
EPSILON = 1e-10
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
RMS = 0.2  # of an update at a rate of 1, as Adam's are


def orthogonal(g: Tensor) -> Tensor:
    """About the nearest orthogonal matrices, float32 of g's shape (n, rows, columns)."""
    a, b, c = COEFFICIENTS
    tall = g.shape[1] > g.shape[2]
    x = (g.mT if tall else g).bfloat16()
    x = x / x.float().norm(dim=(1, 2), keepdim=True).clamp(min=1e-7).bfloat16()
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


class FlatMuon:
    """Optimiser of a LatentCodec, whose parameters become views of `data`; with the average of the
    weights, `average`.

    lr, keep: tensors, what the next steps take as learning rate and as share of the average that
    stays.
    """

    def __init__(self, model: torch.nn.Module, clip: float):
        groups = named_groups(model)
        skipped = id(model.offsets)  # the trellis has points of its own: no gradient reaches these
        shapes: dict[tuple[int, int], list] = {}
        adam = []
        for p in groups["matrices"]:
            if id(p) == skipped:
                continue
            if p[0].numel() > 9:
                shapes.setdefault((p.shape[0], p[0].numel()), []).append(p)
            else:
                adam.append(p)
        slow = groups["klt"]
        adam += groups["rows"]
        self.parameters = [p for ps in shapes.values() for p in ps] + slow + adam
        device = self.parameters[0].device
        self.data = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        at = 0
        for p in self.parameters:
            p.data = self.data[at : at + p.numel()].view(p.shape)
            at += p.numel()
        self.stacks, at = [], 0
        for (rows, columns), ps in shapes.items():
            n = len(ps) * rows * columns
            self.stacks.append((slice(at, at + n), (len(ps), rows, columns)))
            at += n
        self.matrices = at
        rest = len(self.data) - at
        self.momentum = torch.zeros(at, device=device)
        self.first, self.second = (torch.zeros(rest, device=device) for _ in range(2))
        self.scale = torch.ones(rest, device=device)
        self.scale[: sum(p.numel() for p in slow)] = KLT_LR
        self.betas = torch.tensor(BETAS, device=device)
        self.power = torch.ones(2, device=device)
        self.average = self.data.clone()
        self.lr, self.keep = torch.zeros((), device=device), torch.zeros((), device=device)
        self.clip = clip

    @torch.no_grad()
    def step(self) -> tuple[Tensor, Tensor]:
        """Take a step by the gradients that the parameters have. Returns their norm, and 1 where
        they were finite; where not, momenta and average go on alone."""
        grad = torch.cat([p.grad.reshape(-1).float() for p in self.parameters])
        norm = grad.norm()
        finite = torch.isfinite(norm)
        grad = torch.where(finite, grad * (self.clip / norm.clamp(min=self.clip)), 0.0)
        matrices, rest = grad[: self.matrices], grad[self.matrices :]
        self.momentum.lerp_(matrices, 1 - MOMENTUM)
        ahead = matrices.lerp(self.momentum, MOMENTUM)
        for part, shape in self.stacks:
            update = orthogonal(ahead[part].view(shape)) * (RMS * max(shape[1:]) ** 0.5)
            self.data[part].view(shape).sub_(update * self.lr)
        self.first.lerp_(rest, 1 - BETAS[0])
        self.second.lerp_(rest * rest, 1 - BETAS[1])
        self.power.mul_(self.betas)
        unbiased = 1 - self.power
        update = self.first / unbiased[0] / ((self.second / unbiased[1]).sqrt() + EPSILON)
        self.data[self.matrices :].sub_(update * self.scale * self.lr)
        self.average.lerp_(self.data, 1 - self.keep)
        return norm, finite.float()

    def forget(self, data: Tensor) -> None:
        """Begin anew from these weights."""
        self.data.copy_(data)
        self.average.copy_(data)
        for t in (self.momentum, self.first, self.second):
            t.zero_()
        self.power.fill_(1)

    def state_dict(self, model: torch.nn.Module, data: Tensor) -> dict[str, Tensor]:
        """The model's state with the weights of `data` (self.data, self.average), on the CPU."""
        at, values = 0, {}
        for p in self.parameters:
            values[id(p)] = data[at : at + p.numel()].view(p.shape).cpu().clone()
            at += p.numel()
        state = {name: t.detach().cpu().clone() for name, t in model.state_dict().items()}
        names = {id(p): name for name, p in model.named_parameters()}
        return state | {names[key]: value for key, value in values.items()}

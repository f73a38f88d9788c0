"""Optimisers by name, with the parameter groups the model wants."""

from __future__ import annotations

import torch

from .networks import LatentCodec, Rows

KLT_LR = 0.1  # the linear path starts near its optimum: full steps would only add noise to it


def parameter_groups(model: LatentCodec, lr: float) -> list[dict]:
    """Matrices, the KLT, and rows of gains (and biases with them), each with its learning rate."""
    rows = {id(p) for m in model.modules() if isinstance(m, Rows) for p in m.parameters()}
    klt = {id(model.g_a.klt.weight), id(model.g_s.klt.weight)}
    groups: dict[str, list] = {"matrices": [], "klt": [], "rows": []}
    for p in model.parameters():
        name = "klt" if id(p) in klt else "rows" if id(p) in rows or p.dim() == 1 else "matrices"
        groups[name].append(p)
    scale = {"matrices": 1.0, "klt": KLT_LR, "rows": 1.0}
    return [
        {"params": ps, "lr": lr * scale[name], "scale": scale[name], "name": name}
        for name, ps in groups.items()
    ]


def make_optimiser(
    model: LatentCodec, name: str, lr: float, frequency: int = 10
) -> torch.optim.Optimizer:
    """`soap` (Vyas et al. 2024: Adam in Shampoo's eigenbasis) or `adamw`."""
    groups = parameter_groups(model, lr)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    if name != "soap":
        raise ValueError(f"unknown optimiser {name!r}: choose soap or adamw")
    from pytorch_optimizer import SOAP

    for group in groups:
        # Rows keep a small preconditioner (anchors only); the widest sides of matrices keep none:
        # half the time of a step. Merging dimensions of size 1 saves work, but the library's merge
        # fails on a weight small enough to become one vector: tiny models go without.
        limit = 64 if group["name"] == "rows" else 256
        group["max_precondition_dim"] = limit
        group["merge_dims"] = min(p.numel() for p in group["params"]) > limit
    return SOAP(
        groups,
        lr=lr,
        betas=(0.95, 0.95),
        weight_decay=0.0,
        precondition_frequency=frequency,
    )


def schedule(step: int, steps: int, warmup: int, decay: float) -> float:
    """Factor on the learning rate: linear warm-up, constant, then linear decay to 1 % over the last
    `decay` share of the steps. A run is extended by resuming it with more steps."""
    start = steps * (1 - decay)
    if step < warmup:
        return (step + 1) / warmup
    if step <= start:
        return 1.0
    return max(0.01, (steps - step) / max(1.0, steps - start))

"""Optimisers by name, with the parameter groups a model wants, and learning-rate schedules."""

from __future__ import annotations

import math

import torch
from torch import nn

from .config import TrainConfig
from .networks.cae import ConvAutoencoder
from .networks.latent_codec import LatentCodec, Rows

KLT_LR = 0.1  # the linear path starts near its optimum: full steps would only add noise to it
PRIOR_LR = (
    10.0  # the cae's prior has to follow latents that grow: at the rate of the rest it lags behind
)


def named_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of a model that learn: `matrices`, which alone are regularised; `klt`, the
    linear path; `prior`, the factorized prior of the cae and its gains; `rows` of gains, and
    biases."""
    rows = {id(p) for m in model.modules() if isinstance(m, Rows) for p in m.parameters()}
    klt, prior = set(), set()
    if isinstance(model, LatentCodec):
        klt = {id(model.g_a.klt.weight), id(model.g_s.klt.weight)}
    if isinstance(model, ConvAutoencoder):
        prior = {id(p) for p in (model.log_gain, *model.prior.parameters())}
    groups: dict[str, list] = {"matrices": [], "klt": [], "prior": [], "rows": []}
    for p in model.parameters():
        if not p.requires_grad:
            continue
        name = (
            "klt" if id(p) in klt
            else "prior" if id(p) in prior
            else "rows" if id(p) in rows or p.dim() == 1
            else "matrices"
        )  # fmt: skip
        groups[name].append(p)
    return {name: ps for name, ps in groups.items() if ps}


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict]:
    """The groups with their learning rates and weight decay."""
    scale = {"klt": KLT_LR, "prior": 1.0 if config.optimiser == "sgd" else PRIOR_LR}
    return [
        {
            "params": ps,
            "lr": config.lr * scale.get(name, 1.0),
            "scale": scale.get(name, 1.0),
            "name": name,
            "weight_decay": config.l2 if name == "matrices" else 0.0,
        }
        for name, ps in named_groups(model).items()
    ]


def make_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """`sgd` with momentum, `adam`, `adamw`, `soap` (Vyas et al. 2024: Adam in Shampoo's
    eigenbasis), or `muon` (Jordan et al. 2024: momentum whose matrices are orthogonalised), its
    updates scaled to the size of AdamW's, with AdamW for vectors, depthwise weights and the linear
    path.

    L2 regularisation is the classical penalty in sgd and adam, decoupled decay in adamw and soap.
    """
    groups = parameter_groups(model, config)
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    if config.optimiser == "adam":
        return torch.optim.Adam(groups, lr=config.lr)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99))
    from pytorch_optimizer import SOAP, Muon

    if config.optimiser == "muon":
        return Muon(_muon_groups(groups), use_adjusted_lr=True)
    for group in groups:
        # Rows keep a small preconditioner (anchors only); the widest sides of matrices keep none,
        # which took half the time of a step. Merging dimensions of size 1 saves work, but the
        # library's merge fails on a weight small enough to become one vector: tiny models go
        # without.
        limit = 64 if group["name"] == "rows" else config.precondition_limit
        group["max_precondition_dim"] = limit
        group["merge_dims"] = min(p.numel() for p in group["params"]) > limit
    return SOAP(
        groups, lr=config.lr, betas=(0.95, 0.95), precondition_frequency=config.precondition_every
    )


def _muon_groups(groups: list[dict]) -> list[dict]:
    """The groups, each with `use_muon`; depthwise weights become a group of their own."""
    out = []
    for group in groups:
        parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for p in group["params"]:
            parts[group["name"] == "matrices" and p[0].numel() > 9].append(p)
        for use_muon, ps in parts.items():
            if ps:
                out.append(group | {"params": ps, "use_muon": use_muon})
    return out


def load_state(optimiser: torch.optim.Optimizer, model: nn.Module, state: dict) -> None:
    """Load the optimiser's part of a checkpoint, also one from before the cae's prior was a group
    of its own: its states are then in the order of all matrices and all vectors."""
    if len(state["param_groups"]) == len(optimiser.param_groups):
        optimiser.load_state_dict(state)
        return
    parameters = list(model.parameters())
    old = [p for p in parameters if p.dim() > 1] + [p for p in parameters if p.dim() == 1]
    place = {id(p): i for i, p in enumerate(old)}
    order = [p for group in optimiser.param_groups for p in group["params"]]
    regrouped = optimiser.state_dict()
    regrouped["state"] = {
        i: state["state"][place[id(p)]]
        for i, p in enumerate(order)
        if place[id(p)] in state["state"]
    }
    for group in regrouped["param_groups"]:
        if "merge_dims" in group:  # the shapes of soap's states
            group["merge_dims"] = state["param_groups"][0]["merge_dims"]
    optimiser.load_state_dict(regrouped)


def schedule(config: TrainConfig, step: int) -> float:
    """Factor on the learning rate after a linear warm-up: `constant`; `decay`, constant and then
    linear to 1 % over the last `decay` share of the steps (a run is extended by resuming it with
    more steps); or `cosine`, half a cosine over all steps."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return max(0.01, 0.5 + 0.5 * math.cos(math.pi * step / config.steps))
    start = config.steps * (1 - config.decay)
    if step <= start:
        return 1.0
    return max(0.01, (config.steps - step) / max(1.0, config.steps - start))

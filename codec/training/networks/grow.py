"""A deeper network that computes what a trained one computes, to go on training from.

New blocks, and a new context of z_hat, end in a layer of zeros, so that at the start they add
nothing (as in Net2Net, Chen et al. 2016, and Fixup, Zhang et al. 2019).
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import torch

from ..tasks import empty_codec
from .cae import CaeConfig, ConvAutoencoder
from .latent_codec import LAMBDA_MAX, LAMBDA_MIN, LatentCodec, NetworkConfig, Rows

LAMBDAS = (LAMBDA_MIN, LAMBDA_MAX)
DEPTHS = ("blocks2", "blocks8", "blocks16", "prior_blocks")
LAST_LAYERS = (".down.", ".pw2.", ".finish.head.")  # of a Block, a PriorBlock, the end of g_s


def can_grow(old: NetworkConfig | CaeConfig, new: NetworkConfig | CaeConfig) -> bool:
    """Whether `new` is `old` with more blocks, of the usual hidden widths, or a context of z_hat,
    and nothing else; never of a cae."""
    if not isinstance(old, NetworkConfig) or not isinstance(new, NetworkConfig):
        return False
    a, b = asdict(old), asdict(new)
    deeper = all(b[name] >= a[name] for name in DEPTHS)
    context = old.hyper_context in (0, new.hyper_context)
    usual = not old.hidden_a and not old.hidden_s
    same = all(b[k] == a[k] for k in a if k not in (*DEPTHS, "hyper_context"))
    return old != new and deeper and context and usual and same


def grown(model: LatentCodec | ConvAutoencoder, config: NetworkConfig | CaeConfig) -> LatentCodec:
    """A model of a deeper configuration with the weights of `model`, and its output. Raises
    ValueError where `can_grow` is False."""
    if not can_grow(model.config, config):
        raise ValueError("a network grows by more blocks, or a context of z_hat, only")
    assert isinstance(config, NetworkConfig)
    old = model.state_dict()
    made = empty_codec(config, old)
    state = made.state_dict()
    for name, tensor in state.items():
        if name in old:
            state[name] = old[name]
        elif any(part in name for part in LAST_LAYERS):
            state[name] = torch.zeros_like(tensor)
    made.load_state_dict(state)
    return made


def deepened(model: LatentCodec, depths: dict[str, int]) -> LatentCodec:
    """`grown` to some depths by name (`blocks16`, ...), where those are not the model's. Raises
    ValueError as `grown`."""
    config = replace(model.config, **depths)  # type: ignore[arg-type]
    return model if config == model.config else grown(model, config)


def stretched(model: LatentCodec, lambdas: tuple[float, float]) -> LatentCodec:
    """The same model, its rows of gains moved, in place, from gain indexes over other lambdas to
    those over LAMBDA_MIN to LAMBDA_MAX; beyond the ends they go on as straight lines.

    lambdas: the least and the most that the model was trained for.
    """
    least, most = lambdas
    if (least, most) == (LAMBDA_MIN, LAMBDA_MAX):
        return model
    for rows in (m for m in model.modules() if isinstance(m, Rows)):
        n = rows.anchors.shape[0]
        span = math.log(LAMBDA_MAX / LAMBDA_MIN) / math.log(most / least)
        start = math.log(LAMBDA_MIN / least) / math.log(most / least)
        place = (start + span * torch.linspace(0, 1, n)) * (n - 1)
        below = place.floor().clamp(0, n - 2).long()
        share = (place - below)[:, None]
        old = rows.anchors.data
        rows.anchors.data = old[below] + share * (old[below + 1] - old[below])
    return model

"""Structured pruning: blocks of g_a and g_s lose hidden channels, and stay dense.

Which channels, and what the rest have to become, follows from the optimal brain surgeon (Hassibi
and Stork 1993) applied to a layer's output, as in ZipLM (Kurtic et al. 2023): a channel costs what
remains of its contribution after the kept channels have taken over what they can, by least squares.
How much an error at a block's output matters is told by the squared gradient of the training loss
there (diagonal Fisher information, as in Molchanov et al. 2019), so that channels of different
blocks compare.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ...models.bundle import Bundle
from ..checkpoints import load_checkpoint
from ..config import TrainConfig
from ..losses import distortion
from ..networks.latent_codec import Block, LatentCodec
from ..tasks import PhotographTask, make_task, model_from_state, network_from_dict
from ..train import objective, train
from .export import restore_model
from .graphs import hyper_analysis_graph, transform_graphs
from .margins import visible_halo
from .slim import refuse_cae, write_like

GROUP = 8  # channels are removed so many at a time, which vector units like
RIDGE = 1e-3  # of the mean variance, added to all: crops are few
BATCHES, CROPS = 12, 4  # crops that tell what channels do


def tuning_config(steps: int, lr: float, batch: int, threads: int, device: str) -> TrainConfig:
    """Settings of the training after pruning: short, so that the averages must be short too."""
    return TrainConfig(
        steps=steps, lr=lr, batch=batch, threads=threads, device=device, freeze_prior=True,
        warmup=min(100, steps // 10), decay=0.5, ema=0.99, validate_every=max(steps, 1000),
    )  # fmt: skip


@dataclass
class Moments:
    """What a block's hidden channels did on some crops.

    mean: float64 (H,); covariance: float64 (H, H); weight: float64 (C,), of a squared error at each
    output.
    """

    mean: np.ndarray
    covariance: np.ndarray
    weight: np.ndarray


def prune_bundle(
    bundle: Bundle,
    out: Path,
    keep: float,
    name: str,
    folder: Path,
    tuning: TrainConfig | None = None,
    run: Path | None = None,
    threads: int = 2,
    log=print,
) -> dict:
    """Write a copy of a bundle whose g_a and g_s keep a share of their blocks' work; return its
    manifest.

    folder: photographs, to see what channels do; some dozens will do. tuning: settings of training
    afterwards, which have to freeze the prior. run: folder for checkpoint and logs of that.
    Raises UnsupportedError for the cae, ValueError for settings that cannot work.
    """
    refuse_cae(bundle)
    model = restore_model(bundle)
    assert isinstance(model, LatentCodec)
    torch.set_num_threads(threads)
    task = make_task(TrainConfig(batch=CROPS), folder)
    assert isinstance(task, PhotographTask)
    log(f"looking at what channels do on {CROPS * BATCHES} crops of photographs")
    pruned = prune(model, moments_of_crops(model, task), keep)
    del task
    change: dict = {"kept": keep}
    if tuning is not None:
        with tempfile.TemporaryDirectory() as temporary:
            place = run or Path(temporary)
            tuned = train(folder, place, pruned.config, tuning, init=pruned, log=log)
            pruned = cast(LatentCodec, tuned)
            state = load_checkpoint(place / "last.pt")
        change |= {"tuned_pixels": state["pixels"], "tuned_steps": state["step"]}
    return write_transforms(bundle, out, pruned, name, change)


def export_transforms(checkpoint: Path, bundle: Bundle, out: Path, name: str) -> dict:
    """Write the averaged g_a and g_s of a checkpoint with all else of a bundle; return the
    manifest.

    Raises ValueError where the checkpoint's prior or gains are not those of the bundle.
    """
    refuse_cae(bundle)
    state = load_checkpoint(checkpoint)
    if state.get("arch", "aei") != "aei":
        raise ValueError(f"{checkpoint} holds a network of --arch {state['arch']}")
    model = model_from_state(network_from_dict("aei", state["network"]), state["ema"])
    assert isinstance(model, LatentCodec)
    change = {"tuned_pixels": state["pixels"], "tuned_steps": state["step"]}
    return write_transforms(bundle, out, model, name, change)


def write_transforms(
    bundle: Bundle, out: Path, model: LatentCodec, name: str, change: dict
) -> dict:
    """Write a bundle with the g_a and g_s of a model, and all else of another bundle; return its
    manifest.

    Raises ValueError where the model's prior or gains are not those of the bundle.
    """
    model = model.cpu().float()
    state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    same_prior(bundle, model)
    # Other weights see further, or less far. Their integers need photographs: add_synthesis.py,
    # add_analysis.py.
    facts = {
        "halo": visible_halo(model.eval(), []), "margin": model.config.margin, "synthesis": None,
        "analysis": None,
    }  # fmt: skip
    graphs = transform_graphs(state) | {"h_a": hyper_analysis_graph(state)}
    return write_like(bundle, out, graphs, name, change, network=asdict(model.config), **facts)


def same_prior(bundle: Bundle, model: LatentCodec) -> None:
    """Raise ValueError unless a model has the prior, h_a and gains of a bundle."""
    own = restore_model(bundle).state_dict()
    for key, value in model.state_dict().items():
        transform = key.startswith(("g_a.", "g_s.")) and not key.endswith(".anchors")
        if not transform and (key not in own or not torch.equal(own[key], value)):
            raise ValueError(
                f"{key} differs from that of {bundle.path}: train with --init-from that bundle "
                "and --freeze-prior"
            )


def transform_blocks(model: LatentCodec) -> dict[str, Block]:
    """The blocks of g_a and g_s by name, but for those at half the resolution, which are narrow as
    it is."""
    blocks = {name: m for name, m in model.named_modules() if isinstance(m, Block)}
    return {name: block for name, block in blocks.items() if ".finish." not in name}


def moments_of_crops(model: LatentCodec, task: PhotographTask) -> dict[str, Moments]:
    """The moments of every block over BATCHES batches of a task."""
    blocks = transform_blocks(model)
    seen: dict[
        str, tuple[Tensor, Tensor]
    ] = {}  # of the current batch: hidden channels, block's output

    def watch(key: str):
        def hook(_module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output.retain_grad()
            seen[key] = inputs[0].detach(), output

        return hook

    handles = [block.down.register_forward_hook(watch(key)) for key, block in blocks.items()]
    mean: dict[str, np.ndarray] = {}
    second: dict[str, np.ndarray] = {}
    weight: dict[str, np.ndarray] = {}
    measure = distortion(task.config.loss)
    torch.manual_seed(task.config.seed)
    for step in range(BATCHES):
        batch, index = task.batch(step)
        x = batch.float() / 255 - 0.5
        objective(task.config, measure, model, model(x, index), x, index)[0].backward()
        model.zero_grad(set_to_none=True)
        for key, (features, output) in seen.items():
            rows = features.movedim(1, -1).flatten(0, -2)
            slopes = output.grad.square().sum((0, 2, 3))
            for sums, value in (
                (mean, rows.mean(0)), (second, rows.T @ rows / len(rows)), (weight, slopes)
            ):  # fmt: skip
                sums[key] = sums.get(key, 0) + value.double().numpy() / BATCHES
    for handle in handles:
        handle.remove()
    return {
        key: Moments(mean[key], second[key] - np.outer(mean[key], mean[key]), weight[key])
        for key in blocks
    }


def removal_order(down: np.ndarray, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Hidden channels in the order in which they are best removed, and what removing each costs.

    down: float64 (C, H), the weights that channels go out by. Greedy; after each removal the
    others' weights take over what they can.
    """
    count = down.shape[1]
    weights = down * np.sqrt(moments.weight)[:, None]
    inverse = np.linalg.inv(_damped(moments.covariance))
    left = np.ones(count, bool)
    order, costs = np.empty(count, int), np.empty(count)
    for n in range(count):
        cost = np.square(weights).sum(0) / np.diag(inverse)
        i = int(np.argmin(np.where(left, cost, np.inf)))
        order[n], costs[n], left[i] = i, cost[i], False
        column = inverse[:, i] / inverse[i, i]
        weights -= np.outer(weights[:, i], column)
        inverse -= np.outer(column, inverse[i])
        inverse[i, i] = 1.0  # out of the game
    return order, costs


def _damped(covariance: np.ndarray) -> np.ndarray:
    ridge = RIDGE * max(np.trace(covariance) / len(covariance), 1e-12)
    return covariance + ridge * np.eye(len(covariance))


def prune(model: LatentCodec, moments: dict[str, Moments], keep: float) -> LatentCodec:
    """A model whose g_a and g_s each keep a share `keep` of the multiplications of their blocks.

    Groups of channels go where they cost least per multiplication; each block keeps one group at
    least. The weights behind the kept channels are fitted anew by least squares.
    """
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    hidden: dict[str, tuple[int, ...]] = {}
    for transform in ("g_a", "g_s"):
        blocks = {k: b for k, b in transform_blocks(model).items() if k.startswith(transform)}
        kept = _choose(blocks, moments, keep)
        for key, channels in kept.items():
            _shrink(state, key, moments[key], channels)
        # the configuration has those at 1/8 first
        ordered = sorted(kept, key=lambda k: (".blocks16." in k, int(k.rsplit(".", 1)[1])))
        hidden[f"hidden_{transform[-1]}"] = tuple(len(kept[k]) for k in ordered)
    pruned = model_from_state(replace(model.config, **hidden), state)
    assert isinstance(pruned, LatentCodec)
    return pruned


def _choose(
    blocks: dict[str, Block], moments: dict[str, Moments], keep: float
) -> dict[str, np.ndarray]:
    """The hidden channels that each block keeps, in order."""
    orders, marginal, work = {}, {}, {}
    for key, block in blocks.items():
        down = block.down.weight.detach().double().numpy()[:, :, 0, 0]
        orders[key], costs = removal_order(down, moments[key])
        groups = len(costs) // GROUP
        # per multiplication: a channel at 1/8 is used at four times as many places
        work[key] = 2 * down.shape[0] * (4 if ".blocks8." in key else 1)
        marginal[key] = costs[: groups * GROUP].reshape(groups, GROUP).sum(1) / work[key]
    gone = dict.fromkeys(blocks, 0)
    total = sum(work[k] * len(orders[k]) for k in blocks)
    left = float(total)
    while left > keep * total:
        open_ = [k for k in blocks if len(orders[k]) - (gone[k] + 1) * GROUP >= GROUP]
        if not open_:
            break
        key = min(open_, key=lambda k: marginal[k][gone[k]])
        gone[key] += 1
        left -= work[key] * GROUP
    return {k: np.sort(orders[k][gone[k] * GROUP :]) for k in blocks}


def _shrink(state: dict[str, Tensor], key: str, moments: Moments, kept: np.ndarray) -> None:
    """Take hidden channels out of a block's tensors, and let the kept ones take over by least
    squares."""
    down = state[f"{key}.down.weight"].double().numpy()[:, :, 0, 0]
    covariance = _damped(moments.covariance)
    fitted = down @ covariance[:, kept] @ np.linalg.inv(covariance[np.ix_(kept, kept)])
    shift = down @ moments.mean - fitted @ moments.mean[kept]
    index = torch.from_numpy(kept)
    state[f"{key}.up.weight"] = state[f"{key}.up.weight"][index].contiguous()
    state[f"{key}.up.bias"] = state[f"{key}.up.bias"][index].contiguous()
    state[f"{key}.down.weight"] = torch.from_numpy(fitted).float()[:, :, None, None].contiguous()
    state[f"{key}.down.bias"] = state[f"{key}.down.bias"] + torch.from_numpy(shift).float()

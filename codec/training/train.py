"""The training loop, the same for both architectures."""

from __future__ import annotations

import contextlib
import csv
import math
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from . import ranks
from .checkpoints import load_checkpoint, save_checkpoint
from .config import TrainConfig, check, save_toml
from .devices import fast_bf16, pick_device
from .export.integer_prior import fake_quantise
from .losses import Distortion, distortion
from .networks.cae import ConvAutoencoder
from .networks.latent_codec import LatentCodec, Rows, lambda_of_index, loss_weight
from .networks.restorer import RestoringCodec, image_cost
from .optimisers import load_state, make_optimiser, named_groups, schedule
from .symbols.steering import Steering
from .tasks import make_task, model_from_state, network_from_dict

CHECKPOINT, BEST, CONFIG = "last.pt", "best.pt", "config.toml"
STEPS_LOG, HELD_OUT_LOG = "steps.csv", "held_out.csv"


def objective(
    config: TrainConfig, measure: Distortion, model: nn.Module, out: dict, x: Tensor, index: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch, and per image the bits per pixel and the squared error.

    Mean over images of w (lambda * 255^2 * D + bpp), D the distortion asked for. Over every quality
    at once w = (lambda / its geometric middle)^-balance: the loss grows about as lambda^0.55,
    so 0.5 gives every quality about the same say; what counts is the relative change of rate. A
    network without quantisation has no rate: its loss is D. A restoring network pays for the error
    of its image too.

    x: what the output should be, for a restoring network the clean image.
    """
    extra = torch.zeros(())
    if "restored" in out:
        extra = image_cost(measure(out["restored"], x)).mean()
        if "x_hat" not in out:
            mse = (out["restored"] - x).square().mean((1, 2, 3))
            return extra, torch.zeros_like(mse), mse.detach()
    bpp = (out["y_bits"] + out["z_bits"]) / (x.shape[2] * x.shape[3])
    cost = measure(out["x_hat"], x)
    if config.arch != "cae":
        lam = lambda_of_index(index)
        loss = (loss_weight(lam, config.balance) * (lam * 255.0**2 * cost + bpp)).mean() + extra
    elif model.config.quantise:  # type: ignore[union-attr]
        loss = (config.lmbda * 255.0**2 * cost + bpp).mean()
    else:
        loss = cost.mean()
    if config.l1 > 0:
        weights = named_groups(model)["matrices"]
        loss = loss + config.l1 * torch.stack([p.abs().sum() for p in weights]).sum()
    mse = (out["x_hat"] - x).square().mean((1, 2, 3))
    return loss, bpp.detach(), mse.detach()


def freeze_prior(model: nn.Module) -> None:
    """Leave only g_a and g_s to be trained, without their gains: all that may change while files
    keep their meaning, and bundles their prior and rows."""
    rows = {id(p) for m in model.modules() if isinstance(m, Rows) for p in m.parameters()}
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(("g_a.", "g_s.")) and id(p) not in rows)


def checkpoint_network(checkpoint: Path) -> tuple[str, dict]:
    """Architecture and network settings of a checkpoint, its tensors left on disk."""
    state = load_checkpoint(checkpoint, mmap=True)
    return state.get("arch", "aei"), state["network"]


class Log:
    """Two CSV files of a run, one row per 50 steps and one per validation; TensorBoard on
    demand."""

    def __init__(self, folder: Path, tensorboard: bool):
        self.folder = folder
        self.writer = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder))

    def add(self, name: str, row: dict) -> None:
        path = self.folder / name
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        if self.writer is not None:
            for key, value in row.items():
                self.writer.add_scalar(f"{Path(name).stem}/{key}", value, row["step"])


def train(
    folder: Path,
    out: Path,
    network,
    config: TrainConfig,
    *,
    resume: bool = False,
    init: LatentCodec | ConvAutoencoder | RestoringCodec | None = None,
    tensorboard: bool = False,
    log=print,
) -> nn.Module:
    """Train on a folder of photographs (or of CIFAR-10, for the cae).

    Writes `last.pt`, `best.pt` (lowest held-out loss), `config.toml`, `steps.csv` and
    `held_out.csv` to `out`. With `resume`, goes on from `last.pt`: same random stream, optimiser
    state and averages; with `init`, starts from that model's weights. Stops cleanly, with a
    checkpoint, on SIGTERM or SIGINT, and when the held-out loss has not fallen for `patience`
    validations. Returns the averaged (EMA) model. Raises ValueError for settings that cannot work.
    Started by torchrun, every process takes its share of each batch, and the first one validates
    and writes.
    """
    check(config)
    device = pick_device(config.device)
    rank, processes = ranks.join(device)
    if config.batch % processes:
        raise ValueError(f"batch {config.batch}: a multiple of the {processes} processes")
    if rank:
        log = _silent
    config.device = device.type
    fast = fast_bf16(device)
    if config.bf16 is None:
        config.bf16 = fast
    elif config.bf16 and not fast:
        log(f"bf16: this {device.type} only emulates it, several times slower than --no-bf16")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / CHECKPOINT
    state = load_checkpoint(checkpoint) if resume else None
    if state is not None:
        network = network_from_dict(config.arch, state["network"])
    task = make_task(replace(config, batch=config.batch // processes), folder)
    log(task.describe())
    if state is not None:
        model = model_from_state(network, state["model"])
        ema = model_from_state(network, state["ema"])
    else:
        model = init if init is not None else task.build(network)
        ema = model_from_state(network, model.state_dict())
    steering = Steering(config.rounding) if config.trellis else None
    if steering is not None and state is not None and "steering" in state:
        steering.load_state_dict(state["steering"])
    model = model.to(device).to(memory_format=torch.channels_last)
    ema = ema.to(device).to(memory_format=torch.channels_last).requires_grad_(False)
    if isinstance(model, LatentCodec):
        model.rounding = ema.rounding = config.rounding or None
        model.steering = ema.steering = steering
    if config.quantise_prior:
        fake_quantise(model)
    if config.freeze_prior:
        freeze_prior(model)
    optimiser = make_optimiser(model, config)
    step, pixels, hours, best, since_best = 0, 0, 0.0, math.inf, 0
    if state is not None:
        if state["optimiser"] is None:  # of a run on a GPU (gpu/loop.py)
            log("the optimiser starts anew: the checkpoint has no state of it")
        elif state["config"]["optimiser"] == config.optimiser:
            fresh = [dict(group) for group in optimiser.param_groups]
            load_state(optimiser, model, state["optimiser"])
            for group, new in zip(optimiser.param_groups, fresh):
                for key in ("scale", "weight_decay", "precondition_frequency", "momentum"):
                    if key in new:
                        group[key] = new[key]
        else:
            log(
                f"{config.optimiser} starts without what {state['config']['optimiser']} had learned"
            )
        step, pixels, hours = state["step"], state["pixels"], state["hours"]
        best, since_best = state.get("best", math.inf), state.get("since_best", 0)
        log(f"resumed at step {step}, {pixels:.3g} pixels seen")
        state = None
    if rank == 0:
        save_toml(out / CONFIG, config, network)
    measure = distortion(config.loss)
    logs = Log(out, tensorboard)

    stop = {"why": ""}
    for sig in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError):  # not in the main thread (tests)
            signal.signal(sig, lambda *_: stop.update(why="stopped"))

    def save() -> None:
        save_checkpoint(
            {
                "arch": config.arch,
                "network": asdict(network),
                "config": asdict(config),
                "model": model.state_dict(),
                "ema": ema.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "pixels": pixels,
                "hours": hours,
                "best": best,
                "since_best": since_best,
                **({} if steering is None else {"steering": steering.state_dict()}),
            },
            checkpoint,
        )

    pool = ThreadPoolExecutor(1)
    pending = pool.submit(task.batch, step * processes + rank)
    window = _window()
    ended = bool(stop["why"])
    while step < config.steps and not ended:
        began = time.time()
        batch, index, *clean = pending.result()
        pending = pool.submit(task.batch, (step + 1) * processes + rank)
        number = step * processes + rank
        # the noise too depends on the step only
        torch.manual_seed(config.seed * 1_000_003 + number)
        x = _pixels(batch, device)
        target = _pixels(clean[0], device) if clean else x
        index = index.to(device)
        factor = schedule(config, step)
        for group in optimiser.param_groups:
            group["lr"] = config.lr * group["scale"] * factor
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            if isinstance(model, RestoringCodec):
                result = model(x, index, coded=step >= config.image_steps * config.steps)
            else:
                result = model(x, index)
        loss, bpp, mse = objective(config, measure, model, result, target, index)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if processes > 1:
            ended = ranks.average_gradients(model, step, bool(stop["why"]))
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        if torch.isfinite(norm):
            optimiser.step()
        else:
            log(f"step {step}: gradient is not finite, step skipped")
        keep = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - keep)
        step += 1
        seen = x.shape[0] * x.shape[2] * x.shape[3] * processes
        pixels += seen
        hours += (time.time() - began) / 3600
        window["loss"] += loss.item()
        window["bpp"] += bpp.mean().item()
        window["log_mse"] += mse.clamp(min=1e-10).log10().mean().item()
        window["pixels"] += seen
        window["n"] += 1
        if step % 50 == 0 or step == config.steps:
            n, seconds = window["n"], time.time() - window["start"]
            row = {
                "step": step,
                "pixels": pixels,
                "loss": window["loss"] / n,
                "bpp": window["bpp"] / n,
                "psnr": -10 * window["log_mse"] / n,
                "lr": config.lr * factor,
                "gradient_norm": norm.item(),
                "pixels_per_s": window["pixels"] / seconds,
            }
            log(
                f"step {step:6d}  {pixels:9.3g} px  {row['pixels_per_s'] / 1e6:5.2f} Mpx/s  "
                f"loss {row['loss']:.4f}  {row['bpp']:.3f} bpp  {row['psnr']:.2f} dB  "
                f"lr {row['lr']:.1e}  |g| {row['gradient_norm']:.2g}"
            )
            if rank == 0:
                logs.add(STEPS_LOG, row)
            window = _window()
        if rank == 0 and (step % config.validate_every == 0 or step == config.steps):
            row, text = task.validate(ema)
            log(text)
            logs.add(HELD_OUT_LOG, {"step": step, "pixels": pixels, **row})
            since_best = 0 if row["loss"] < best else since_best + 1
            if since_best == 0:
                best = row["loss"]
                save()
                shutil.copyfile(checkpoint, out / BEST)
            elif config.patience and since_best >= config.patience:
                stop["why"] = f"stopped early: no better held-out loss in {since_best} validations,"
            window["start"] = time.time()
        if rank == 0 and step % config.checkpoint_every == 0:
            save()
        if processes == 1:
            ended = bool(stop["why"])
    if rank == 0:
        save()
    pool.shutdown(wait=False, cancel_futures=True)
    if ended:
        stop["why"] = stop["why"] or "stopped"
        log(f"{stop['why']} at step {step}; --resume goes on from {checkpoint}")
    return ema


def _pixels(batch: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, 3, H, W) to float32 in -0.5..0.5, as the networks take it."""
    x = batch.to(device, torch.float32).contiguous(memory_format=torch.channels_last)
    return x.div_(255.0).sub_(0.5)


def _silent(*_: object) -> None:
    pass


def _window() -> dict:
    return {"loss": 0.0, "bpp": 0.0, "log_mse": 0.0, "n": 0, "pixels": 0, "start": time.time()}

"""The training loop: loss lambda * 255^2 * MSE + bpp over every quality at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from . import data, validate
from .klt import klt_basis
from .networks import LAMBDA_MAX, LAMBDA_MIN, LatentCodec, NetworkConfig, lambda_of_index
from .optimisers import make_optimiser, schedule


@dataclass
class TrainConfig:
    """What `aei train` was asked for; saved in every checkpoint."""

    steps: int = 10_000
    batch: int = 16
    patch: int = 256
    lr: float = 4e-3
    optimiser: str = "soap"
    precondition_every: int = 10
    warmup: int = 200
    decay: float = 0.3
    ema: float = 0.999
    clip: float = 1.0
    balance: float = 0.5
    seed: int = 0
    validate_every: int = 1000
    checkpoint_every: int = 250
    threads: int = 2
    device: str = "cpu"


def rate_distortion_loss(out: dict, x, index, balance: float):
    """Mean over images of w(lambda) * (lambda * 255^2 * MSE + bpp), and the mean bpp and MSE.

    w = (lambda / geometric middle)^-balance: the loss grows about as lambda^0.55, so 0.5 gives every
    quality about the same say; what counts is the relative change of rate.
    """
    pixels = x.shape[2] * x.shape[3]
    bpp = (out["y_bits"] + out["z_bits"]) / pixels
    mse = (out["x_hat"] - x).square().mean((1, 2, 3))
    lam = lambda_of_index(index)
    weight = (lam / (LAMBDA_MIN * LAMBDA_MAX) ** 0.5) ** -balance
    loss = (weight * (lam * 255.0**2 * mse + bpp)).mean()
    return loss, bpp.detach(), mse.detach()


def atomic_save(state: dict, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def build_model(config: NetworkConfig, photos: data.Photographs) -> LatentCodec:
    return LatentCodec(config, *klt_basis(photos.train, config.latents))


def model_from_state(config: NetworkConfig, state: dict) -> LatentCodec:
    """A model with the weights of a state dict (of `LatentCodec.state_dict()`)."""
    basis = state["g_a.klt.weight"][:, :, 0, 0].float()
    model = LatentCodec(config, basis, state["g_a.scale"].flatten().float())
    model.load_state_dict(state)
    return model


def train(
    folder: Path,
    out: Path,
    network: NetworkConfig,
    config: TrainConfig,
    *,
    resume: bool = False,
    init: LatentCodec | None = None,
    log=print,
) -> LatentCodec:
    """Train on a folder of photographs, writing `last.pt` and `log.jsonl` to `out`.

    With `resume`, goes on from `out/last.pt` (same random stream, optimiser state and averages);
    with `init`, starts from that model's weights. Stops cleanly, with a checkpoint, on SIGTERM or
    SIGINT. Returns the model with its averaged (EMA) weights.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "last.pt"
    state = torch.load(checkpoint, weights_only=False) if resume else None
    if state is not None:
        network = NetworkConfig(**state["network"])
    photos = data.load_photographs(folder)
    log(f"{len(photos.train)} images to train on, {len(photos.held_out)} held out")
    if state is not None:
        model = model_from_state(network, state["model"])
        ema = model_from_state(network, state["ema"])
    else:
        model = init if init is not None else build_model(network, photos)
        ema = model_from_state(network, model.state_dict())
    device = torch.device(config.device)
    model = model.to(device, memory_format=torch.channels_last)
    ema = ema.to(device, memory_format=torch.channels_last).requires_grad_(False)
    optimiser = make_optimiser(model, config.optimiser, config.lr, config.precondition_every)
    step, pixels, hours = 0, 0, 0.0
    if state is not None:
        scales = [(g["lr"], g["scale"]) for g in optimiser.param_groups]
        optimiser.load_state_dict(state["optimiser"])
        for group, (_, scale) in zip(optimiser.param_groups, scales):
            group["scale"] = scale
            group["precondition_frequency"] = config.precondition_every
        step, pixels, hours = state["step"], state["pixels"], state["hours"]
        log(f"resumed at step {step}, {pixels:.3g} pixels seen")
        state = None
    held_out = [validate.crop_to(image) for image in photos.held_out[:10]]
    jpeg = validate.jpeg_curve(held_out)

    stop = {"now": False}
    for sig in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError):  # not in the main thread (tests)
            signal.signal(sig, lambda *_: stop.update(now=True))

    def save() -> None:
        atomic_save(
            {
                "network": asdict(network),
                "config": asdict(config),
                "model": model.state_dict(),
                "ema": ema.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "pixels": pixels,
                "hours": hours,
            },
            checkpoint,
        )

    log_file = (out / "log.jsonl").open("a", encoding="utf-8")
    pool = ThreadPoolExecutor(1)

    def fetch(s: int):
        return pool.submit(data.batch_of, photos, config.batch, config.patch, config.seed, s)

    pending = fetch(step)
    window = {"loss": 0.0, "bpp": 0.0, "mse": 0.0, "n": 0, "pixels": 0, "start": time.time()}
    while step < config.steps and not stop["now"]:
        began = time.time()
        batch, index = pending.result()
        pending = fetch(step + 1)
        torch.manual_seed(config.seed * 1_000_003 + step)  # the noise too depends on the step only
        x = batch.to(device, torch.float32, memory_format=torch.channels_last)
        x = x.div_(255.0).sub_(0.5)
        index = index.to(device)
        factor = schedule(step, config.steps, config.warmup, config.decay)
        for group in optimiser.param_groups:
            group["lr"] = config.lr * group["scale"] * factor
        with torch.autocast(device.type, torch.bfloat16):
            result = model(x, index)
        loss, bpp, mse = rate_distortion_loss(result, x, index, config.balance)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        if not torch.isfinite(norm):
            log(f"step {step}: gradient is not finite, step skipped")
        else:
            optimiser.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)
        step += 1
        pixels += x.shape[0] * x.shape[2] * x.shape[3]
        hours += (time.time() - began) / 3600
        window["loss"] += loss.item()
        window["bpp"] += float(bpp.mean())
        window["mse"] += float(mse.log10().mean())
        window["n"] += 1
        window["pixels"] += x.shape[0] * x.shape[2] * x.shape[3]
        if step % 50 == 0 or step == config.steps:
            n, seconds = window["n"], time.time() - window["start"]
            row = {
                "step": step,
                "pixels": pixels,
                "loss": window["loss"] / n,
                "bpp": window["bpp"] / n,
                "psnr": -10 * window["mse"] / n,
                "lr": config.lr * factor,
                "norm": float(norm),
                "pixels_per_s": window["pixels"] / seconds,
            }
            log(
                f"step {step:6d}  {pixels:9.3g} px  {row['pixels_per_s'] / 1e6:5.2f} Mpx/s  "
                f"loss {row['loss']:.4f}  {row['bpp']:.3f} bpp  {row['psnr']:.2f} dB  "
                f"lr {row['lr']:.1e}  |g| {row['norm']:.2g}"
            )
            log_file.write(json.dumps(row) + "\n")
            log_file.flush()
            window = {
                "loss": 0.0,
                "bpp": 0.0,
                "mse": 0.0,
                "n": 0,
                "pixels": 0,
                "start": time.time(),
            }
        if step % config.validate_every == 0 or step == config.steps:
            curve = validate.model_curve(ema, held_out, device=device.type)
            row = {"step": step, "bd_rate": validate.bd_rate_to_jpeg(jpeg, curve), "curve": curve}
            points = ", ".join(f"{b:.3f}/{p:.2f}" for b, p in zip(*curve))
            log(f"  held-out BD-rate against JPEG {row['bd_rate']:+.2f} %  (bpp/dB {points})")
            log_file.write(json.dumps(row) + "\n")
            log_file.flush()
            window["start"] = time.time()
        if step % config.checkpoint_every == 0:
            save()
    save()
    pool.shutdown(wait=False, cancel_futures=True)
    log_file.close()
    if stop["now"]:
        print(f"stopped at step {step}; --resume goes on from {checkpoint}", file=sys.stderr)
    return ema

"""The training loop on one GPU: a rate that falls from its peak to nothing in a given time, and a
checkpoint like train.py's."""

from __future__ import annotations

import csv
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoints import load_checkpoint, save_checkpoint
from ..config import TrainConfig
from ..data.photographs import Photographs
from ..export.integer_prior import MEAN_BITS
from ..networks.latent_codec import LatentCodec, lagrangian, lambda_of_index, loss_weight
from ..symbols.steering import Steering
from ..symbols.tables import offsets_of_means
from ..tasks import model_from_state
from ..train import CHECKPOINT, STEPS_LOG
from .images import PARAMETERS, Store, crops, tiles
from .muon import FlatMuon
from .network import for_gpu
from .trellis import GpuTrellis

TILES = (32, 64, 64, 128)  # sides of the tiles that some batches are cut into
TILED = 0.08  # share of the steps
# Steps between looks at where small values of the trellis lie
WATCH_EVERY, WATCHED_CROPS, KEPT = (200, 16, 0.8)
LOG_EVERY = 200
FLOOR = 0.003  # of the learning rate, as a share of its peak
AHEAD = 3  # steps that the host may be ahead of the device: the clock is to be the device's too


@dataclass(frozen=True)
class Settings:
    """What a run is asked for. seconds: of training, from when the first step can be taken."""

    seconds: float
    batch: int = 96
    patch: int = 256
    lr: float = 5e-3
    warmup: float = 0.02  # share of the time
    rounding: float = 14.0
    graphics: float = 0.05
    pages: int = 240
    clip: float = 1.0
    ema: float = 0.999
    balance: float = 0.5
    save_every: float = 120.0  # seconds
    seed: int = 0
    steps: int = 1 << 40  # at most


def config_of(s: Settings, steps: int, device: str) -> TrainConfig:
    """The settings as `aei train` names them, for checkpoint and manifest."""
    return TrainConfig(
        steps=steps,
        batch=s.batch,
        patch=s.patch,
        optimiser="muon",
        lr=s.lr,
        decay=1.0,
        warmup=round(s.warmup * steps),
        clip=s.clip,
        ema=s.ema,
        balance=s.balance,
        rounding=s.rounding,
        trellis=True,
        graphics=s.graphics,
        bf16=True,
        seed=s.seed,
        device=device,
    )


class _Steps:
    """One step for each side of tiles: on a GPU captured once, then replayed."""

    def __init__(self, model, flat: Tensor, optimiser: FlatMuon, s: Settings):
        self.model, self.flat, self.optimiser, self.s = model, flat, optimiser, s
        self.device = flat.device
        self.parameters = torch.zeros((s.batch, PARAMETERS), dtype=torch.int64, device=self.device)
        self.index = torch.zeros(s.batch, device=self.device)
        self.seen = torch.zeros(5, device=self.device)  # sums: loss, bpp, PSNR, norm, finite
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def feed(self, parameters: np.ndarray, index: np.ndarray) -> None:
        pair = [torch.from_numpy(a) for a in (parameters, index)]
        if self.device.type == "cuda":
            pair = [t.pin_memory() for t in pair]
        self.parameters.copy_(pair[0], non_blocking=True)
        self.index.copy_(pair[1], non_blocking=True)

    def take(self, side: int) -> None:
        """A step with the batch that was fed, cut into tiles of that side."""
        x, index = crops(self.flat, self.parameters, self.s.patch), self.index
        if side != self.s.patch:
            x, index = tiles(x, index, side)
        with torch.autocast(self.device.type, torch.bfloat16):
            out = self.model(x, index)
        bpp = (out["y_bits"] + out["z_bits"]) / (x.shape[2] * x.shape[3])
        mse = (out["x_hat"] - x).square().mean((1, 2, 3))
        lam = lambda_of_index(index)
        loss = (loss_weight(lam, self.s.balance) * lagrangian(lam, mse, bpp)).mean()
        for p in self.optimiser.parameters:
            p.grad = None
        loss.backward()
        norm, finite = self.optimiser.step()
        psnr = (-10 * mse.detach().clamp(min=1e-10).log10()).mean()
        row = torch.stack([loss.detach(), bpp.detach().mean(), psnr, norm, finite])
        self.seen.add_(row.nan_to_num(0.0, 0.0, 0.0))

    def capture(self, sides: list[int]) -> None:
        """Record the step of each side, after three that warm the libraries up."""
        pool = None
        for side in sides:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    self.take(side)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                self.take(side)
            pool = pool or graph.pool()
            self.graphs[side] = graph

    def run(self, side: int) -> None:
        if side in self.graphs:
            self.graphs[side].replay()
        else:
            self.take(side)

    @torch.no_grad()
    def watch(self, steering: Steering) -> None:
        """Look where small values of the trellis lie in a few of the crops, and move its points
        there."""
        model, count = self.model, WATCHED_CROPS
        model.trellis.seen.mul_(KEPT)
        model.watching = True
        x = crops(self.flat, self.parameters[:count], self.s.patch)
        with torch.autocast(self.device.type, torch.bfloat16):
            model(x, self.index[:count])
        model.watching = False
        steering.seen = model.trellis.seen.cpu().numpy()
        model.trellis.move_points(offsets_of_means(steering.trellis, *steering.seen))


def train(
    photos: Photographs,
    out: Path,
    model: LatentCodec,
    s: Settings,
    *,
    device: str = "cuda",
    before: dict | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Train a model for a while and leave `last.pt` and `steps.csv` in `out`.

    The learning rate rises to `s.lr` and falls to nothing over `s.seconds`; the averaged weights
    are what export takes. before: `step`, `pixels`, `hours` and `steering` of what the model comes
    from, if anything. Raises ValueError where the images are too small, RuntimeError where most
    steps are not finite.
    """
    before = before or {}
    out.mkdir(parents=True, exist_ok=True)
    where = torch.device(device)
    store = Store(photos, s.patch, s.pages, s.seed)
    log(f"{store.photos} photographs, {store.pages} pages, {len(store.flat) / 1e9:.2f} GB")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(s.seed)
    steering = Steering(s.rounding)
    if "steering" in before:
        steering.load_state_dict(before["steering"])
    one = 1 << MEAN_BITS
    trellis = GpuTrellis(steering.trellis, steering.costs, one, where)
    trellis.seen.copy_(torch.from_numpy(steering.seen))
    network = model.config
    flat = torch.from_numpy(store.flat).to(where)
    model = for_gpu(model.to(where), trellis, s.rounding, steering.error_bits)
    optimiser = FlatMuon(model, s.clip)
    steps = _Steps(model, flat, optimiser, s)
    rng, choice = (np.random.default_rng([s.seed, k]) for k in range(2))
    sides = [s.patch, *sorted(t for t in set(TILES) if t < s.patch)]
    steps.feed(*store.draw(rng, s.batch, s.graphics))
    begin = optimiser.data.clone()
    if where.type == "cuda":
        steps.capture(sides)
        optimiser.forget(begin)  # the rate was 0, but not what the moments saw
        steps.seen.zero_()
    step, pixels = 0, 0

    def save(seconds: float) -> None:
        done = before.get("step", 0) + step
        config = config_of(s, done, where.type)
        save_checkpoint(
            {
                "arch": "aei",
                "network": asdict(network),
                "config": asdict(config),
                "model": optimiser.state_dict(model, optimiser.data),
                "ema": optimiser.state_dict(model, optimiser.average),
                "optimiser": None,
                "step": done,
                "pixels": before.get("pixels", 0) + pixels,
                "hours": before.get("hours", 0.0) + seconds / 3600,
                "steering": steering.state_dict(),
            },
            out / CHECKPOINT,
        )

    with (out / STEPS_LOG).open("a", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["step", "pixels", "seconds", "loss", "bpp", "psnr", "gradient_norm", "lr"])
        start = saved = marked = time.monotonic()
        behind: list[torch.cuda.Event] = []
        # a graph of ten thousand operations keeps the host busy too: crops are drawn beside it
        drawing = ThreadPoolExecutor(1)
        pending = drawing.submit(store.draw, rng, s.batch, s.graphics)
        for step in itertools.count():
            seconds = time.monotonic() - start
            share = seconds / s.seconds
            if share >= 1 or step >= s.steps:
                break
            factor = min(1.0, (share + 1e-4) / s.warmup) * max(FLOOR, 1 - share)
            optimiser.lr.fill_(s.lr * factor)
            optimiser.keep.fill_(min(s.ema, (1 + step) / (10 + step)))
            steps.feed(*pending.result())
            pending = drawing.submit(store.draw, rng, s.batch, s.graphics)
            tiled = len(sides) > 1 and choice.random() < TILED
            steps.run(int(choice.choice([t for t in TILES if t in sides])) if tiled else s.patch)
            pixels += s.batch * s.patch**2
            if step % WATCH_EVERY == WATCH_EVERY - 1:
                steps.watch(steering)
            if where.type == "cuda":
                event = torch.cuda.Event()
                event.record()
                behind.append(event)
                if len(behind) > AHEAD:
                    behind.pop(0).synchronize()
            if (step + 1) % LOG_EVERY == 0 or step + 1 == s.steps:
                n = LOG_EVERY if (step + 1) % LOG_EVERY == 0 else (step + 1) % LOG_EVERY
                loss, bpp, psnr, norm, finite = (steps.seen / n).tolist()
                steps.seen.zero_()
                if finite < 0.5:
                    raise RuntimeError(f"step {step + 1}: most gradients are not finite")
                now = time.monotonic()
                speed = n * s.batch * s.patch**2 / (now - marked) / 1e6
                marked = now
                row = [
                    f"{v:.6g}"
                    for v in (step + 1, pixels, now - start, loss, bpp, psnr, norm, s.lr * factor)
                ]
                table.writerow(row)
                file.flush()
                log(
                    f"step {step + 1:6d}  {pixels:9.3g} px  {speed:5.0f} Mpx/s  loss {loss:.4f}  "
                    f"{bpp:.3f} bpp  {psnr:.2f} dB  lr {s.lr * factor:.1e}  |g| {norm:.2g}"
                )
                if now - saved > s.save_every:
                    step += 1
                    save(now - start)
                    saved = now
        drawing.shutdown(cancel_futures=True)
    save(time.monotonic() - start)


def of_checkpoint(path: Path, depths: dict[str, int]) -> tuple[LatentCodec, dict]:
    """The averaged model of a checkpoint, grown to the depths asked for, and what `train` takes as
    `before`."""
    from ..networks.grow import deepened
    from ..tasks import network_from_dict

    state = load_checkpoint(path)
    network = network_from_dict("aei", state["network"])
    model = model_from_state(network, state["ema"])
    assert isinstance(model, LatentCodec)
    before = {k: state[k] for k in ("step", "pixels", "hours", "steering") if k in state}
    return deepened(model, depths), before

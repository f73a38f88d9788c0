"""The training loop, the same for both architectures."""

from __future__ import annotations

import contextlib
import csv
import math
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
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
from .networks.latent_codec import LatentCodec, Rows, lagrangian, lambda_of_index, loss_weight
from .networks.restorer import RestoringCodec, image_cost
from .optimisers import load_state, make_optimiser, named_groups, schedule
from .symbols.steering import Steering
from .tasks import Task, make_task, model_from_state, network_from_dict

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
        loss = (loss_weight(lam, config.balance) * lagrangian(lam, cost, bpp)).mean() + extra
    elif model.config.quantise:  # type: ignore[union-attr]
        loss = lagrangian(config.lmbda, cost, bpp).mean()
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
    place = _settle(config, log)
    out.mkdir(parents=True, exist_ok=True)
    state = load_checkpoint(out / CHECKPOINT) if resume else None
    if state is not None:
        network = network_from_dict(config.arch, state["network"])
    task = make_task(replace(config, batch=config.batch // place.processes), folder)
    place.log(task.describe())
    run = _Run(config, network, out, place)
    run.build(task, init, state)
    run.take_up(state)
    del state  # as large as the model and its optimiser
    run.begin(tensorboard)
    batches = _Batches(task, place, run.step)
    while run.step < config.steps and not run.ended:
        began = time.time()
        run.update(batches.next())
        run.hours += (time.time() - began) / 3600
        run.report()
        run.validate(task)
        run.keep()
    batches.close()
    run.finish()
    return run.ema


@dataclass(frozen=True)
class _Place:
    """Where this process computes, which one it is, of how many, and how it says something."""

    device: torch.device
    rank: int
    processes: int
    log: Callable[[str], None]


def _settle(config: TrainConfig, log: Callable[[str], None]) -> _Place:
    """The device and the processes, and what the settings leave to them: `device`, `bf16`, threads
    and the random stream."""
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
    return _Place(device, rank, processes, log)


class _Batches:
    """The batches of a run from a step on, the next one made while one is worked on."""

    def __init__(self, task: Task, place: _Place, step: int):
        self._task, self._place, self._step = task, place, step
        self._pool = ThreadPoolExecutor(1)
        self._pending = self._begin(step)

    def _number(self, step: int) -> int:
        return step * self._place.processes + self._place.rank

    def _begin(self, step: int) -> Future:
        return self._pool.submit(self._task.batch, self._number(step))

    def next(self) -> tuple[int, tuple[Tensor, ...]]:
        """The number of a batch among all, and what the task made."""
        made = self._pending.result()
        number = self._number(self._step)
        self._step += 1
        self._pending = self._begin(self._step)
        return number, made

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Run:
    """What is trained, how far it has come, and where it is written."""

    model: nn.Module
    ema: nn.Module
    optimiser: torch.optim.Optimizer
    logs: Log

    def __init__(self, config: TrainConfig, network, out: Path, place: _Place):
        self.config, self.network, self.out, self.place = config, network, out, place
        self.checkpoint = out / CHECKPOINT
        self.steering = Steering(config.rounding) if config.trellis else None
        self.measure = distortion(config.loss)
        self.step, self.pixels, self.hours = 0, 0, 0.0
        self.best, self.since_best = math.inf, 0
        self.why, self.ended = "", False  # it stops
        self.window = _window()
        self.learning_rate = self.norm = 0.0  # of the last step

    def build(self, task: Task, init: nn.Module | None, state: dict | None) -> None:
        """The model and its average: of a checkpoint's state, or from `init`, or anew."""
        config, device = self.config, self.place.device
        if state is not None:
            model = model_from_state(self.network, state["model"])
            ema = model_from_state(self.network, state["ema"])
        else:
            model = init or task.build(self.network)  # type: ignore[arg-type,assignment]
            ema = model_from_state(self.network, model.state_dict())
        if self.steering is not None and state is not None and "steering" in state:
            self.steering.load_state_dict(state["steering"])
        model = model.to(device).to(memory_format=torch.channels_last)
        ema = ema.to(device).to(memory_format=torch.channels_last).requires_grad_(False)
        if isinstance(model, LatentCodec):
            model.rounding = ema.rounding = config.rounding or None
            model.steering = ema.steering = self.steering
        if config.quantise_prior:
            fake_quantise(model)
        if config.freeze_prior:
            freeze_prior(model)
        self.model, self.ema = model, ema

    def take_up(self, state: dict | None) -> None:
        """Make the optimiser, and go on from where a checkpoint's state left off."""
        config, log = self.config, self.place.log
        self.optimiser = make_optimiser(self.model, config)
        if state is None:
            return
        if state["optimiser"] is None:  # of a run on a GPU (gpu/loop.py)
            log("the optimiser starts anew: the checkpoint has no state of it")
        elif state["config"]["optimiser"] == config.optimiser:
            fresh = [dict(group) for group in self.optimiser.param_groups]
            load_state(self.optimiser, self.model, state["optimiser"])
            for group, new in zip(self.optimiser.param_groups, fresh):
                for key in ("scale", "weight_decay", "precondition_frequency", "momentum"):
                    if key in new:
                        group[key] = new[key]
        else:
            log(
                f"{config.optimiser} starts without what {state['config']['optimiser']} had learned"
            )
        self.step, self.pixels, self.hours = state["step"], state["pixels"], state["hours"]
        self.best, self.since_best = state.get("best", math.inf), state.get("since_best", 0)
        log(f"resumed at step {self.step}, {self.pixels:.3g} pixels seen")

    def begin(self, tensorboard: bool) -> None:
        """Write the settings, and let SIGTERM and SIGINT end the run after the step under way."""
        if self.place.rank == 0:
            save_toml(self.out / CONFIG, self.config, self.network)
        self.logs = Log(self.out, tensorboard)

        def stop(*_: object) -> None:
            self.why = "stopped"

        for sig in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError):  # not in the main thread (tests)
                signal.signal(sig, stop)
        self.window = _window()

    def update(self, numbered: tuple[int, tuple[Tensor, ...]]) -> None:
        """One step of the optimiser, and of the average."""
        config, device = self.config, self.place.device
        number, (batch, index, *clean) = numbered
        # the noise too depends on the step only
        torch.manual_seed(config.seed * 1_000_003 + number)
        x = _pixels(batch, device)
        target = _pixels(clean[0], device) if clean else x
        index = index.to(device)
        factor = schedule(config, self.step)
        self.learning_rate = config.lr * factor
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr * group["scale"] * factor
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            if isinstance(self.model, RestoringCodec):
                coded = self.step >= config.image_steps * config.steps
                result = self.model(x, index, coded=coded)
            else:
                result = self.model(x, index)
        loss, bpp, mse = objective(config, self.measure, self.model, result, target, index)
        self._descend(loss)
        self.step += 1
        seen = x.shape[0] * x.shape[2] * x.shape[3] * self.place.processes
        self.pixels += seen
        window = self.window
        window["loss"] += loss.item()
        window["bpp"] += bpp.mean().item()
        window["log_mse"] += mse.clamp(min=1e-10).log10().mean().item()
        window["pixels"] += seen
        window["n"] += 1

    def _descend(self, loss: Tensor) -> None:
        """Along the gradient of a loss, if it is finite."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.place.processes > 1:
            self.ended = ranks.average_gradients(self.model, self.step, bool(self.why))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
        else:
            self.place.log(f"step {self.step}: gradient is not finite, step skipped")
        self.norm = norm.item()
        keep = min(self.config.ema, (1 + self.step) / (10 + self.step))
        ours, theirs = list(self.ema.parameters()), list(self.model.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(ours, theirs, 1 - keep)

    def report(self) -> None:
        """Every 50 steps, what they were like."""
        if self.step % 50 and self.step != self.config.steps:
            return
        window = self.window
        n, seconds = window["n"], time.time() - window["start"]
        row = {
            "step": self.step,
            "pixels": self.pixels,
            "loss": window["loss"] / n,
            "bpp": window["bpp"] / n,
            "psnr": -10 * window["log_mse"] / n,
            "lr": self.learning_rate,
            "gradient_norm": self.norm,
            "pixels_per_s": window["pixels"] / seconds,
        }
        self.place.log(
            f"step {self.step:6d}  {self.pixels:9.3g} px  {row['pixels_per_s'] / 1e6:5.2f} Mpx/s  "
            f"loss {row['loss']:.4f}  {row['bpp']:.3f} bpp  {row['psnr']:.2f} dB  "
            f"lr {row['lr']:.1e}  |g| {row['gradient_norm']:.2g}"
        )
        if self.place.rank == 0:
            self.logs.add(STEPS_LOG, row)
        self.window = _window()

    def validate(self, task: Task) -> None:
        """Where it is time, measure held-out images; keep the best, stop where none gets better."""
        due = self.step % self.config.validate_every == 0 or self.step == self.config.steps
        if self.place.rank or not due:
            return
        row, text = task.validate(self.ema)
        self.place.log(text)
        self.logs.add(HELD_OUT_LOG, {"step": self.step, "pixels": self.pixels, **row})
        self.since_best = 0 if row["loss"] < self.best else self.since_best + 1
        if self.since_best == 0:
            self.best = row["loss"]
            self.save()
            shutil.copyfile(self.checkpoint, self.out / BEST)
        elif self.config.patience and self.since_best >= self.config.patience:
            self.why = f"stopped early: no better held-out loss in {self.since_best} validations,"
        self.window["start"] = time.time()

    def keep(self) -> None:
        """Where it is time, write a checkpoint; and see whether the run is to end."""
        if self.place.rank == 0 and self.step % self.config.checkpoint_every == 0:
            self.save()
        if self.place.processes == 1:
            self.ended = bool(self.why)

    def save(self) -> None:
        state = {
            "arch": self.config.arch,
            "network": asdict(self.network),
            "config": asdict(self.config),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "pixels": self.pixels,
            "hours": self.hours,
            "best": self.best,
            "since_best": self.since_best,
        }
        if self.steering is not None:
            state["steering"] = self.steering.state_dict()
        save_checkpoint(state, self.checkpoint)

    def finish(self) -> None:
        if self.place.rank == 0:
            self.save()
        if self.ended:
            why = self.why or "stopped"
            self.place.log(f"{why} at step {self.step}; --resume goes on from {self.checkpoint}")


def _pixels(batch: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, 3, H, W) to float32 in -0.5..0.5, as the networks take it."""
    x = batch.to(device, torch.float32).contiguous(memory_format=torch.channels_last)
    return x.div_(255.0).sub_(0.5)


def _silent(*_: object) -> None:
    pass


def _window() -> dict:
    return {"loss": 0.0, "bpp": 0.0, "log_mse": 0.0, "n": 0, "pixels": 0, "start": time.time()}

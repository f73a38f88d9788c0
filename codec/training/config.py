"""What a training run was asked for: one dataclass, TOML in and out, and refusals of nonsense."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..reading import as_data
from ..restore.restorers import KINDS
from .losses import parse_loss

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ARCHITECTURES = ("aei", "cae", "restore")
OPTIMISERS = ("sgd", "adam", "adamw", "soap", "muon")
SCHEDULES = ("constant", "decay", "cosine")


@dataclass
class TrainConfig:
    """The knobs of a run; `aei train --help` explains each. Saved in every checkpoint and beside
    it."""

    arch: str = "aei"
    restore: str = ""  # what to take out of images, with arch restore
    coder: str = ""  # and the fingerprint of the coding model it is trained in front of
    steps: int = 10_000
    batch: int = 16
    patch: int = 256
    loss: str = "mse"
    lmbda: float = 0.0  # 0: every quality at once
    optimiser: str = "soap"
    lr: float = 4e-3
    momentum: float = 0.9
    precondition_every: int = 10
    precondition_limit: int = 256
    schedule: str = "decay"
    warmup: int = 200
    decay: float = 0.3
    l1: float = 0.0
    l2: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    balance: float = 0.5
    rounding: float = 0.0  # 0: to the nearest
    trellis: bool = False
    image_steps: float = 0.5
    augment: bool = True
    graphics: float = 0.1  # share of the crops
    bf16: bool | None = None  # None: where the device computes it fast
    quantise_prior: bool = False
    freeze_prior: bool = False
    hold_out: float = 0.0
    patience: int = 0
    validate_every: int = 1000
    checkpoint_every: int = 250
    seed: int = 0
    threads: int = 2
    device: str = "cpu"


# What the introductory text trains with: Adam on MSE, batches of 256.
CAE_DEFAULTS: dict = {
    "batch": 256,
    "lmbda": 0.003,
    "optimiser": "adam",
    "lr": 1e-3,
    "schedule": "constant",
    "warmup": 0,
    "ema": 0.0,
    "augment": False,
    "bf16": False,
    "validate_every": 60,
}


def check(config: TrainConfig) -> None:
    """Raise ValueError, in one sentence, for settings that cannot work or cannot be meant."""
    c = config
    loss_names = {name for _, name in parse_loss(c.loss)}
    rules = [
        (c.arch in ARCHITECTURES, f"arch {c.arch!r}: choose {' or '.join(ARCHITECTURES)}"),
        (c.optimiser in OPTIMISERS, f"optimiser {c.optimiser!r}: choose {', '.join(OPTIMISERS)}"),
        (c.schedule in SCHEDULES, f"schedule {c.schedule!r}: choose {', '.join(SCHEDULES)}"),
        (c.steps >= 1, "steps: at least 1"),
        (c.batch >= 1, "batch: at least 1"),
        (c.patch >= 128 and c.patch % 128 == 0, "patch: a multiple of 128"),
        (0 < c.lr <= 1, f"lr {c.lr:g}: between 0 and 1"),
        (
            c.arch == "cae" or c.optimiser == "sgd" or c.lr <= 0.02,
            f"lr {c.lr:g} makes {c.optimiser} diverge on this network: 0.02 at most",
        ),
        (0 <= c.momentum < 1, "momentum: from 0 to below 1"),
        (0 <= c.decay <= 1, "decay: a share of the steps, 0 to 1"),
        (0 <= c.ema < 1, "ema: from 0 to below 1"),
        (c.l1 >= 0 and c.l2 >= 0, "l1 and l2: not negative"),
        (c.lmbda >= 0, "lmbda: not negative (0 trains every quality at once)"),
        (0 <= c.graphics <= 1, "graphics: a share of the crops, 0 to 1"),
        (c.arch != "cae" or c.lmbda > 0, "lmbda: above 0 for the cae, which has one quality"),
        (c.clip > 0, "clip: above 0"),
        (0 <= c.hold_out < 1, "hold_out: a share of the training images, 0 to below 1"),
        (c.warmup >= 0, "warmup: not negative"),
        (c.seed >= 0, "seed: not negative"),
        (c.threads >= 1, "threads: at least 1"),
        (c.precondition_every >= 1, "precondition_every: at least 1"),
        (c.precondition_limit >= 1, "precondition_limit: at least 1"),
        (c.checkpoint_every >= 1, "checkpoint_every: at least 1"),
        (c.patience >= 0, "patience: not negative (0 never stops early)"),
        (c.validate_every >= 1, "validate_every: at least 1"),
        (
            "bce" not in loss_names or c.arch == "cae",
            "loss bce needs pixels from a sigmoid: only --arch cae has one",
        ),
        (
            not c.quantise_prior or c.arch != "cae",
            "quantise_prior: the cae's prior is a table, there is nothing to quantise",
        ),
        (
            not c.quantise_prior or c.arch != "restore",
            "quantise_prior: the prior is frozen while a restoring network trains",
        ),
        (c.rounding >= 0, "rounding: bits, not negative (0 rounds to the nearest)"),
        (
            not c.rounding or c.arch == "aei",
            f"rounding: only --arch aei trains with it, not {c.arch}",
        ),
        (
            not c.trellis or c.rounding > 0,
            "trellis: it weighs bits against errors as --rounding says, which is 0",
        ),
        (0 <= c.image_steps <= 1, "image_steps: a share of the steps, 0 to 1"),
        (
            c.arch != "restore" or c.restore in KINDS,
            f"restore {c.restore!r}: choose {', '.join(KINDS)}",
        ),
        (
            c.arch != "restore" or c.lmbda == 0,
            "lmbda: a restoring network serves every quality: leave it at 0",
        ),
        (
            c.arch == "restore" or not c.restore,
            f"restore {c.restore!r}: only --arch restore does that, not {c.arch}",
        ),
        (
            not c.freeze_prior or c.arch == "aei",
            "freeze_prior: of the cae everything but the prior decides what files mean too",
        ),
    ]
    for holds, sentence in rules:
        if not holds:
            raise ValueError(sentence)


def load_toml(path: Path) -> tuple[dict, dict]:
    """The tables [train] and [network] of a config file. Raises ValueError for unknown knobs and
    for values of another type."""
    try:
        tables = tomllib.loads(bytes(as_data(path)).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not TOML ({error})") from None
    known = {f.name for f in fields(TrainConfig)}
    if not all(isinstance(table, dict) for table in tables.values()):
        raise ValueError(f"{path}: settings stand in the tables [train] and [network]")
    unknown = set(tables) - {"train", "network"} | set(tables.get("train", {})) - known
    if unknown:
        raise ValueError(f"{path}: unknown settings: {', '.join(sorted(unknown))}")
    for name, value in tables.get("train", {}).items():
        wanted = type(getattr(TrainConfig(), name))
        if wanted is type(None):  # bf16, whose default is to find out
            wanted = bool
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ValueError(f"{path}: {name} = {value!r}: a {wanted.__name__} is wanted")
    return tables.get("train", {}), tables.get("network", {})


def save_toml(path: Path, config: TrainConfig, network) -> None:
    """Write what a run used, in the form `load_toml` reads."""
    lines = []
    for table, values in (("train", asdict(config)), ("network", asdict(network))):
        lines.append(f"[{table}]")
        # JSON's numbers, strings and booleans are TOML's; TOML has no null: left out, the default
        # holds
        lines += [f"{k} = {json.dumps(value)}" for k, value in values.items() if value is not None]
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")

"""The introductory text's claim, measured: which choices decide how well the autoencoder does?

Every run starts from the text's own setting (Adam, learning rate 1e-3, MSE, batches of 256) and
changes one thing, except that optimisers and learning rates are crossed, since neither means much
alone. Two more seeds of the text's setting show how much is chance. Judged by held-out mean squared
error of the network without quantisation, the text's own measure.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from .config import CAE_DEFAULTS, TrainConfig, load_toml
from .networks.cae import CaeConfig
from .tasks import network_from_dict
from .train import CONFIG, HELD_OUT_LOG, train

LOSSES = ("mse", "rmse", "l1", "bce", "ms-ssim", "0.5*mse+0.5*l1")
RATES = {
    "sgd": (0.01, 0.1, 1.0),
    "adam": (1e-4, 1e-3, 1e-2),
    "adamw": (1e-4, 1e-3, 1e-2),
    "soap": (3e-4, 3e-3, 1e-2),
}
BATCHES = (32, 64, 256, 1024)
PENALTIES = (("l1", 1e-7), ("l1", 1e-6), ("l1", 1e-5), ("l2", 1e-5), ("l2", 1e-4), ("l2", 1e-3))
SEEDS = (1, 2)
FIELDS = (
    "factor",
    "setting",
    "loss",
    "optimiser",
    "lr",
    "batch",
    "l1",
    "l2",
    "seed",
    "steps",
    "held_out_mse",
    "change_percent",
)


def grid() -> Iterator[tuple[str, str, dict]]:
    """(factor, setting, changes to the text's configuration), the text's own first."""
    yield "text", "adam 1e-3, mse, batch 256", {}
    for more in SEEDS:
        yield "chance", f"seed + {more}", {"seed": more}
    for loss in LOSSES:
        if loss != "mse":
            yield "loss", loss, {"loss": loss}
    for optimiser, rates in RATES.items():
        for lr in rates:
            if (optimiser, lr) != ("adam", 1e-3):
                yield "optimiser", f"{optimiser} {lr:g}", {"optimiser": optimiser, "lr": lr}
    for batch in BATCHES:
        if batch != 256:
            yield "batch", f"batch {batch}", {"batch": batch}
    for name, weight in PENALTIES:
        yield "regularisation", f"{name} {weight:g}", {name: weight}


def study(
    folder: Path,
    images: int,
    out: Path,
    epochs: int,
    seed: int,
    threads: int,
    width: int = CaeConfig.width,
    log: Callable = print,
) -> list[dict]:
    """Run the grid, `epochs` passes over the training images each, resuming where it was stopped.

    folder: CIFAR-10; images: how many training images it has; width: of the network; out: gets one
    folder per run, and `study.csv` with the rows that are returned. Raises ValueError where it
    holds other runs.
    """
    rows: list[dict] = []
    network = network_from_dict("cae", {"width": width, "quantise": False})
    out.mkdir(parents=True, exist_ok=True)
    base = TrainConfig(**CAE_DEFAULTS | {"arch": "cae", "seed": seed, "threads": threads})
    for number, (factor, setting, changes) in enumerate(grid()):
        run = out / f"{number:02d}"
        config = replace(base, **changes)
        config.seed = seed + changes.get("seed", 0)
        config.steps = epochs * -(-images // config.batch)
        config.validate_every = config.checkpoint_every = config.steps
        if (run / HELD_OUT_LOG).is_file():
            if load_toml(run / CONFIG) != (asdict(config), asdict(network)):
                raise ValueError(f"{run} is of another study: choose another folder with --out")
        else:
            train(folder, run, network, config, log=lambda _text: None)
        with (run / HELD_OUT_LOG).open(encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
        row = {"factor": factor, "setting": setting, "held_out_mse": float(last["mse"])}
        row |= {k: getattr(config, k) for k in FIELDS[2:-2]}
        first = rows[0] if rows else row
        row["change_percent"] = round(100 * (row["held_out_mse"] / first["held_out_mse"] - 1), 1)
        rows.append(row)
        log(
            f"{factor:>14}  {setting:<28} held-out MSE {row['held_out_mse']:.5f}  "
            f"{row['change_percent']:+.1f} %"
        )
    with (out / "study.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    return rows


def summary(rows: list[dict]) -> list[str]:
    """One line per factor: its best and its worst setting, against the text's."""
    lines = []
    for factor in dict.fromkeys(row["factor"] for row in rows[1:]):
        group = sorted(
            (row for row in rows if row["factor"] == factor), key=lambda row: row["held_out_mse"]
        )
        best, worst = (
            f"{r['setting']} ({r['change_percent']:+.1f} %)" for r in (group[0], group[-1])
        )
        lines.append(f"{factor:>14}  best {best}, worst {worst}")
    return lines

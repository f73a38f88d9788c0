"""Makes the tiny bundles of this folder: `python tests/golden/make.py OUT [NAME...]`. Needs the
[train] extra.

The committed bundles are results of this script. They pin version 1 of the format: training them
anew gives other weights, hence other fingerprints, and files that the golden files cannot be
compared with.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from aei.codec.models.bundle import Bundle
from aei.codec.training import config
from aei.codec.training.export import export
from aei.codec.training.export.add_analysis import add_analysis
from aei.codec.training.export.add_synthesis import add_synthesis
from aei.codec.training.networks import cae
from aei.codec.training.networks import latent_codec as networks
from aei.codec.training.train import train
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from conftest import synthetic_photo

# Very few channels, but every kind of layer, both shuffles and all four steps are there.
TINY = networks.NetworkConfig(
    latents=12, width8=8, blocks8=1, width16=12, blocks16=2, prior_width=12, prior_blocks=1,
    hyper_latents=6, anchors=2,
)  # fmt: skip


def make_tiny(work: Path, out: Path, name: str = "tiny", network=TINY, **change) -> None:
    photos = work / name
    photos.mkdir()
    for i in range(12):
        Image.fromarray(synthetic_photo(192, 224, seed=100 + i)).save(photos / f"{i}.png")
    settings = config.TrainConfig(
        steps=60, batch=2, patch=128, lr=4e-3, warmup=2, decay=0.3, ema=0.9,
        validate_every=10_000, checkpoint_every=100, threads=1, **change,
    )  # fmt: skip
    run = work / f"{name}-run"
    train(photos, run, network, settings)
    sharpen(run / "last.pt", offsets=bool(change))
    export.export_checkpoint(run / "last.pt", photos, out / f"{name}.bundle", name)


def make_offset(work: Path, out: Path) -> None:
    """Trained with rate-distortion optimised rounding: reconstruction offsets, and tables that are
    no Gaussians."""
    make_tiny(work, out, "offset", rounding=14.0)


def make_trellis(work: Path, out: Path) -> None:
    """Exported with a trellis, as all are since; the two before it were exported without."""
    make_tiny(work, out, "trellis", rounding=14.0)


def make_context(work: Path, out: Path) -> None:
    """With a context of z_hat, and a trellis of 256 states; the one before it has four."""
    make_tiny(work, out, "context", replace(TINY, hyper_context=6), rounding=14.0)


def make_finish(work: Path, out: Path) -> None:
    """With an end at half the resolution: the only one whose integer synthesis has all kinds of
    layers, and previews."""
    network = replace(TINY, hyper_context=6, blocks2=1, width2=8)
    make_tiny(work, out, "finish", network, rounding=14.0)


def add_integers(out: Path) -> None:
    """The integer synthesis of two bundles that were exported before there was one; `offset` and
    `trellis` go without."""
    images = [synthetic_photo(192, 224, seed=100 + i) for i in range(4)]
    for name in ("tiny", "context"):
        add_synthesis(Bundle(out / f"{name}.bundle"), out / f"{name}.bundle", images, int8=False)


def add_analyses(out: Path) -> None:
    """The integer analysis of `context`, and of `finish`, which goes without float graphs of g_a
    and h_a from then on."""
    images = [synthetic_photo(192, 224, seed=100 + i) for i in range(4)]
    for name in ("context", "finish"):
        bundle = out / f"{name}.bundle"
        add_analysis(Bundle(bundle), bundle, images, keep_float=name != "finish")


def sharpen(checkpoint: Path, offsets: bool = False) -> None:
    """A model trained so little has hyper-latents that are all zero, and scales that fit. Larger
    hyper-latents and too small scales make files in which everything occurs: all of z_hat, skipped
    symbols, `code_all`, escapes."""
    state = torch.load(checkpoint, weights_only=True)
    for name, change in (("z_gain", 2.5), ("z_scale", 1.0), ("scale_bias", -0.7)):
        state["ema"][f"{name}.anchors"] += change
    if offsets:  # hardly learned in so few steps
        state["ema"]["offsets"][0], state["ema"]["offsets"][1] = 0.2, -0.1
    if "hyper_context.head.weight" in state["ema"]:
        state["ema"]["hyper_context.head.weight"] += 0.3 * torch.randn(12, 6, 1, 1)
    torch.save(state, checkpoint)


def make_factorized(work: Path, out: Path) -> None:
    folder = work / "cifar"
    folder.mkdir()
    images = np.stack([synthetic_photo(32, 32, seed=i) for i in range(240)])
    np.save(folder / "train_3000.npy", images[:200])
    np.save(folder / "eval_1000.npy", images[200:])
    values = {"arch": "cae", "steps": 200, "batch": 16, "validate_every": 1000, "threads": 1}
    values |= {"lr": 3e-3, "lmbda": 0.05}
    settings = config.TrainConfig(**config.CAE_DEFAULTS | values)
    train(folder, work / "cae", cae.CaeConfig(width=2), settings)
    export.export_checkpoint(work / "cae" / "last.pt", folder, out / "factorized.bundle", "cae")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        makers = make_tiny, make_offset, make_trellis, make_context, make_factorized, make_finish
        wanted = sys.argv[2:] or [make.__name__.removeprefix("make_") for make in makers]
        for make in makers:
            if make.__name__.removeprefix("make_") in wanted:
                make(Path(folder), Path(sys.argv[1]))
        if not sys.argv[2:]:
            add_integers(Path(sys.argv[1]))
            add_analyses(Path(sys.argv[1]))

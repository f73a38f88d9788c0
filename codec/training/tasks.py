"""What the two architectures train on: their data, their model, and how a held-out split judges
it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import validate
from .config import TrainConfig
from .data import cifar
from .data import photographs as data
from .data.graphics import pages as graphics
from .data.tensors import planes_of_images
from .losses import distortion
from .networks.cae import CaeConfig, ConvAutoencoder
from .networks.klt import klt_basis
from .networks.latent_codec import (
    GAIN_LEVELS,
    LAMBDA_MAX,
    LAMBDA_MIN,
    LatentCodec,
    NetworkConfig,
    lagrangian,
    lambda_of_index,
    loss_weight,
)
from .networks.restorer import RestoreConfig, RestoringCodec
from .restore_task import RestoreTask

# What new networks have and stored ones, whose settings name what they have, did not have from the
# start.
NEW_NETWORKS = {"aei": {"hyper_context": 128, "blocks2": 4}}


def model_from_state(
    config: NetworkConfig | CaeConfig, state: dict
) -> LatentCodec | ConvAutoencoder | RestoringCodec:
    """A model with the weights of a state dict."""
    model: LatentCodec | ConvAutoencoder | RestoringCodec
    if isinstance(config, CaeConfig):
        model = ConvAutoencoder(config)
    elif isinstance(config, RestoreConfig):
        own = {k.removeprefix("codec."): v for k, v in state.items() if k.startswith("codec.")}
        model = RestoringCodec(config, empty_codec(config.codec, own))
    else:
        model = empty_codec(config, state)
    model.load_state_dict(state)
    return model


def empty_codec(config: NetworkConfig, state: dict) -> LatentCodec:
    """An untrained model on the linear path of a state dict."""
    basis = state["g_a.klt.weight"][:, :, 0, 0].float()
    return LatentCodec(config, basis, state["g_a.scale"].flatten().float())


def network_from_dict(arch: str, values: dict) -> NetworkConfig | CaeConfig:
    """The network configuration of an architecture. Raises ValueError for settings that are unknown
    or cannot be built."""
    kinds: dict[str, type[NetworkConfig] | type[CaeConfig]]
    kinds = {"cae": CaeConfig, "restore": RestoreConfig}
    kind = kinds.get(arch, NetworkConfig)
    unknown = set(values) - set(kind.__dataclass_fields__)
    if unknown:
        raise ValueError(f"network settings unknown to {arch}: {', '.join(sorted(unknown))}")
    values = dict(values)
    for name in values.keys() & {"hidden_a", "hidden_s"}:
        values[name] = _hidden(name, values)
    for name, value in values.items():
        if name in ("hidden_a", "hidden_s"):
            continue
        least = (
            0 if name in ("depth", "hyper_context", "blocks2") else 2 if name == "anchors" else 1
        )
        if name in ("quantise", "enhance"):
            if not isinstance(value, bool):
                raise ValueError(f"network setting {name} {value!r}: true or false")
        elif type(value) is not int or value < least:
            raise ValueError(f"network setting {name} {value!r}: a whole number, at least {least}")
    latents = values.get("latents", 4)
    if latents % 4 or latents > 768:
        raise ValueError(f"network setting latents {latents}: a multiple of 4, at most 768")
    return kind(**values)


def _hidden(name: str, values: dict) -> tuple[int, ...]:
    """Hidden widths of blocks, from a list or tuple; none, or as many as there are blocks."""
    given = values[name]
    blocks = sum(values.get(n, getattr(NetworkConfig, n)) for n in ("blocks8", "blocks16"))
    sound = isinstance(given, (list, tuple)) and all(type(v) is int and v > 0 for v in given)
    if not sound or len(given) not in (0, blocks):
        raise ValueError(f"network setting {name} {given!r}: a width for each of {blocks} blocks")
    return tuple(given)


def check_same_network(source: str, arch: str, network: dict, asked_arch: str, asked: dict) -> None:
    """Refuse, by ValueError, a network asked for that is not the one whose weights are to be used.

    source: whose weights; arch, network: what it holds; asked: network settings by name, the rest
    open.
    """
    if asked_arch != arch:
        raise ValueError(f"{source} holds a network of --arch {arch}, not {asked_arch}")
    wanted = asdict(network_from_dict(arch, asked))  # refuses unknown names
    has = asdict(network_from_dict(arch, network))
    for name, value in asked.items():
        if has[name] != wanted[name]:
            raise ValueError(
                f"{source} has {name} {has[name]}, not {value}: its weights fit its own network "
                "only; leave out --width, --depth, --quantise and [network], or train from nothing"
            )


@dataclass
class PhotographTask:
    """LatentCodec on crops of photographs, judged by BD-rate against JPEG on held-out ones."""

    config: TrainConfig
    photos: data.Photographs

    def __post_init__(self) -> None:
        self.held_out = [validate.crop_to(image) for image in self.photos.held_out[:10]]
        self.jpeg = validate.jpeg_curve(self.held_out)
        side = max(graphics.PAGE, self.config.patch)
        self.pages = graphics.PagePool(self.config.seed, side, self.photos.train)

    def describe(self) -> str:
        return f"{len(self.photos.train)} images to train on, {len(self.photos.held_out)} held out"

    def build(self, network: NetworkConfig) -> LatentCodec:
        return LatentCodec(network, *klt_basis(self.photos.train, network.latents))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        c = self.config
        x, index = data.batch_of(
            self.photos, c.batch, c.patch, c.seed, step, c.augment, self.pages, c.graphics
        )
        if c.lmbda > 0:
            index = torch.full_like(index, index_of_lambda(c.lmbda))
        return x, index

    def validate(self, model: nn.Module) -> tuple[dict, str]:
        c = self.config
        curve = validate.model_curve(model, self.held_out, device=c.device, bf16=bool(c.bf16))
        value = validate.bd_rate_to_jpeg(self.jpeg, curve)
        lambdas = [lambda_of_index(i) for i in validate.INDEXES]
        terms = [
            loss_weight(lam, c.balance) * lagrangian(lam, 10 ** (-q / 10), b)
            for lam, b, q in zip(lambdas, *curve)
        ]
        points = ", ".join(f"{b:.3f}/{p:.2f}" for b, p in zip(*curve))
        return (
            {"loss": float(np.mean(terms)), "bd_rate": value},
            f"  held-out BD-rate against JPEG {value:+.2f} %  (bpp/dB {points})",
        )


@dataclass
class CifarTask:
    """ConvAutoencoder on CIFAR-10, judged by mean squared error (pixels 0..1) on held-out
    images."""

    config: TrainConfig
    images: cifar.Cifar

    def describe(self) -> str:
        return (
            f"{self.images.source}: {len(self.images.train)} images to train on, "
            f"{len(self.images.held_out)} held out"
        )

    def build(self, network: CaeConfig) -> ConvAutoencoder:
        return ConvAutoencoder(network)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        c = self.config
        return cifar.batch_of(self.images.train, c.batch, c.seed, step, c.augment)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> tuple[dict, str]:
        loss = bpp = mse = 0.0
        measure = distortion(self.config.loss)
        for chunk in np.array_split(self.images.held_out, -(-len(self.images.held_out) // 500)):
            x = planes_of_images(chunk).to(self.config.device) / 255.0 - 0.5
            out = model(x, torch.zeros(len(x), device=x.device), noisy=False)
            rate = (out["y_bits"] + out["z_bits"]) / (x.shape[2] * x.shape[3])
            cost = measure(out["x_hat"], x)
            if model.config.quantise:  # type: ignore[union-attr]
                cost = lagrangian(self.config.lmbda, cost, rate)
            loss += float(cost.sum())
            bpp += float(rate.sum())
            mse += float((out["x_hat"] - x).square().mean((1, 2, 3)).sum())
        n = len(self.images.held_out)
        row = {"loss": loss / n, "mse": mse / n, "bpp": bpp / n}
        text = f"  held-out MSE {row['mse']:.5f}, {row['bpp']:.3f} bpp, loss {row['loss']:.4f}"
        return row, text


def index_of_lambda(lmbda: float) -> float:
    """The gain index whose lambda this is, clipped to 0..255."""
    position = np.log(lmbda / LAMBDA_MIN) / np.log(LAMBDA_MAX / LAMBDA_MIN)
    return float(np.clip(position, 0, 1) * (GAIN_LEVELS - 1))


def split_by_seed(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indexes of 0..count-1 to train on, and those held out: at least one of each. Both in
    order."""
    order = np.random.default_rng(seed).permutation(count)
    held = min(count - 1, max(1, round(share * count)))
    if held < 1:
        raise ValueError("hold_out: two training images or more are needed to hold one out")
    return np.sort(order[held:]), np.sort(order[:held])


def cae_images(config: TrainConfig, folder: Path) -> cifar.Cifar:
    """The images of the cae, split as `hold_out` asks."""
    images = cifar.load_images(folder, config.seed)
    if config.hold_out == 0:
        return images
    train, held = split_by_seed(len(images.train), config.hold_out, config.seed)
    return replace(images, train=images.train[train], held_out=images.train[held])


Task = PhotographTask | CifarTask | RestoreTask


def make_task(config: TrainConfig, folder: Path) -> Task:
    """The task of an architecture, its data loaded from a folder.

    With `hold_out`, a share of the training images, drawn by the seed, is what validation sees; the
    data's own held-out images are then used for nothing.
    """
    if config.arch == "cae":
        return CifarTask(config, cae_images(config, folder))
    photos = data.load_photographs(folder)
    if config.hold_out > 0:
        train, held = split_by_seed(len(photos.train), config.hold_out, config.seed)
        kept = {id(photos.train[i]) for i in train}
        photos = replace(
            photos,
            train=[photos.train[i] for i in train],
            held_out=[photos.train[i] for i in held],
            lossless=[image for image in photos.lossless if id(image) in kept],
        )
    return (RestoreTask if config.arch == "restore" else PhotographTask)(config, photos)

"""The analysis of a trained model, g_a and h_a, as programs of integers (docs/ENCODER.md), and what
that costs.

As the synthesis: steps of activations come from what calibration images make of the float network,
`fixed_point` chooses shifts and weights, and proves that sums fit int32. Weights are stored once:
`float_weights` gives them back, to train on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save
from torch import nn

from ...exact import analysis as exact
from ...exact.analysis_program import (
    ASINH_BITS,
    KNOTS,
    LATENT_BITS,
    LEVEL_HIGH,
    LEVEL_LOW,
    MOST_LEFT,
    MOST_SHIFT,
    TABLE,
    Analysis,
    read_analysis,
)
from ...exact.payload import encode_latents
from ...exact.prior import Prior, sha256_of
from ...exact.program import LOW, Synthesis
from ...exact.synthesis import run, to_levels
from ...settings import GAIN_LEVELS
from ..data.tensors import tensor_of_image
from ..networks.latent_codec import Block, LatentCodec, lambda_of_index
from .fixed_point import SLOPE, Moments, Writer, fractions
from .synthesis import HEADROOM, INDEXES, LEAST_LEAKY, REPORTED, REPORTED_IMAGES, Seen

PRIOR_SLOPE = 4096  # 1/8 in units of 2^-15
LEAST_PRIOR_LEAKY = max(LOW, (LOW * PRIOR_SLOPE + 16384) >> 15)
INNER, OUTER = ".inner", ".outer"  # of a weight: exponents of inputs and outputs
LEVELS = ("g_a.stem", "g_a.klt")  # layers that see levels


def asinh_table() -> np.ndarray:
    """Knots of asinh, int16 (TABLE,): of latents with LATENT_BITS, in units of 2^-ASINH_BITS."""
    k = np.arange(TABLE)
    u = (KNOTS + k % KNOTS) * 2.0 ** (k // KNOTS + LATENT_BITS) / KNOTS
    return np.rint(np.arcsinh(u * 2.0**-LATENT_BITS - 1) * 2.0**ASINH_BITS).astype(np.int16)


@torch.no_grad()
def observe(model: LatentCodec, images: list[np.ndarray]) -> Seen:
    """Activations of g_a and h_a on images, uint8 (H, W, 3), sides multiples of 16, at INDEXES."""
    seen = Seen()
    handles = []
    for name, module in model.named_modules():
        if not name.startswith(("g_a.", "h_a.")):
            continue
        if isinstance(module, Block):
            stream = f"g_a.{name.split('.')[1]}"

            def ends(m, args, out, stream=stream):
                seen.watch(stream, args[0])
                seen.watch(stream, out)

            handles.append(module.register_forward_hook(ends))
        elif isinstance(module, nn.Conv2d):

            def hook(m, args, out, name=name):
                seen.watch(name, out)
                x = args[0]
                if name in LEVELS:
                    x = torch.round(255 * x - 0.5)
                if m.kernel_size == (3, 3) and m.groups == 1:
                    h, w = out.shape[2:]
                    x = F.unfold(x, 3, stride=2, padding=1).view(1, -1, h, w)
                if m.groups == 1:
                    seen.gather(name, x)

            handles.append(module.register_forward_hook(hook))
    for half in (0, 1):  # each image at every other index
        for index in INDEXES[half::2]:
            for image in images[half::2]:
                floats(model, image, index)
    for handle in handles:
        handle.remove()
    return seen


def floats(model: LatentCodec, image: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """y and z of an image, uint8 (H, W, 3), by the float network: float32 (h, w, M) and (hz, wz,
    Z), in symbols' steps."""
    gain_index = torch.tensor([float(index)])
    x = tensor_of_image(image)
    y = model.g_a(x, gain_index) * model.gain(gain_index)
    z = model.h_a(y) * model.z_gain(gain_index)
    y, z = (a[0].permute(1, 2, 0).contiguous() for a in (y, z))
    return y.numpy(), z.numpy()


class _Programs:
    """Writes the programs of one model."""

    def __init__(self, model: LatentCodec, seen: Seen):
        self.model, self.seen = model, seen
        self.writer = Writer()
        self.layers: list[dict] = []
        self._count: dict[str, int] = defaultdict(int)
        index = torch.arange(GAIN_LEVELS, dtype=torch.float32)
        self._rows = lambda module: module(index)[:, :, 0, 0].detach().double().numpy()

    def add(self, layer: dict, source: str | list[str]) -> str:
        """Append a layer; returns its register."""
        self._count[layer["op"]] += 1
        name = f"{layer['op']}{self._count[layer['op']]}"
        self.layers.append({"in": source, "out": name} | layer)
        return name

    def numbers(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias of a convolution, float64, as a matrix but for depthwise ones; those that
        see levels take them."""
        module = self.model.get_submodule(name)
        weight: np.ndarray = module.weight.detach().double().numpy()
        if module.groups > 1:
            weight = weight[:, 0]
        elif weight.shape[2] == 3:
            weight = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
        else:
            weight = weight[:, :, 0, 0]
        bias: np.ndarray = np.zeros(len(weight))
        if module.bias is not None:
            bias = module.bias.detach().double().numpy()
        if name in LEVELS:
            weight = weight / 255
            bias = bias + 0.5 * weight.sum(1)
        return weight, bias

    def moments(self, name: str) -> Moments | None:
        found = self.seen.moments.get(name)
        module = self.model.get_submodule(name)
        if found is None or module.kernel_size[0] == 1:
            return found
        channels = module.in_channels
        order = np.arange(9 * channels).reshape(channels, 9).T.ravel()
        order = np.append(order, 9 * channels)
        return Moments(found.total[np.ix_(order, order)], found.count)

    def remember(self, name: str, inner: np.ndarray, outer: np.ndarray) -> None:
        self.writer.arrays[f"{name}{INNER}"] = inner.astype(np.int8)
        self.writer.arrays[f"{name}{OUTER}"] = outer.astype(np.int8)

    def conv(self, name, source, fraction, out, *, free, **limits) -> tuple[str, np.ndarray]:
        """A convolution: its register, and the fractions of its output."""
        weight, bias = self.numbers(name)
        layer, out = self.writer.conv(
            name, weight, bias, fraction, out, free=free, moments=self.moments(name), **limits
        )
        self.remember(name, -fraction, layer["shift"] + out)
        return self.add(layer, source), out

    def sums(self, name, fraction, factor=1.0, **limits) -> tuple[dict, np.ndarray]:
        """A layer of sums, and the fractions of its output; factor: of that, a number or (D,)."""
        weight, bias = self.numbers(name)
        scale = np.broadcast_to(factor, len(bias))
        layer, out = self.writer.sums(
            name, weight * scale[:, None], bias * scale, fraction,
            moments=self.moments(name), **limits,
        )  # fmt: skip
        self.remember(name, -fraction, out)
        return layer, out

    def range(self, name: str) -> np.ndarray:
        return fractions(self.seen.largest[name], HEADROOM)

    def gain(self, name: str, x: str, fraction: np.ndarray, out: np.ndarray) -> str:
        rows = self._rows(self.model.get_submodule(name))
        return self.add(self.writer.row(name, rows, fraction, out), x)

    def leaky(self, x: str, slope: int) -> str:
        return self.add({"op": "leaky", "slope": slope}, x)

    def block(self, name: str, x: str, stream: np.ndarray) -> str:
        a, f = self.conv(f"{name}.dw", x, stream, self.range(f"{name}.dw"), free=True)
        a, f = self.conv(f"{name}.up", a, f, self.range(f"{name}.up"), free=True)
        a = self.leaky(a, SLOPE)
        a, _ = self.conv(f"{name}.down", a, f, stream, free=False, low=LEAST_LEAKY)
        return self.add({"op": "add"}, [x, a])

    def unshuffle(self, x: str, size: int) -> str:
        return self.add({"op": "unshuffle", "size": size}, x)

    def stage(self, name: str, x: str, fraction: np.ndarray, size: int, **limits) -> tuple:
        """What leads to the blocks at 1/size of the image's sides, and those: a register, and its
        fractions."""
        convolution = "g_a.stem" if size == 8 else "g_a.shrink"
        f = self.unshuffle(x, 8 if size == 8 else 2)
        f, part = self.conv(convolution, f, fraction, self.range(convolution), free=True, **limits)
        stream = self.range(name)
        f = self.gain(f"g_a.gain{size}", f, part, stream)
        for i in range(len(self.model.get_submodule(name))):
            f = self.block(f"{name}.{i}", f, stream)
        return f, stream

    def g_a(self) -> list[dict]:
        self.layers = []
        levels = {"low": LEVEL_LOW, "high": LEVEL_HIGH}
        f, stream = self.stage("g_a.blocks8", "x", np.zeros(3 * 64, np.int64), 8, **levels)
        f, stream = self.stage("g_a.blocks16", f, stream.repeat(4), 16)
        scale = self.model.g_a.scale.double().numpy().ravel()
        head, part = self.sums("g_a.head", stream, scale)
        zeros = np.zeros(3 * 256, np.int64)
        klt, finest = self.sums("g_a.klt", zeros, most=part + MOST_LEFT, **levels)
        if (part - finest).max() > MOST_LEFT:
            head, part = self.sums("g_a.head", stream, scale, most=finest + MOST_LEFT)
        f = self.add(head, f)
        x = self.add(klt, self.unshuffle("x", 16))
        common = np.maximum(part, finest)
        self.writer.arrays["g_a.left"] = np.array([common - finest, common - part], np.uint8)
        gain = self._rows(self.model.gain)
        factors = self.writer.factors("g_a.gain", gain, LATENT_BITS - common, MOST_SHIFT)
        self.add({"op": "latents", "left": "g_a.left"} | factors, [x, f])
        return self.layers

    def h_a(self) -> list[dict]:
        self.layers = []
        self.writer.arrays["h_a.asinh"] = asinh_table()
        x = self.add({"op": "asinh", "table": "h_a.asinh"}, "y")
        most = int(self.writer.arrays["h_a.asinh"][-1])
        channels = self.model.h_a.stem.in_channels
        f, part = self.conv(
            "h_a.stem", x, np.full(channels, ASINH_BITS), self.range("h_a.stem"), free=True,
            low=-most, high=most,
        )  # fmt: skip
        f = self.add({"op": "neighbours"}, self.leaky(f, PRIOR_SLOPE))
        f, part = self.conv(
            "h_a.down1", f, np.tile(part, 9), self.range("h_a.down1"), free=True,
            low=LEAST_PRIOR_LEAKY,
        )  # fmt: skip
        f = self.add({"op": "neighbours"}, self.leaky(f, PRIOR_SLOPE))
        layer, part = self.sums("h_a.down2", np.tile(part, 9), low=LEAST_PRIOR_LEAKY)
        f = self.add(layer, f)
        factors = self.writer.factors("h_a.gain", self._rows(self.model.z_gain), -part, MOST_SHIFT)
        self.add({"op": "symbols"} | factors, f)
        return self.layers


def quantise_analysis(
    model: LatentCodec, images: list[np.ndarray]
) -> tuple[dict, dict[str, np.ndarray]]:
    """The integer analysis of a model: what analysis.json holds, and its arrays.

    images: uint8 (H, W, 3), sides multiples of 32, to calibrate on. Raises ValueError where a sum
    cannot be proven to fit int32.
    """
    model = model.float().eval()
    programs = _Programs(model, observe(model, images))
    description = {
        "latents": model.config.latents, "hyper_latents": model.config.hyper_latents,
        "stride": 16, "hyper_stride": 4, "latent_bits": LATENT_BITS,
        "g_a": programs.g_a(), "h_a": programs.h_a(),
    }  # fmt: skip
    return description, programs.writer.arrays


def float_weights(arrays: dict[str, np.ndarray], scale: np.ndarray) -> dict[str, np.ndarray]:
    """Weights and biases of g_a and h_a from their integers, float32, by the names of the torch
    model, their shapes but for dimensions of one. arrays: of analysis.safetensors; scale:
    g_a.scale, which is in the weights of its head."""
    state = {}
    for name in (n.removesuffix(INNER) for n in arrays if n.endswith(INNER)):
        inner, outer = (2.0 ** -arrays[f"{name}{end}"].astype(np.float64) for end in (INNER, OUTER))
        weight, bias = arrays[f"{name}.weight"].astype(np.float64), arrays[f"{name}.bias"] * outer
        if weight.ndim == 3:
            weight = weight * (inner * outer)[:, None, None]
        else:
            weight = weight * inner * outer[:, None]
        if name in LEVELS:
            bias = bias - 0.5 * weight.sum(1)
            weight = weight * 255
        if name == "g_a.head":
            weight, bias = weight / scale.reshape(-1, 1), bias / scale.ravel()
        if name in ("h_a.down1", "h_a.down2"):
            weight = weight.reshape(len(weight), 3, 3, -1).transpose(0, 3, 1, 2)
        state[f"{name}.weight"] = weight.astype(np.float32)
        state[f"{name}.bias"] = bias.astype(np.float32)
    return state


@torch.no_grad()
def cost_of_integers(
    model: LatentCodec,
    analysis: Analysis,
    prior: Prior,
    synthesis: Synthesis,
    images: list[np.ndarray],
) -> dict:
    """Rate and PSNR with the float and with the integer analysis, over images at REPORTED gain
    indexes, for the manifest. `lost_percent` is of the rate at equal PSNR: what errors are worth by
    the model's lambda is added to the bits."""
    found = {}
    for index in REPORTED:
        worth = lambda_of_index(index) / 3  # bits of a squared level, of one channel of one pixel
        bits, errors, size = np.zeros(2), np.zeros(2), 0
        for image in images:
            y = exact.latents(analysis, image, index)
            z = exact.hyper_symbols(analysis, y, index).astype(np.float32)
            pairs = floats(model, image, index), (exact.in_steps(y), z)
            for k, (y, z) in enumerate(pairs):
                coded = encode_latents(prior, index, y, z, model.rounding is not None)[2]
                made = run(synthesis.synthesis, [coded.y_hat], len(coded.y_hat), index)
                shown = to_levels(np.concatenate(list(made)), False)
                error: np.ndarray = shown - image.astype(np.float64)
                bits[k] += coded.bits
                errors[k] += np.square(error).sum()
            size += image.size
        psnr = 10 * np.log10(255**2 * size / errors)
        cost = bits + worth * errors
        found[str(index)] = {
            "float_bits": round(bits[0]), "integer_bits": round(bits[1]),
            "float_db": round(float(psnr[0]), 3), "lost_db": round(float(psnr[0] - psnr[1]), 4),
            "lost_percent": round(float(100 * (cost[1] - cost[0]) / bits[0]), 3),
        }  # fmt: skip
    return found


def write_analysis(
    folder: Path,
    model: LatentCodec,
    images: list[np.ndarray],
    prior: Prior,
    synthesis: Synthesis | None,
) -> dict:
    """Write analysis.json and analysis.safetensors of a model; what the manifest says of them.

    images: uint8 (H, W, 3), sides multiples of 32, to calibrate on; synthesis: the integer one,
    without which costs are not measured. Raises ValueError where a sum cannot be proven to fit
    int32.
    """
    description, arrays = quantise_analysis(model, images)
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    (folder / "analysis.json").write_text(text, encoding="utf-8")
    content = save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
    (folder / "analysis.safetensors").write_bytes(content)
    facts: dict = {"sha256": sha256_of(text, arrays).hex()}
    analysis = read_analysis(description, arrays, prior.program)
    if synthesis is not None:
        some = images[:REPORTED_IMAGES]
        facts["cost"] = cost_of_integers(model, analysis, prior, synthesis, some)
    return facts

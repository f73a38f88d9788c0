"""The float prior as integers: fixed-point formats, accumulator bounds, tables
(docs/format/specification.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from ...exact.hyper_latents import MEAN_MOST
from ...search.slopes import LOG_SCALE_STEP, SCALE_LEVELS, SCALE_MIN
from ..data.tensors import tensor_of_image
from ..networks.latent_codec import GAIN_LEVELS, STEPS, LatentCodec
from ..symbols.scales import magnitude
from ..symbols.tables import (
    HALF_STEP,
    HYPER_LEVELS,
    PHASE_BITS,
    gaussian_at,
    gaussian_tables,
    hyper_shapes,
    tables_of_masses,
)

MEAN_BITS = 6
MOST_OFFSET = (1 << MEAN_BITS) - 1  # below a step
HEADROOM = 2.0  # activations may grow to twice what calibration saw before they are clamped
ACTIVATION = 32768
MAX_SYMBOL = 32767
EXACT = 2.0**52
SKIP_BELOW = 1
MAX_FRACTION = 12
PRIOR_PARTS = ("h_s", "context", "hyper_context")  # modules that the run time executes as integers


@dataclass
class IntegerPrior:
    """What export writes: the program, its arrays, and what is needed to undo the rounding."""

    program: dict
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    exponents: dict[str, int] = field(default_factory=dict)  # weight = integer / 2^exponent


def fraction_bits(largest: float) -> int:
    """Fractional bits with which |values| up to HEADROOM * largest fit int16."""
    return min(MAX_FRACTION, math.floor(math.log2(ACTIVATION / (HEADROOM * max(largest, 1e-3)))))


class _RoundSte(torch.autograd.Function):
    """Rounding to a grid and clamping to its range, with the gradient of the identity."""

    @staticmethod
    def forward(ctx, x, fraction):
        scale = 2.0**fraction
        return (x * scale).round().clamp(-ACTIVATION, ACTIVATION - 1) / scale

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def fake_quantise(model: LatentCodec, fraction: int = 10) -> None:
    """Quantisation-aware training: the activations of the prior's convolutions are rounded to int16
    fixed point and clamped in the forward pass, as the interpreter will do, with straight-through
    gradients. `fraction` is the number of fractional bits, the usual choice of calibration."""
    for name, module in model.named_modules():
        if name.startswith(PRIOR_PARTS) and isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, args, out: _RoundSte.apply(out.float(), fraction).to(out.dtype)
            )


def prove(name: str, bound: float) -> None:
    """Refuse a layer whose accumulator could reach 2^52 in magnitude."""
    if not bound < EXACT:
        raise ValueError(f"{name}: accumulators may reach 2^{math.log2(bound):.1f}, over 2^52")


def _observe(model: LatentCodec, images: list[np.ndarray]) -> dict[str, float]:
    """Largest |activation| of every module of the prior, over images and gain indexes."""
    seen: dict[str, float] = {}

    def watch(name: str, value: torch.Tensor) -> None:
        seen[name] = max(seen.get(name, 0.0), float(value.abs().max()))

    handles = []
    for name, module in model.named_modules():
        if name.startswith(PRIOR_PARTS):
            handles.append(
                module.register_forward_hook(lambda m, args, out, name=name: watch(name, out))
            )
            handles.append(
                module.register_forward_pre_hook(
                    lambda m, args, name=name: watch(f"{name}.in", args[0])
                )
            )
    original = [step.features for step in model.context]

    def features(k: int):
        def run(h, view):
            watch("stream", h)
            if view is not None:
                watch("view", view)
                watch("stream", h + model.context[k].view(view))
            out = original[k](h, view)
            watch("stream", out)
            head = model.context[k].head(out)
            watch("mean", head.unflatten(1, (4, 2, -1))[:, :, 0])
            return out

        return run

    for k, step in enumerate(model.context):
        step.features = features(k)
    with torch.no_grad():
        for i, image in enumerate(images):
            x = tensor_of_image(image)
            for index in np.linspace(0, GAIN_LEVELS - 1, 6) if i % 4 == 0 else (40.0, 215.0):
                model(x, torch.tensor([float(index)]), noisy=False)
    for handle in handles:
        handle.remove()
    for step in model.context:
        del step.features  # uncovers the method again
    return seen


class _Writer:
    """Adds layers to programs, with weights in the largest format that int16 and 2^52 allow."""

    def __init__(self, model: LatentCodec, prior: IntegerPrior):
        self.state = {k: v.detach().double().numpy() for k, v in model.state_dict().items()}
        self.prior = prior

    def weight(self, name: str, w: np.ndarray, fraction_in: int, bias: np.ndarray) -> int:
        """Store weight and bias; returns the accumulator's fractional bits."""
        exponent = math.floor(math.log2(32767 / max(np.abs(w).max(), 1e-9)))
        exponent = min(exponent, 20)
        integer = np.rint(w * 2.0**exponent).astype(np.int16)
        fraction = fraction_in + exponent
        b = np.rint(bias * 2.0**fraction).astype(np.int64)
        rows = np.abs(integer.astype(np.float64)).reshape(len(integer), -1).sum(1)
        prove(name, float((rows * ACTIVATION + np.abs(b)).max()) + 2.0**40)
        self.prior.arrays[f"{name}.weight"] = integer
        self.prior.arrays[f"{name}.bias"] = b
        self.prior.exponents[name] = exponent
        return fraction

    def conv(self, program: list, name: str, source: str, out: str, f_in: int, f_out: int) -> None:
        w = self.state[f"{name}.weight"]
        depthwise = w.shape[2] == 3
        w = w[:, 0] if depthwise else w[:, :, 0, 0]
        fraction = self.weight(name, w, f_in, self.state[f"{name}.bias"])
        if fraction - f_out < 1:
            raise ValueError(f"{name}: no fractional bits to round away")
        program.append(
            {
                "op": "depthwise3x3" if depthwise else "conv1x1",
                "in": source,
                "out": out,
                "weight": f"{name}.weight",
                "bias": f"{name}.bias",
                "shift": fraction - f_out,
            }
        )

    def head(self, name: str, groups: int, stream: int, scale_exponent: int) -> int:
        """Store a head, whose means and log scales have formats of their own; returns the exponent
        of the means' weights."""
        weight, bias = self.state[f"{name}.weight"][:, :, 0, 0], self.state[f"{name}.bias"]
        is_scale = scale_rows(len(weight), groups)
        largest = max(np.abs(weight[~is_scale]).max(), 1e-9)
        exponent = min(math.floor(math.log2(32767 / largest)), 20)
        factor = np.where(is_scale, 2.0**scale_exponent / LOG_SCALE_STEP, 2.0**exponent)
        integer = np.rint(weight * factor[:, None]).astype(np.int16)
        b = np.rint(bias * factor * 2.0**stream).astype(np.int64)
        self.prior.arrays[f"{name}.weight"], self.prior.arrays[f"{name}.bias"] = integer, b
        self.prior.exponents[f"{name}.mean"] = exponent
        self.prior.exponents[f"{name}.scale"] = scale_exponent
        sums = np.abs(integer.astype(np.float64)).sum(1)
        prove(name, float((sums * ACTIVATION + np.abs(b)).max()) + 2.0**40)
        return exponent


def scale_rows(outputs: int, groups: int) -> np.ndarray:
    """Which rows of a head are log scales, the second half of each group: bool (outputs,)."""
    return np.tile(np.repeat([False, True], outputs // (2 * groups)), groups)


def _scale_exponent(heads: list[np.ndarray], groups: int, stream: int) -> int:
    """Of the weights of log scales, in levels; at most 24 fractional bits in all, so that bias rows
    (up to 63 levels and some) fit int32."""
    largest = max(np.abs(h[scale_rows(len(h), groups)]).max() for h in heads) / LOG_SCALE_STEP
    return min(math.floor(math.log2(32767 / max(largest, 1e-9))), 24 - stream)


def _rows(values: torch.Tensor, exponent: float) -> np.ndarray:
    rows = np.rint(values.detach().double().numpy() * 2.0**exponent)
    if np.abs(rows).max() >= 2**31:
        raise ValueError("a row of multipliers does not fit int32")
    return rows.astype(np.int32)


@torch.no_grad()
def _offsets(model: LatentCodec) -> np.ndarray:
    """The reconstruction offsets in fixed point, int16 (scales, 2)."""
    scale = SCALE_MIN * (torch.arange(SCALE_LEVELS) * LOG_SCALE_STEP).exp()
    sizes = torch.tensor([1.0, 2.0])
    offsets = torch.stack(
        [n - magnitude(n.expand(SCALE_LEVELS), scale, model.offsets) for n in sizes], 1
    )
    fixed = (offsets * (1 << MEAN_BITS)).round().clamp(-MOST_OFFSET, MOST_OFFSET)
    return fixed.numpy().astype(np.int16)


def quantise_prior(model: LatentCodec, calibration: list[np.ndarray]) -> IntegerPrior:
    """The integer prior of a trained model.

    calibration: uint8 (H, W, 3) images, sides multiples of 32, on which activation ranges are
    taken. Raises ValueError where a layer's accumulator cannot be proven below 2^52.
    """
    model = model.float().eval()
    seen = _observe(model, calibration)
    c = model.config
    program: dict = {
        "latents": c.latents,
        "hyper_latents": c.hyper_latents,
        "stride": 16,
        "hyper_stride": 4,
        "mean_bits": MEAN_BITS,
        "scales": SCALE_LEVELS,
        "skip_below": SKIP_BELOW,
        "order": model.group_of,
    }
    prior = IntegerPrior(program)
    w = _Writer(model, prior)
    index = torch.arange(GAIN_LEVELS, dtype=torch.float32)

    def row(module) -> torch.Tensor:
        return module(index)[:, :, 0, 0]

    # h_s
    f_z = fraction_bits(seen["h_s.stem.in"])
    z_shift = 10
    prior.arrays["rows.z_multiplier"] = _rows(row(model.z_in_gain), f_z + z_shift)
    prior.arrays["rows.z_bias"] = _rows(row(model.z_in_bias), f_z + z_shift)
    z_rows = np.abs(prior.arrays["rows.z_multiplier"]).max() * float(MAX_SYMBOL + MEAN_MOST)
    prove("rows.z", float(z_rows + np.abs(prior.arrays["rows.z_bias"]).max()))
    f1 = fraction_bits(seen["h_s.stem"])
    f2 = fraction_bits(seen["h_s.up1"])
    f3 = fraction_bits(seen["h_s.dw1"])
    f4 = fraction_bits(seen["h_s.up2"])
    f5 = fraction_bits(seen["h_s.dw2"])
    stream = fraction_bits(seen["stream"])
    hyper: list[dict] = [
        {
            "op": "row",
            "in": "z",
            "out": "a",
            "multiplier": "rows.z_multiplier",
            "bias": "rows.z_bias",
            "shift": z_shift,
        }
    ]
    leaky = {"op": "leaky", "in": "a", "out": "a"}
    shuffle = {"op": "shuffle", "in": "a", "out": "a"}
    w.conv(hyper, "h_s.stem", "a", "a", f_z, f1)
    hyper.append(leaky)
    w.conv(hyper, "h_s.up1", "a", "a", f1, f2)
    hyper.append(shuffle)
    w.conv(hyper, "h_s.dw1", "a", "a", f2, f3)
    hyper.append(leaky)
    w.conv(hyper, "h_s.up2", "a", "a", f3, f4)
    hyper.append(shuffle)
    w.conv(hyper, "h_s.dw2", "a", "a", f4, f5)
    hyper.append(leaky)
    w.conv(hyper, "h_s.head", "a", "a", f5, stream)
    program["hyper"] = hyper

    # the rows around the context model
    f_view, f_mean = fraction_bits(seen["view"]), fraction_bits(seen["mean"])
    program["fractions"] = {"z": f_z, "stream": stream, "view": f_view}  # for restoring only
    view_shift, mean_shift = 16, 14
    prior.arrays["rows.view_multiplier"] = _rows(
        row(model.view_gain), f_view - MEAN_BITS + view_shift
    )
    prior.arrays["rows.mean_multiplier"] = _rows(
        row(model.mean_gain), MEAN_BITS - f_mean + mean_shift
    )
    mean_bound = np.abs(prior.arrays["rows.mean_multiplier"]).max() * float(ACTIVATION)
    prove("rows.mean", mean_bound)
    # values of the trellis, which export adds, stand for more than steps
    y_bound = (
        MAX_SYMBOL * (2.0 * HALF_STEP * 2.0**MEAN_BITS + 1) + mean_bound * 2.0**-mean_shift + 1
    )
    if y_bound >= 2**31:
        raise ValueError("y_hat does not fit int32")
    prove("rows.view", y_bound * float(np.abs(prior.arrays["rows.view_multiplier"]).max()))
    program["view_multiplier"], program["view_shift"] = "rows.view_multiplier", view_shift
    program["mean_multiplier"], program["mean_shift"] = "rows.mean_multiplier", mean_shift

    # the four steps
    heads = [w.state[f"context.{k}.head.weight"][:, :, 0, 0] for k in range(STEPS)]
    scale_exponent = _scale_exponent(heads, STEPS, stream)
    scale_shift = stream + scale_exponent
    steps = []
    for k in range(STEPS):
        features: list[dict] = []
        source = "h"
        if k > 0:
            w.conv(features, f"context.{k}.view", "view", "f", f_view, stream)
            features.append({"op": "add", "in": ["h", "f"], "out": "f"})
            source = "f"
        features.append({"op": "leaky", "in": source, "out": "f"})
        for i in range(c.prior_blocks):
            name = f"context.{k}.blocks.{i}"
            f_pw, f_dw = fraction_bits(seen[f"{name}.pw1"]), fraction_bits(seen[f"{name}.dw"])
            w.conv(features, f"{name}.pw1", "f", "a", stream, f_pw)
            features.append(leaky)
            w.conv(features, f"{name}.dw", "a", "a", f_pw, f_dw)
            w.conv(features, f"{name}.pw2", "a", "a", f_dw, stream)
            features.append({"op": "add", "in": ["f", "a"], "out": "f"})
        name = f"context.{k}.head"
        exponent = w.head(name, STEPS, stream, scale_exponent)
        if stream + exponent - f_mean < 1:
            raise ValueError(f"{name}: no fractional bits to round away")
        steps.append(
            {
                "features": features,
                "weight": f"{name}.weight",
                "bias": f"{name}.bias",
                "mean_shift": stream + exponent - f_mean,
                "scale_shift": scale_shift,
            }
        )
    program["steps"] = steps
    program["scale_bias"] = "rows.scale_bias"
    prior.arrays["rows.scale_bias"] = _rows(row(model.scale_bias) / LOG_SCALE_STEP, scale_shift)

    offsets = _offsets(model)
    if offsets.any():
        program["offsets"] = "offsets"
        prior.arrays["offsets"] = offsets
    prior.arrays["tables.frequencies"], prior.arrays["tables.sizes"] = gaussian_tables()
    level = (row(model.z_scale).log() - math.log(SCALE_MIN)) / LOG_SCALE_STEP
    if model.hyper_context is not None:
        _add_hyper_context(model, w, seen, level)
    prior.arrays["rows.z_table"] = (
        level.detach().round().clamp(0, SCALE_LEVELS - 1).numpy().astype(np.uint8)
    )
    return prior


def _add_hyper_context(
    model: LatentCodec, w: _Writer, seen: dict[str, float], level: torch.Tensor
) -> None:
    """The context of z_hat, and Gaussian tables for it behind the others. level: (256, Z), scale
    levels without context."""
    prior, program = w.prior, w.prior.program
    f_view, stream = (fraction_bits(seen[f"hyper_context.{n}"]) for n in ("view", "middle"))
    program["fractions"]["hyper_stream"] = stream
    leaky = {"op": "leaky", "in": "f", "out": "f"}
    features: list[dict] = []
    w.conv(features, "hyper_context.view", "view", "f", program["fractions"]["z"], f_view)
    features.append(leaky)
    w.conv(features, "hyper_context.middle", "f", "f", f_view, stream)
    features.append(leaky)
    name = "hyper_context.head"
    head = w.state[f"{name}.weight"][:, :, 0, 0]
    scale_exponent = _scale_exponent([head], 1, stream)
    mean_shift = stream + w.head(name, 1, stream, scale_exponent) - PHASE_BITS
    if mean_shift < 1:
        raise ValueError(f"{name}: no fractional bits to round away")
    prior.arrays["rows.z_scale_bias"] = _rows(level, stream + scale_exponent)
    program["hyper_context"] = {
        "input": program["hyper"][:1],  # the row of gains and biases
        "features": features, "weight": f"{name}.weight", "bias": f"{name}.bias",
        "mean_shift": mean_shift, "scale_shift": stream + scale_exponent,
        "scale_bias": "rows.z_scale_bias", "phase_bits": PHASE_BITS,
        "levels": HYPER_LEVELS, "tables": len(prior.arrays["tables.sizes"]),
    }  # fmt: skip
    frequencies, sizes = tables_of_masses([gaussian_at(*shape) for shape in hyper_shapes()])
    for name, more in (("tables.frequencies", frequencies), ("tables.sizes", sizes)):
        prior.arrays[name] = np.concatenate([prior.arrays[name], more])

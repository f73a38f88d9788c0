"""The synthesis of a trained model as a program of integers (docs/format/specification.md,
section 6), and what that costs.

Steps of activations come from what calibration images make of the float network at gain indexes
from 0 to 255; `fixed_point` chooses shifts and weights, and proves that sums fit int32.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.numpy import save
from torch import nn

from ...exact.prior import sha256_of
from ...exact.program import LOW, read_synthesis
from ...exact.synthesis import run, to_levels
from ...settings import GAIN_LEVELS
from ..data.tensors import tensor_of_image
from ..networks.latent_codec import Block, Finish, LatentCodec
from .fixed_point import SLOPE, Moments, Writer, fractions
from .weights import point_at_integers

MEAN_BITS = 6
UNITS = 64 * 255.0  # pixel units in the range of a pixel's values
HEADROOM = 2.0  # activations may grow to this many times what calibration saw before they saturate
INDEXES = (0, 36, 73, 109, 146, 182, 219, 255)
REPORTED, REPORTED_IMAGES = (20, 80, 140, 200, 255), 4
LEAST_LEAKY = max(LOW, (LOW * SLOPE + 16384) >> 15)


@dataclass
class Seen:
    """What calibration saw, by name: largest magnitudes by channel, and the moments of inputs of
    1x1 convolutions."""

    largest: dict[str, np.ndarray] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)

    def watch(self, name: str, x: torch.Tensor) -> None:
        most = x.abs().amax((0, 2, 3)).numpy()
        self.largest[name] = np.maximum(self.largest.get(name, 0), most)

    def gather(self, name: str, x: torch.Tensor) -> None:
        rows = x[0].flatten(1).T.numpy()
        size = rows.shape[1] + 1
        if name not in self.moments:
            self.moments[name] = Moments(np.zeros((size, size)))
        # 4096 positions of a picture are enough for a mean
        self.moments[name].add(rows[:: max(1, len(rows) // 4096)])


def latents_for(
    model: LatentCodec, images: list[np.ndarray], indexes: tuple[int, ...]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(gain index, image, y_hat) of images: int32 (h, w, M), rounded to the nearest step."""
    for index in indexes:
        gain_index = torch.tensor([float(index)])
        for image in images:
            x = tensor_of_image(image)
            y = (model.g_a(x, gain_index) * model.gain(gain_index)).round()
            y_hat = (y * (1 << MEAN_BITS))[0].permute(1, 2, 0).int().numpy()
            yield index, image, y_hat


def _float_pixels(model: LatentCodec, y_hat: np.ndarray, index: int) -> torch.Tensor:
    gain_index = torch.tensor([float(index)])
    y = torch.from_numpy(y_hat).permute(2, 0, 1)[None].float() * 2.0**-MEAN_BITS
    return model.g_s(y * model.inverse_gain(gain_index), gain_index)


@torch.no_grad()
def observe(model: LatentCodec, images: list[np.ndarray]) -> Seen:
    """Activations of g_s on images, uint8 (H, W, 3), sides multiples of 16, at INDEXES."""
    seen = Seen()
    handles = []
    streams = {"blocks16": "stream16", "blocks8": "stream8", "finish.blocks": "stream2"}
    for name, module in model.g_s.named_modules():
        if isinstance(module, Block):
            stage, _, number = name.rpartition(".")

            def ends(m, args, out, stream=streams[stage], first=number == "0"):
                if first:
                    seen.watch(f"{stream}.first", args[0])
                seen.watch(stream, args[0])
                seen.watch(stream, out)

            handles.append(module.register_forward_hook(ends))
        elif isinstance(module, nn.Conv2d):

            def hook(m, args, out, name=name):
                seen.watch(name, out)
                if m.groups == 1:
                    seen.gather(name, args[0])

            handles.append(module.register_forward_hook(hook))
    for half in (0, 1):  # each image at every other index
        for index, _, y_hat in latents_for(model, images[half::2], INDEXES[half::2]):
            _float_pixels(model, y_hat, index)
    for handle in handles:
        handle.remove()
    return seen


class _Programs:
    """Writes the programs of one model."""

    def __init__(self, model: LatentCodec, seen: Seen, preview: dict[str, np.ndarray]):
        self.model, self.seen, self.preview = model, seen, preview
        self.writer = Writer()
        # of convolutions: what integers are multiplied by to be weights, by input and by output
        self.scales: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.layers: list[dict] = []
        self._count: dict[str, int] = defaultdict(int)
        index = torch.arange(GAIN_LEVELS, dtype=torch.float32)
        self._rows = lambda module: module(index)[:, :, 0, 0].detach().double().numpy()
        self.f_y = self._latent_fractions()

    def _latent_fractions(self) -> np.ndarray:
        """Of dequantised latents. They hold whatever an image makes the linear path of g_a give, so
        that drawings do not saturate. Below that, coarse steps leave room for fine weights, and the
        best lies between."""
        analysis = self.model.g_a.klt.weight.detach().double().numpy()[:, :, 0, 0]
        finest = fractions(0.55 * np.abs(analysis).sum(1), 1.0)
        weight = np.abs(self.model.g_s.klt.weight.detach().double().numpy()[:, :, 0, 0]) * UNITS
        klt = self.seen.moments["klt"]
        squares = np.diag(klt.total)[:-1] / klt.count + 1e-12
        shown = np.square(weight).sum(0)  # by a step of each channel, over the pixels of a cell
        best, least = finest, np.inf
        for shift in range(1, 20):
            balanced = 0.25 * np.log2(shown / (len(weight) * squares)) + shift / 2
            part = np.minimum(finest, np.rint(balanced)).astype(np.int64)
            scale = 2.0 ** -part.astype(np.float64)
            if (weight * scale).sum(1).max() * 2.0**shift * -LOW > 0.98 * 2.0**31:
                break
            noise = shown @ scale**2 + len(weight) * (squares @ scale**-2) * 4.0**-shift
            if noise < least:
                best, least = part, noise
        return best

    def add(self, layer: dict, source: str | list[str], out: str | None = None) -> str:
        """Append a layer; returns its register."""
        stem = out or layer["op"]
        self._count[stem] += 1
        name = out or f"{stem}{self._count[stem]}"
        self.layers.append({"in": source, "out": name} | layer)
        return name

    def conv(self, name, source, fraction, out, *, free, low=LOW, factor=1.0, inner=1.0):
        """A convolution of g_s: its register, and the fractions of its output. factor: of its
        output; inner: of its input, which is in pixel units where it is not 1."""
        module = self.model.g_s.get_submodule(name)
        weight = module.weight.detach().double().numpy()
        weight = weight[:, 0] if module.groups > 1 else weight[:, :, 0, 0]
        bias = (
            np.zeros(len(weight)) if module.bias is None else module.bias.detach().double().numpy()
        )
        moments = self.seen.moments.get(name)
        inverse = 2.0 ** fraction.astype(np.float64) * (inner / factor)
        if name == "stem":  # g_s.scale goes into its weights, and its moments are those of y
            scale = self.model.g_s.scale.double().numpy().ravel()
            weight, inverse = weight * scale, inverse / scale
            moments = self.seen.moments["klt"]
        if inner != 1.0:
            scale = np.append(np.full(weight.shape[1], inner), 1.0)
            moments = Moments(moments.total * np.outer(scale, scale), moments.count)
        layer, out = self.writer.conv(
            name, weight * (factor / inner), bias * factor, fraction, out,
            free=free, low=low, moments=moments,
        )  # fmt: skip
        self.scales[name] = inverse, 2.0 ** -(layer["shift"] + out).astype(np.float64)
        return self.add(layer, source), out

    def range(self, name: str) -> np.ndarray:
        return fractions(self.seen.largest[name], HEADROOM)

    def block(
        self, name: str, x: str, stream: np.ndarray, seen: tuple[str, np.ndarray] | None = None
    ) -> str:
        """seen: a register that holds what `x` does, in other steps, for the block to look at."""
        look, fine = seen or (x, stream)
        a, f = self.conv(f"{name}.dw", look, fine, self.range(f"{name}.dw"), free=True)
        a, f = self.conv(f"{name}.up", a, f, self.range(f"{name}.up"), free=True)
        a = self.add({"op": "leaky", "slope": SLOPE}, a)
        a, _ = self.conv(f"{name}.down", a, f, stream, free=False, low=LEAST_LEAKY)
        return self.add({"op": "add"}, [x, a])

    def gain(self, name: str, x: str, fraction: np.ndarray, out: np.ndarray, factor=1.0) -> str:
        rows = self._rows(self.model.g_s.get_submodule(name)) * factor
        arrays = f"{name}.again" if f"{name}.multiplier" in self.writer.arrays else name
        return self.add(self.writer.row(arrays, rows, fraction, out), x)

    def shuffle(self, x: str, size: int) -> str:
        return self.add({"op": "shuffle", "size": size}, x)

    def begin(self) -> str:
        """Start a program; returns the register of the dequantised latents."""
        self.layers = []
        self._count.clear()
        rows = self._rows(self.model.inverse_gain) * 2.0**-MEAN_BITS
        return self.add(self.writer.dequantise("latents", rows, self.f_y), "y")

    def pixels(self, name: str, source: str, size: int) -> str:
        x, _ = self.conv(name, source, self.f_y, np.zeros(3 * size**2), free=False, factor=UNITS)
        return self.shuffle(x, size)

    def linear(self) -> list[dict]:
        self.pixels("klt", self.begin(), 16)
        return self.layers

    def synthesis(self) -> list[dict]:
        g_s = self.model.g_s
        y = self.begin()
        f, part = self.conv("stem", y, self.f_y, self.range("stem"), free=True)
        stream = self.range("stream16")
        f = self.gain("gain16", f, part, stream)
        for i in range(len(g_s.blocks16)):
            f = self.block(f"blocks16.{i}", f, stream)
        # channels that a shuffle brings together have one fraction
        part = self.range("grow").reshape(-1, 4).min(1).repeat(4)
        f, part = self.grown(f, stream, part)
        stream = self.range("stream8")
        f = self.gain("gain8", self.shuffle(f, 2), part[::4], stream)
        for i in range(len(g_s.blocks8)):
            f = self.block(f"blocks8.{i}", f, stream)
        f, _ = self.conv("head", f, stream, np.zeros(3 * 64), free=False, factor=UNITS)
        f = self.shuffle(f, 8)
        x = self.add({"op": "add"}, [self.pixels("klt", y, 16), f])
        if isinstance(g_s.finish, Finish):
            self.finish(x, g_s.finish)
        return self.layers

    def grown(self, f: str, stream: np.ndarray, part: np.ndarray) -> tuple[str, np.ndarray]:
        return self.conv("grow", f, stream, part, free=False)

    def finish(self, x: str, module: Finish) -> None:
        f = self.add({"op": "unshuffle", "size": 2}, x)
        f, part = self.conv(
            "finish.stem", f, np.zeros(12), self.range("finish.stem"), free=True, inner=UNITS
        )
        stream, first = self.range("stream2"), self.range("stream2.first")
        # Blocks make of little much here: in the steps of their sums, what the first one looks at
        # would be lost.
        fine = self.gain("finish.gain", f, part, first), first
        f = self.gain("finish.gain", f, part, stream)
        for i in range(len(module.blocks)):
            f = self.block(f"finish.blocks.{i}", f, stream, fine if i == 0 else None)
        f, part = self.conv("finish.head", f, stream, self.range("finish.head"), free=True)
        f = self.gain("finish.share", f, part, np.zeros(12), UNITS)
        self.add({"op": "add"}, [x, self.shuffle(f, 2)])

    def small(self, cell: int) -> list[dict]:
        """A preview of cell x cell pixels of each cell."""
        n = 4 // cell
        weight, bias = (
            a.astype(np.float64).reshape(-1, 3, cell, n, cell, n).mean((3, 5)).reshape(len(a), -1)
            for a in (self.preview["preview.weight"], self.preview["preview.bias"][None])
        )
        y = self.begin()
        layer, _ = self.writer.conv(
            f"preview{cell}", weight.T * UNITS, bias[0] * UNITS, self.f_y, np.zeros(3 * cell**2),
            free=False, moments=self.seen.moments["klt"],
        )  # fmt: skip
        self.shuffle(self.add(layer, y), cell)
        return self.layers


def quantise_synthesis(
    model: LatentCodec, images: list[np.ndarray], preview: dict[str, np.ndarray]
) -> tuple[dict, dict[str, np.ndarray]]:
    """The integer synthesis of a model: what synthesis.json holds, and its arrays.

    images: uint8 (H, W, 3), sides multiples of 16, to calibrate on; preview: `preview.weight` and
    `preview.bias`; without them there are no previews. Raises ValueError where a sum cannot be
    proven to fit int32.
    """
    programs, description = _quantised(model, images, preview)
    return description, programs.writer.arrays


def _quantised(
    model: LatentCodec, images: list[np.ndarray], preview: dict[str, np.ndarray]
) -> tuple[_Programs, dict]:
    model = model.float().eval()
    programs = _Programs(model, observe(model, images), preview)
    description = {
        "latents": model.config.latents, "stride": 16, "mean_bits": MEAN_BITS,
        "synthesis": programs.synthesis(), "linear": programs.linear(),
    }  # fmt: skip
    small = {"4": programs.small(4), "8": programs.small(2)} if "preview.weight" in preview else {}
    description["previews"] = small
    return programs, description


@torch.no_grad()
def lost_by_integers(
    model: LatentCodec,
    description: dict,
    arrays: dict[str, np.ndarray],
    images: list[np.ndarray],
) -> dict:
    """PSNR of the float and of the integer synthesis, mean over images at REPORTED gain indexes,
    for the manifest."""
    program = read_synthesis(description, arrays, description).synthesis
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for index, image, y_hat in latents_for(model, images, REPORTED):
        x = _float_pixels(model, y_hat, index)[0].permute(1, 2, 0)
        levels = ((x + 0.5) * 255).round().clamp(0, 255).numpy()
        made = to_levels(np.concatenate(list(run(program, [y_hat], len(y_hat), index))), False)
        both = [10 * np.log10(255**2 / np.square(a - image.astype(np.float64)).mean())
                for a in (levels, made)]  # fmt: skip
        found[str(index)].append((both[0], both[1]))
    return {
        index: {
            "float_db": round(float(np.mean([a for a, _ in pairs])), 3),
            "lost_db": round(float(np.mean([a - b for a, b in pairs])), 4),
        }
        for index, pairs in found.items()
    }


def write_synthesis(
    folder: Path,
    model: LatentCodec,
    images: list[np.ndarray],
    rows: dict[str, np.ndarray],
    graph: onnx.ModelProto | None = None,
) -> dict:
    """Write synthesis.json and synthesis.safetensors of a model; what the manifest says of them.

    images: uint8 (H, W, 3), sides multiples of 16, to calibrate on; rows: the bundle's, with those
    of the preview. graph: of g_s, which is written, too, with the integers as its weights. Raises
    ValueError where a sum cannot be proven to fit int32.
    """
    programs, description = _quantised(model, images, rows)
    arrays = programs.writer.arrays
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    (folder / "synthesis.json").write_text(text, encoding="utf-8")
    content = save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
    (folder / "synthesis.safetensors").write_bytes(content)
    if graph is not None:
        shared = point_at_integers(graph, "g_s.", folder / "synthesis.safetensors", programs.scales)
        onnx.save(shared, folder / "g_s.onnx")
    lost = lost_by_integers(model, description, arrays, images[:REPORTED_IMAGES])
    return {"sha256": sha256_of(text, arrays).hex(), "psnr": lost}

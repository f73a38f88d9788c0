"""A trained model to a bundle, and a bundle back to a trainable model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image
from safetensors.numpy import save
from torch import nn

from ...exact.payload import encode_latents
from ...exact.prior import Prior, fingerprint
from ...models.bundle import Bundle, read_arrays
from ...search.slopes import LOG_SCALE_STEP
from .. import validate
from ..checkpoints import load_checkpoint
from ..data import cifar
from ..data import photographs as data
from ..data.tensors import tensor_of_image
from ..networks.cae import SIDE, STRIDE, ConvAutoencoder
from ..networks.latent_codec import (
    GAIN_LEVELS,
    LAMBDA_MAX,
    LAMBDA_MIN,
    STEPS,
    LatentCodec,
    Rows,
)
from ..networks.restorer import RestoringCodec
from ..symbols.tables import Latents, add_trellis, fit_tables, tables_of_masses
from ..tasks import model_from_state, network_from_dict
from .analysis import float_weights, write_analysis
from .bundle_folder import ANALYSIS_GRAPHS, GRAPHS, new_bundle, write_manifest
from .calibrate import calibrate
from .gradients import write_gradient
from .graphs import (
    hyper_analysis_graph,
    sequential_graph,
    transform_graphs,
)
from .integer_prior import MEAN_BITS, IntegerPrior, quantise_prior, scale_rows
from .margins import visible_halo
from .preview import fit_preview
from .restorer_bundle import export_restorer
from .synthesis import write_synthesis
from .weights import read_weights, store

# What a download may take. The integer synthesis has made g_s of the shipped network too much in 16
# bits.
MAX_BUNDLE_BYTES = 25_000_000
CALIBRATION, COUNTED = 13, 47  # images of each purpose, see export_bundle
COUNTED_INDEXES = (0, 40, 80, 120, 160, 200, 240)
RUN_TIME_ROWS = (
    "gain", "inverse_gain", "z_gain", "g_a.gain8", "g_a.gain16", "g_s.gain16", "g_s.gain8",
)  # fmt: skip


def export_checkpoint(
    checkpoint: Path, data_folder: Path | None, folder: Path, name: str | None = None
) -> dict:
    """Export the averaged weights of a training checkpoint and return the manifest.

    The integer prior is calibrated, and compared with the float one, on training images; a
    restoring network needs none. Raises ValueError where they are wanted and not given.
    """
    state = load_checkpoint(checkpoint)
    arch = state.get("arch", "aei")
    model = model_from_state(network_from_dict(arch, state["network"]), state["ema"])
    if isinstance(model, RestoringCodec):
        return export_restorer(model, folder, name or state["config"]["restore"], state)
    if data_folder is None:
        raise ValueError("name the training folder with --data: its images calibrate the prior")
    if isinstance(model, ConvAutoencoder):
        images = list(cifar.load_images(data_folder, state["config"]["seed"]).train[:500])
    else:
        files = data.list_images(data_folder)
        count = CALIBRATION + COUNTED
        images = []
        for path in files[len(files) // 42 :: max(1, len(files) // count)][:count]:
            with Image.open(path) as image:
                images.append(validate.crop_to(np.array(image.convert("RGB")), 32, 384))
    training = {key: state[key] for key in ("step", "pixels", "hours", "config")}
    return export_bundle(model, folder, name or folder.stem, images, training)


def export_bundle(
    model: LatentCodec | ConvAutoencoder,
    folder: Path,
    name: str,
    images: list[np.ndarray],
    training: dict | None = None,
) -> dict:
    """Write a bundle and return its manifest.

    images: uint8 (H, W, 3), sides multiples of 32: the first 13 for activation ranges and for the
    comparison of code lengths, float prior against integer prior; all for the tables. training:
    facts for the manifest (pixels, ...). Raises ValueError where the prior cannot be made exact or
    the bundle exceeds MAX_BUNDLE_BYTES.
    """
    model = model.cpu().float().eval()
    state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    parts = (
        _cae_parts(model, state)
        if isinstance(model, ConvAutoencoder)
        else _aei_parts(model, state, images[:CALIBRATION])
    )
    prior, graphs, rows, rest = parts
    if isinstance(model, LatentCodec):
        graphs = {n: graph for n, graph in graphs.items() if n not in ANALYSIS_GRAPHS}
    with new_bundle(folder) as temporary:
        for graph, proto in graphs.items():
            onnx.save(proto, temporary / f"{graph}.onnx")
        _save(temporary / "rows.safetensors", rows)
        _save(temporary / "training.safetensors", rest)
        runtime = Prior(json.loads(json.dumps(prior.program)), prior.arrays, b"")
        facts: dict = {}
        rounding = (training or {}).get("config", {}).get("rounding")
        if rounding:
            facts["rounding_bits"] = runtime.rounding_bits = model.rounding = rounding
        facts["integer_prior"] = compare_code_lengths(model, runtime, images)
        if isinstance(model, LatentCodec):
            latents = latents_of(model, images, COUNTED_INDEXES)
            runtime = fit_tables(add_trellis(runtime), latents)
            prior.program, prior.arrays = runtime.program, runtime.arrays
        text = json.dumps(prior.program, sort_keys=True, separators=(",", ":"))
        (temporary / "prior.json").write_text(text, encoding="utf-8")
        _save(temporary / "prior.safetensors", prior.arrays)
        mark = fingerprint(text, prior.arrays)
        manifest = {
            "name": name,
            "fingerprint": mark.hex(),
            "arch": "cae" if isinstance(model, ConvAutoencoder) else "aei",
            "network": asdict(model.config),
            "halo": 0 if isinstance(model, ConvAutoencoder) else visible_halo(model, images[:3]),
            "margin": 0 if isinstance(model, ConvAutoencoder) else model.config.margin,
            "exponents": prior.exponents,
            "training": training or {},
        } | facts
        if isinstance(model, LatentCodec):
            manifest["lambda"] = [LAMBDA_MIN, LAMBDA_MAX]
            calibration = images[:CALIBRATION]
            manifest["synthesis"] = write_synthesis(
                temporary, model, calibration, rows, graphs["g_s"]
            )
            write_gradient(temporary)
            write_manifest(temporary, manifest)
            synthesis = Bundle(temporary).synthesis
            manifest["analysis"] = write_analysis(temporary, model, calibration, runtime, synthesis)
        write_manifest(temporary, manifest)
        if isinstance(model, LatentCodec) and _size(temporary) > MAX_BUNDLE_BYTES:
            # Only encoders that refine latents run it still, for a direction in which to look.
            onnx.save(store(graphs["g_s"], "int8"), temporary / "g_s.onnx")
            write_gradient(temporary)
            write_manifest(temporary, manifest)
        if isinstance(model, LatentCodec):
            manifest |= calibrate(temporary, images[:CALIBRATION])
        size = _size(temporary)
        if size > MAX_BUNDLE_BYTES:
            raise ValueError(f"the bundle has {size} bytes, over {MAX_BUNDLE_BYTES}")
    return manifest


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.iterdir())


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    # The library writes buffers as they lie in memory, hence C order; its own files are private.
    path.write_bytes(save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))


def _aei_parts(model: LatentCodec, state: dict, images: list[np.ndarray]):
    """Integer prior, graphs, gain rows, and what only training needs in float."""
    graphs = transform_graphs(state) | {"h_a": hyper_analysis_graph(state)}
    anchors = {n: state[f"{n}.anchors"] for n, m in model.named_modules() if isinstance(m, Rows)}
    names = [*RUN_TIME_ROWS, *(n for n in anchors if n.startswith("g_s.finish."))]
    rows = {f"{n}.anchors": anchors.pop(n) for n in names} | fit_preview(model, images)
    rest = {f"{n}.anchors": a for n, a in anchors.items()} | {"offsets": state["offsets"]}
    rest["g_a.scale"] = state["g_a.scale"]
    return quantise_prior(model, images), graphs, rows, rest


def _cae_parts(model: ConvAutoencoder, state: dict):
    """The same of the cae: a factorized prior is one table per channel and a program without
    layers."""
    if not model.config.quantise:
        raise ValueError(
            "a network trained without quantisation has no prior: it cannot code files"
        )
    channels = state["log_gain"].shape[1]
    gain = np.exp(state["log_gain"][:, :, 0, 0]).repeat(GAIN_LEVELS, 0)
    reach = 255
    values = torch.arange(-reach, reach + 1, dtype=torch.float32)
    with torch.no_grad():
        masses = model.likelihood(values[None, None, None].expand(1, channels, 1, -1))[0, :, 0]
    frequencies, sizes = tables_of_masses(list(masses.double().numpy()))
    kind = np.uint8 if channels <= 256 else np.uint16
    arrays = {
        "tables.frequencies": frequencies,
        "tables.sizes": sizes,
        "rows.z_table": np.broadcast_to(np.arange(channels, dtype=kind), (GAIN_LEVELS, channels)),
    }
    program = {
        "latents": channels, "hyper_latents": channels, "stride": STRIDE, "hyper_stride": 1,
        "size": [SIDE, SIDE], "mean_bits": MEAN_BITS, "scales": channels, "skip_below": 0,
        "hyper": [], "steps": [], "order": [],
    }  # fmt: skip
    graphs = {
        "g_a": sequential_graph(state, "g_a.", model.g_a, "x", 0.5),
        "g_s": sequential_graph(state, "g_s.", model.g_s, "y", -0.5),
    }
    rows = {"gain": gain, "inverse_gain": 1 / gain}
    rest = {k: v for k, v in state.items() if not k.startswith(("g_a.", "g_s."))}
    return IntegerPrior(program, arrays), graphs, rows, rest


@torch.no_grad()
def latents_of(model: LatentCodec, images: list[np.ndarray], indexes: tuple[int, ...]) -> Latents:
    """(gain index, y, z) of each image at each of the gain indexes, in quantisation steps and not
    rounded."""
    result = []
    for index in indexes:
        gain_index = torch.tensor([float(index)])
        for image in images:
            x = tensor_of_image(image)
            y = model.g_a(x, gain_index) * model.gain(gain_index)
            z = model.h_a(y) * model.z_gain(gain_index)
            result.append((index, *(a[0].permute(1, 2, 0).contiguous().numpy() for a in (y, z))))
    return result


@torch.no_grad()
def compare_code_lengths(model: nn.Module, prior: Prior, images: list[np.ndarray]) -> dict:
    """Bits of the same images under the float prior and under the integer tables, per gain index;
    rounded to the nearest or, where the model was trained so, as the encoder does."""
    result = {}
    single_rate = isinstance(model, ConvAutoencoder)
    optimise = not single_rate and model.rounding is not None
    for index in (0,) if single_rate else (20, 80, 140, 200, 250):
        gain_index = torch.tensor([float(index)])
        exact = ideal = 0.0
        for image in images[:6]:
            x = tensor_of_image(image)
            out = model(x, gain_index, noisy=False)
            ideal += float(out["y_bits"] + out["z_bits"])
            if isinstance(model, ConvAutoencoder):
                y = z = model.g_a(x + 0.5) * model.log_gain.exp()
            else:
                y = model.g_a(x, gain_index) * model.gain(gain_index)
                z = model.h_a(y) * model.z_gain(gain_index)
            y, z = (a[0].permute(1, 2, 0).numpy() for a in (y, z))
            # less the 8-bit check, which is not the prior's doing
            exact += encode_latents(prior, index, y, z, optimise)[2].bits - 8
        result[str(index)] = {
            "float_bits": round(ideal),
            "integer_bits": round(exact),
            "lost_percent": round(100 * (exact / ideal - 1), 3),
        }
    return result


def restore_model(bundle: Bundle) -> LatentCodec | ConvAutoencoder:
    """The torch model of a bundle, to go on training from: transforms in the precision of their
    stored weights (float16, int8), the prior in that of its integers, and g_a and h_a, too, where
    they are stored as such."""
    state: dict[str, np.ndarray] = {}
    for graph in GRAPHS:
        if (bundle.path / f"{graph}.onnx").exists():
            state.update(read_weights(onnx.load(bundle.path / f"{graph}.onnx")))
    for name in ("rows", "training"):
        state.update(read_arrays(bundle.path / f"{name}.safetensors"))
    if "analysis" in bundle.manifest and not (bundle.path / "g_a.onnx").exists():
        arrays = read_arrays(bundle.path / "analysis.safetensors")
        state.update(float_weights(arrays, state["g_a.scale"]))
    arch = bundle.manifest.get("arch", "aei")
    config = network_from_dict(arch, bundle.manifest["network"])
    model: LatentCodec | ConvAutoencoder
    if arch == "cae":
        model = ConvAutoencoder(config)
    else:
        state.update(_float_prior(bundle))
        basis = torch.from_numpy(state["g_a.klt.weight"].reshape(config.latents, -1))
        model = LatentCodec(config, basis, torch.from_numpy(state["g_a.scale"].flatten()))
    # Shapes come from the network: initialisers and integers are only reshaped (see graphs.py).
    tensors = model.state_dict()
    for key in tensors.keys() & state.keys():
        tensor = torch.from_numpy(np.array(state[key], np.float32, order="C"))
        tensors[key] = tensor.reshape(tensors[key].shape)
    model.load_state_dict(tensors)
    return model


def _float_prior(bundle: Bundle) -> dict[str, np.ndarray]:
    """Weights and biases of h_s and the context model from their integers."""
    arrays, exponents = bundle.prior.arrays, bundle.manifest["exponents"]
    streams = _fractions_in(bundle.prior.program, exponents)
    state = {}
    for name, exponent in exponents.items():
        if name.endswith((".mean", ".scale")):
            continue
        state[f"{name}.weight"] = arrays[f"{name}.weight"] * 2.0**-exponent
        state[f"{name}.bias"] = arrays[f"{name}.bias"] * 2.0 ** -(exponent + streams[name])
    for name in (name.removesuffix(".mean") for name in exponents if name.endswith(".mean")):
        weight = arrays[f"{name}.weight"]
        factor = np.where(
            scale_rows(len(weight), 1 if name.startswith("hyper_context") else STEPS),
            LOG_SCALE_STEP * 2.0 ** -exponents[f"{name}.scale"],
            2.0 ** -exponents[f"{name}.mean"],
        )
        state[f"{name}.weight"] = weight * factor[:, None]
        state[f"{name}.bias"] = arrays[f"{name}.bias"] * factor * 2.0 ** -streams[name]
    return state


def _fractions_in(program: dict, exponents: dict[str, int]) -> dict[str, int]:
    """Fractional bits of each convolution's input, needed to undo the rounding of its bias.

    Biases are stored at the accumulator's precision; a layer's accumulator has the fractional bits
    of its input plus the weight's exponent, so walking the programs recovers them.
    """
    result: dict[str, int] = {}
    known = program["fractions"]

    def walk(layers: list[dict], registers: dict[str, int]) -> None:
        for layer in layers:
            source = layer["in"][0] if isinstance(layer["in"], list) else layer["in"]
            f = registers[source]
            if layer["op"] in ("conv1x1", "depthwise3x3"):
                name = layer["weight"].removesuffix(".weight")
                result[name] = f
                f = f + exponents[name] - layer["shift"]
            elif layer["op"] == "row":
                f = known["z"]
            registers[layer["out"]] = f

    walk(program["hyper"], {"z": 0})
    for k, step in enumerate(program["steps"]):
        walk(step["features"], {"h": known["stream"], "view": known["view"]})
        result[f"context.{k}.head"] = known["stream"]
    if "hyper_context" in program:
        walk(program["hyper_context"]["features"], {"view": known["z"]})
        result["hyper_context.head"] = known["hyper_stream"]
    return result

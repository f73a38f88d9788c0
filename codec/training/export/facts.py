"""What a model bundle is made of: bytes, parameters, work per pixel, training. Needs no torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ...models.bundle import Bundle
from .bundle_folder import GRADIENT, GRAPHS

if TYPE_CHECKING:
    import onnx

GRID = 64  # cells a side of the latents' grid on which work is counted


def bundle_facts(bundle: Bundle) -> dict:
    """Facts for `aei model info`, fit for JSON.

    `parts`: per graph and for the prior `bytes`, `parameters`, `weights` (their type) and
    `macs_per_pixel` (multiplications and additions, of one pixel of the image). Without the onnx
    package the graphs have bytes only, and `note` says so. Raises ModelError for a damaged part.
    """
    files = {p.name: p.stat().st_size for p in sorted(bundle.path.iterdir()) if p.is_file()}
    manifest = bundle.manifest
    facts: dict = {
        "name": bundle.name,
        "fingerprint": bundle.fingerprint.hex(),
        "arch": manifest.get("arch", "aei"),
        "bytes": sum(files.values()),
        "files": files,
        "parts": {},
        "network": manifest.get("network", {}),
        "slimmed": manifest.get("slimmed", []),
        "training": manifest.get("training", {}),
    }
    try:
        import onnx  # noqa: F401
    except ImportError:
        facts["note"] = (
            "parameters and work of the graphs are counted by the onnx package: pip install onnx"
        )
    for name in (*GRAPHS, GRADIENT):
        if f"{name}.onnx" in files:
            part = {"bytes": files[f"{name}.onnx"]}
            if "note" not in facts:
                part |= _graph_facts(bundle.path / f"{name}.onnx", bundle.prior.stride)
            facts["parts"][name] = part
    facts["parts"]["prior"] = _prior_facts(bundle, files)
    return facts


def training_facts(training: dict) -> str:
    """What a model was trained with, in one line."""
    if not training:
        return "not said"
    words = []
    if "pixels" in training:
        words.append(f"{training['pixels']:.3g} pixels")
    if "step" in training:
        words.append(f"{training['step']} steps")
    if "hours" in training:
        words.append(f"{training['hours']:.2g} hours")
    config = training.get("config", {})
    words += [
        f"{name} {config[name]}"
        for name in ("optimiser", "lr", "batch", "patch", "loss", "graphics", "device")
        if name in config
    ]
    return ", ".join(words)


def _graph_facts(path: Path, stride: int) -> dict:
    import onnx

    from .weights import kind_of, read_graph, read_weights

    model = read_graph(path)
    # A graph of a gradient reads its weights out of the file of another, and g_s may read those
    # of the synthesis.
    shared = any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
    facts: dict = {"parameters": 0, "weights": "those of g_s"}
    if shared and path.stem != GRADIENT:
        facts["weights"] = "those of the synthesis"
    if not shared:
        weights = read_weights(model)
        facts = {
            "parameters": sum(a.size for a in weights.values()),
            "weights": kind_of(model),
        }
    return facts | {"macs_per_pixel": round(_macs(model, stride) / (GRID * stride) ** 2, 1)}


def _macs(model: onnx.ModelProto, stride: int) -> int:
    """Multiplications of a graph's convolutions for an image of GRID x GRID cells."""
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for wanted in (*sized.graph.input, *sized.graph.output):
        dims = wanted.type.tensor_type.shape.dim
        if wanted in sized.graph.output:
            wanted.type.tensor_type.ClearField("shape")
        elif len(dims) == 4 and not dims[2].dim_value:
            side = GRID if wanted.name == "y" else GRID * stride
            dims[2].dim_value = dims[3].dim_value = side
    graph = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    shapes = {t.name: list(t.dims) for t in graph.initializer}
    for known in (*graph.value_info, *graph.input, *graph.output):
        shapes[known.name] = [d.dim_value for d in known.type.tensor_type.shape.dim]
    return sum(
        math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        for node in graph.node
        if node.op_type == "Conv"
    )


def _prior_facts(bundle: Bundle, files: dict[str, int]) -> dict:
    program = bundle.prior.program
    arrays = bundle.prior.arrays
    layers = {n: a for n, a in arrays.items() if n.endswith((".weight", ".bias"))}
    cells = 1 / program["stride"] ** 2  # of the latents' grid, per pixel
    density, work = cells / program["hyper_stride"] ** 2, 0.0
    if "hyper_context" in program:
        context = program["hyper_context"]
        names = [layer["weight"] for layer in context["features"] if "weight" in layer]
        work += sum(arrays[name].size for name in (*names, context["weight"])) * density
    for layer in program["hyper"]:
        if layer["op"] == "shuffle":
            density *= 4
        work += arrays[layer["weight"]].size * density if "weight" in layer else 0
    for step in program["steps"]:
        sizes = [arrays[layer["weight"]].size for layer in step["features"] if "weight" in layer]
        # every position computes the head of one of its four groups
        work += (sum(sizes) + arrays[step["weight"]].size / 4) * cells
    return {
        "bytes": sum(files.get(name, 0) for name in ("prior.json", "prior.safetensors")),
        "parameters": sum(a.size for a in layers.values()),
        "weights": "int16",
        "macs_per_pixel": round(work, 1),
    }

"""How the graphs of a bundle hold their weights: float32, float16, or int8 with a scale per output
channel.

Whatever the type, the runtime computes in float32: a Cast, and for int8 a Mul, stand between a
weight and its layer, and ONNX Runtime folds them when it loads a graph. (DequantizeLinear it leaves
in place and runs at every call: 68 ms instead of 63 for g_s of a 768x512 image.)
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ....formats import ModelError
from ...models.parts import read_part

KINDS = ("fp32", "fp16", "int8")  # falling in size
SCALE = ".scale"  # behind the name of an integer weight: that of its scales
INNER = ".inner"  # the same of an int16 weight, by input
# Numbers that share a scale; depthwise filters and biases have fewer, and stay float16
LEAST_PER_SCALE = 32
# The linear path carries the picture itself: int8 there cost 0.3 dB at 40 dB on a photograph.
LINEAR = "klt.weight"
CLIPPED = np.linspace(1.0, 0.6, 33)  # shares of the largest weight that become 127


def read_graph(path: Path) -> onnx.ModelProto:
    """A graph of a bundle, without weights that it reads out of another file. Raises ModelError."""
    try:
        return onnx.load_model_from_string(read_part(path))
    except Exception as error:  # protobuf's own kind, and whatever a damaged file provokes
        raise ModelError(f"{path}: not a readable graph ({error})") from None


def quantise_channels(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 (O, ...) in -127..127 and float32 scales (O, 1, ...): symmetric, one scale per output
    channel.

    weight: float (O, ...). Each scale is the best of a small search, by squared error.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float32)
    largest = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-12)
    best = np.full(len(rows), np.inf)
    scales = np.empty_like(largest)
    for share in CLIPPED:
        scale = (largest * share / 127).astype(np.float32)
        error = np.square(np.clip(np.rint(rows / scale), -127, 127) * scale - rows).sum(1)
        better = error < best
        best[better], scales[better] = error[better], scale[better]
    integers = np.clip(np.rint(rows / scales), -127, 127).astype(np.int8)
    return integers.reshape(weight.shape), scales.reshape(-1, *[1] * (weight.ndim - 1))


def read_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weights of a graph by name, float32 whatever their type in the file."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = {}
    for name, a in stored.items():
        if name.endswith((SCALE, INNER)) and name.removesuffix(SCALE).removesuffix(INNER) in stored:
            continue
        weights[name] = a.astype(np.float32)
        if a.dtype in (np.int8, np.int16):
            weights[name] *= stored[name + SCALE]
        if a.dtype == np.int16:
            weights[name] *= stored[name + INNER]
    return weights


def kind_of(model: onnx.ModelProto) -> str:
    """The smallest type among a graph's weights: one of KINDS."""
    types = {t.data_type for t in model.graph.initializer}
    names = {TensorProto.INT8: "int8", TensorProto.INT16: "fp16", TensorProto.FLOAT16: "fp16"}
    return next((name for kind, name in names.items() if kind in types), "fp32")


def store(model: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """The same graph with its weights held as another type, one of KINDS.

    As int8, the linear path and weights with fewer than LEAST_PER_SCALE numbers per output channel
    are float16. Raises ValueError for weights that do not fit float16.
    """
    weights = read_weights(model)
    behind = {name: name for name in weights}  # tensor: the weight it holds
    layers = []
    for node in model.graph.node:
        if node.op_type in ("Cast", "Mul") and all(
            name in behind or name.removesuffix(SCALE).removesuffix(INNER) in weights
            for name in node.input
        ):
            behind[node.output[0]] = behind[node.input[0]]
        else:
            layers.append(node)
    used = {name for node in layers for name in node.input if name in behind}
    nodes: list = []
    initialisers: list = []
    for name, weight in weights.items():
        held, scale = _held(name, weight, kind)
        initialisers.append(numpy_helper.from_array(held, name))
        tensors = [t for t in used if behind[t] == name]
        ready = name
        if held.dtype != np.float32:
            ready = f"{name}.float"
            nodes.append(helper.make_node("Cast", [name], [ready], to=TensorProto.FLOAT))
        if scale is not None:
            initialisers.append(numpy_helper.from_array(scale, name + SCALE))
            nodes.append(helper.make_node("Mul", [ready, name + SCALE], [f"{name}.scaled"]))
            ready = f"{name}.scaled"
        behind |= dict.fromkeys(tensors, ready)
    for node in layers:
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        kept.input[:] = [behind.get(name, name) for name in node.input]
        nodes.append(kept)
    graph = helper.make_graph(
        nodes, model.graph.name, model.graph.input, model.graph.output, initialisers
    )
    result = helper.make_model(
        graph, opset_imports=model.opset_import, producer_name="aei", ir_version=model.ir_version
    )
    onnx.checker.check_model(result, full_check=True)
    return result


def _held(name: str, weight: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray | None]:
    """A weight as it is to be written, and the scales of an int8 one."""
    if kind == "fp32":
        return weight, None
    many = name.endswith(".weight") and weight[0].size >= LEAST_PER_SCALE
    if kind == "int8" and many and not name.endswith(LINEAR):
        return quantise_channels(weight)
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"{name} does not fit float16")
    return half, None


def point_at_integers(
    model: onnx.ModelProto,
    prefix: str,
    file: Path,
    scales: dict[str, tuple[np.ndarray, np.ndarray]],
) -> onnx.ModelProto:
    """The same graph with large weights read out of a file of integers beside it (ONNX external
    data), so that they are not stored twice.

    file: safetensors, with int16 arrays NAME.weight for the graph's PREFIX + NAME.weight. scales:
    by NAME, what the integers are multiplied by, by input (K,) and by output (D,).
    """
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    start = 8 + int.from_bytes(content[:8], "little")
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    kept, nodes = list(graph.initializer), []
    for node in graph.node:
        name = node.input[0] if node.op_type == "Cast" else ""
        stem = name.removeprefix(prefix).removesuffix(".weight")
        tensor = next((t for t in kept if t.name == name), None)
        if tensor is None or stem not in scales or not name.endswith(".weight"):
            nodes.append(node)
            continue
        dims = list(tensor.dims)
        first, last = header[f"{stem}.weight"]["data_offsets"]
        held = TensorProto(name=name, data_type=TensorProto.INT16, dims=dims)
        held.data_location = TensorProto.EXTERNAL
        place = {"location": file.name, "offset": start + first, "length": last - first}
        for key, value in place.items():
            held.external_data.add(key=key, value=str(value))
        kept = [held if t is tensor else t for t in kept]
        inner, outer = scales[stem]
        if inner.size * outer.size != np.prod(dims):  # a depthwise filter has one input
            inner, outer = np.ones(1), inner * outer
        shapes = {INNER: (1, *dims[1:]) if inner.size > 1 else (1,) * len(dims),
                  SCALE: (-1, *[1] * (len(dims) - 1))}  # fmt: skip
        for end, values in ((SCALE, outer), (INNER, inner)):
            array = values.astype(np.float32).reshape(shapes[end])
            kept.append(numpy_helper.from_array(array, name + end))
        nodes.append(helper.make_node("Cast", [name], [f"{name}.float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{name}.float", name + SCALE], [f"{name}.scaled"]))
        nodes.append(helper.make_node("Mul", [f"{name}.scaled", name + INNER], [node.output[0]]))
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return out

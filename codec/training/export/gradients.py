"""The gradient of g_s as an ONNX graph, so that the encoder can refine latents without torch.

Made from the graph of g_s itself by reverse-mode differentiation over the few operators it has. Its
weights are not stored twice: the tensors point into the files of g_s (ONNX external data).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from ...models.transforms import FINISH
from .bundle_folder import GRADIENT

LEAST_SHARED = 1024  # bytes; smaller tensors are copied
END = "finish."  # before the names of what belongs to the end of g_s


class _Backward:
    """Collects the nodes of the backward pass; `constants` are tensors that do not depend on the
    latents."""

    def __init__(self, nodes: list, constants: set[str], shapes: dict[str, tuple[int, ...]]):
        self.nodes, self.constants, self.shapes = nodes, constants, shapes
        self.initialisers: list = []
        self.gradients: dict[str, list[str]] = {}

    def node(self, op: str, inputs: list[str], **attributes) -> str:
        out = f"back_{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    def constant(self, value: np.ndarray) -> str:
        name = f"back_constant_{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(value, name))
        return name

    def gradient_of(self, tensor: str) -> str:
        """The sum of what has reached a tensor."""
        parts = self.gradients[tensor]
        total = parts[0]
        for part in parts[1:]:
            total = self.node("Add", [total, part])
        return total

    def give(self, tensor: str, gradient: str) -> None:
        if tensor not in self.constants:
            self.gradients.setdefault(tensor, []).append(gradient)

    def convolution(self, weight: str, dy: str, groups: int, stride: int) -> str:
        """Through a convolution: 1x1, depthwise 3x3 with padding 1, or of squares side by side."""
        if stride > 1 and self.shapes[weight][2:] == (stride, stride):
            return self.node("ConvTranspose", [dy, weight], strides=[stride, stride])
        if groups == 1 and self.shapes[weight][2:] == (1, 1):
            return self.node("Conv", [dy, self.node("Transpose", [weight], perm=[1, 0, 2, 3])])
        if groups == self.shapes[weight][0] and self.shapes[weight][1:] == (1, 3, 3):
            ends = [
                self.constant(np.array(v, np.int64)) for v in ([-1, -1], [-9, -9], [2, 3], [-1, -1])
            ]
            turned = self.node("Slice", [weight, *ends])
            return self.node("Conv", [dy, turned], group=groups, pads=[1, 1, 1, 1])
        raise ValueError(f"no gradient for a convolution with weights {self.shapes[weight]}")

    def through(self, node) -> None:
        """Pass the gradient of a node's output on to its inputs."""
        dy = self.gradient_of(node.output[0])
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Identity":
            self.give(node.input[0], dy)
        elif node.op_type == "Add":
            for name in node.input:
                self.give(name, dy)
        elif node.op_type == "Mul":
            first, second = node.input
            for name, other in ((first, second), (second, first)):
                if name not in self.constants:
                    self.give(name, self.node("Mul", [dy, other]))
        elif node.op_type == "LeakyRelu":
            # 1 or alpha: ONNX Runtime's Where takes one thread, and took half of all the time
            steep = self.node("Mul", [node.input[0], self.constant(np.float32(1e30))])
            ends = [self.constant(np.float32(v)) for v in (options["alpha"], 1)]
            self.give(node.input[0], self.node("Mul", [dy, self.node("Clip", [steep, *ends])]))
        elif node.op_type == "DepthToSpace" and options["mode"] == b"CRD":
            # SpaceToDepth puts the position within a cell before the channel; CRD has it after.
            size = options["blocksize"]
            deep = self.node("SpaceToDepth", [dy], blocksize=size)
            channels = self.shapes[node.input[0]][1] // size**2
            order = np.arange(size * size * channels).reshape(size * size, channels).T
            self.give(
                node.input[0],
                self.node("Gather", [deep, self.constant(order.ravel().astype(np.int64))], axis=1),
            )
        elif node.op_type == "Conv":
            groups, stride = int(options.get("group", 1)), options.get("strides", [1])[0]
            self.give(node.input[0], self.convolution(node.input[1], dy, groups, stride))
        else:
            raise ValueError(f"no gradient for {node.op_type}")


def gradient_graph(folder: Path) -> onnx.ModelProto:
    """The gradient of the squared error of g_s by its latents. folder: with the ONNX files of g_s
    and, where it has one, of its end at half the resolution, which have to stay beside the file of
    the result.

    Inputs: those of g_s (y and its gains; those of its end as `finish.`...); target, float32 (1, 3,
    H, W) in -0.5..0.5; weight, float32 (1, 1, H, W), of each pixel. Outputs: error, the sum of
    weight (x - target)^2, where x is clipped to -0.5..0.5; gradient, float32 (1, M, h, w), of that
    sum by y. Raises ValueError for a g_s with operators whose gradient is not known.
    """
    g_s, source = onnx.load(folder / "g_s.onnx"), {"": folder / "g_s.onnx"}
    finish = folder / f"{FINISH}.onnx"
    if finish.exists():
        source[END] = finish
        g_s = compose.merge_models(
            g_s, onnx.load(finish), [(g_s.graph.output[0].name, "x")], prefix2=END
        )
    stored = {prefix: [(file.name, file.read_bytes())] for prefix, file in source.items()}
    integers = folder / "synthesis.safetensors"
    if integers.exists():
        stored[""].append((integers.name, integers.read_bytes()))
    inferred = onnx.shape_inference.infer_shapes(g_s).graph
    shapes = {t.name: tuple(t.dims) for t in g_s.graph.initializer}
    for known in (*inferred.value_info, *inferred.input, *inferred.output):
        shapes[known.name] = tuple(d.dim_value for d in known.type.tensor_type.shape.dim)
    constants = {t.name for t in g_s.graph.initializer} | {i.name for i in g_s.graph.input} - {"y"}
    nodes = list(g_s.graph.node)
    for node in nodes:
        if all(name in constants for name in node.input if name):
            constants |= set(node.output)
    forward = [node for node in nodes if node.output[0] not in constants]
    back = _Backward(nodes, constants, shapes)
    half = [back.constant(np.float32(v)) for v in (-0.5, 0.5)]
    x = g_s.graph.output[0].name
    difference = back.node("Sub", [back.node("Clip", [x, *half]), "target"])
    weighted = back.node("Mul", [difference, "weight"])
    error = back.node("ReduceSum", [back.node("Mul", [weighted, difference])], keepdims=0)
    back.give(x, back.node("Mul", [weighted, back.constant(np.float32(2))]))
    for node in reversed(forward):
        back.through(node)
    gradient = back.gradient_of("y")
    names = {error: "error", gradient: "gradient"}
    for old, new in names.items():
        nodes.append(helper.make_node("Identity", [old], [new]))

    def info(name: str, shape: list):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    m = shapes["y"][1]
    graph = helper.make_graph(
        nodes,
        "g_s_gradient",
        [*g_s.graph.input, info("target", [1, 3, None, None]), info("weight", [1, 1, None, None])],
        [info("error", []), info("gradient", [1, m, None, None])],
        [_shared(t, stored[END if t.name.startswith(END) else ""]) for t in g_s.graph.initializer]
        + back.initialisers,
    )
    return helper.make_model(
        graph, opset_imports=g_s.opset_import, producer_name="aei", ir_version=g_s.ir_version
    )


def write_gradient(folder: Path) -> None:
    """Write `gradient_graph` beside the files of g_s."""
    (folder / f"{GRADIENT}.onnx").write_bytes(gradient_graph(folder).SerializeToString())


def _shared(tensor: TensorProto, files: list[tuple[str, bytes]]) -> TensorProto:
    """The tensor, pointing at its bytes in the file that it comes from: names of files, and what
    they hold."""
    raw = tensor.raw_data
    if len(raw) < LEAST_SHARED:
        return tensor
    out = TensorProto()
    out.CopyFrom(tensor)
    file, content = next(pair for pair in files if raw in pair[1])
    set_external_data(out, file, offset=content.index(raw), length=len(raw))
    out.ClearField("raw_data")
    return out

"""ONNX graphs of the float transforms, written node by node.

Weights are stored once, as float16 initialisers under their state-dict names behind Cast nodes, so
that a bundle can be turned back into the torch model; ONNX Runtime folds the casts when it loads. A
pixel-unshuffle followed by a 1x1 convolution is written as one strided convolution: the weights are
the same numbers in the same order, only reshaped.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from ...models.transforms import FINISH

OPSET = 17


class GraphWriter:
    """Collects nodes and float16 initialisers of one graph."""

    def __init__(self, state: dict[str, np.ndarray], prefix: str):
        self.state, self.prefix = state, prefix
        self.nodes: list = []
        self.initialisers: list = []
        self.count = 0

    def node(self, op: str, inputs: list[str], **attributes) -> str:
        self.count += 1
        out = f"{op.lower()}_{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    def weight(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        a = self.state[self.prefix + name]
        a = a.reshape(shape if shape is not None else a.shape)
        half = a.astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError(f"{self.prefix}{name} does not fit float16")
        self.initialisers.append(numpy_helper.from_array(half, self.prefix + name))
        return self.node("Cast", [self.prefix + name], to=TensorProto.FLOAT)

    def conv(self, x: str, name: str, unshuffle: int = 1, **attributes) -> str:
        w = self.state[f"{self.prefix}{name}.weight"]
        shape = w.shape
        if unshuffle > 1:
            shape = (w.shape[0], w.shape[1] // unshuffle**2, unshuffle, unshuffle)
            attributes["strides"] = [unshuffle, unshuffle]
        inputs = [x, self.weight(f"{name}.weight", shape)]
        if f"{self.prefix}{name}.bias" in self.state:
            inputs.append(self.weight(f"{name}.bias"))
        return self.node("Conv", inputs, **attributes)

    def block(self, x: str, name: str) -> str:
        width = self.state[f"{self.prefix}{name}.dw.weight"].shape[0]
        f = self.conv(x, f"{name}.dw", pads=[1, 1, 1, 1], group=width)
        f = self.node("LeakyRelu", [self.conv(f, f"{name}.up")], alpha=0.1)
        return self.node("Add", [x, self.conv(f, f"{name}.down")])

    def shuffle(self, x: str, size: int) -> str:
        return self.node("DepthToSpace", [x], blocksize=size, mode="CRD")

    def finish(self, inputs: dict[str, list], *outputs: tuple[str, int]) -> onnx.ModelProto:
        """The graph. outputs: names of tensors, and their channels."""

        def info(name, shape):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        results = [
            info(self.node("Identity", [name]), [1, channels, None, None])
            for name, channels in outputs
        ]
        graph = helper.make_graph(
            self.nodes,
            self.prefix.rstrip("."),
            [info(name, shape) for name, shape in inputs.items()],
            results,
            self.initialisers,
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], producer_name="aei", ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def sequential_graph(
    state: dict[str, np.ndarray], prefix: str, layers: nn.Sequential, source: str, shift: float
) -> onnx.ModelProto:
    """A graph of the cae: 3x3 convolutions, ReLU, 2x2 max pooling, 2x upsampling, sigmoid.

    `shift` is added to the input (0.5, pixels to 0..1) or, if negative, to the output.
    """
    g = GraphWriter(state, prefix)
    g.initialisers.append(numpy_helper.from_array(np.float32(shift), "shift"))
    f = g.node("Add", [source, "shift"]) if shift > 0 else source
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            f = g.conv(f, str(i), pads=[layer.padding[0]] * 4)  # type: ignore[list-item]
        elif isinstance(layer, nn.MaxPool2d):
            f = g.node("MaxPool", [f], kernel_shape=[2, 2], strides=[2, 2])
        elif isinstance(layer, nn.Upsample):
            if "scales" not in {t.name for t in g.initialisers}:
                scales = np.array([1, 1, 2, 2], np.float32)
                g.initialisers.append(numpy_helper.from_array(scales, "scales"))
            f = g.node(
                "Resize", [f, "", "scales"], mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )  # fmt: skip
        else:
            f = g.node({nn.ReLU: "Relu", nn.Sigmoid: "Sigmoid"}[type(layer)], [f])
    if shift < 0:
        f = g.node("Add", [f, "shift"])
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    channels = convolutions[0].in_channels
    return g.finish({source: [1, channels, None, None]}, (f, convolutions[-1].out_channels))


def _depth(state: dict, prefix: str) -> int:
    return len({k[len(prefix) :].split(".")[0] for k in state if k.startswith(prefix)})


def analysis_graph(state: dict[str, np.ndarray]) -> onnx.ModelProto:
    """g_a: x (1, 3, H, W), gain8, gain16 -> y (1, M, H/16, W/16), before the gain."""
    g = GraphWriter(state, "g_a.")
    f = g.node("Mul", [g.conv("x", "stem", unshuffle=8), "gain8"])
    for i in range(_depth(state, "g_a.blocks8.")):
        f = g.block(f, f"blocks8.{i}")
    f = g.node("Mul", [g.conv(f, "shrink", unshuffle=2), "gain16"])
    for i in range(_depth(state, "g_a.blocks16.")):
        f = g.block(f, f"blocks16.{i}")
    f = g.node("Mul", [g.conv(f, "head"), g.weight("scale")])
    y = g.node("Add", [g.conv("x", "klt", unshuffle=16), f])
    w8, w16 = state["g_a.stem.weight"].shape[0], state["g_a.shrink.weight"].shape[0]
    inputs = {"x": [1, 3, None, None], "gain8": [1, w8, 1, 1], "gain16": [1, w16, 1, 1]}
    return g.finish(inputs, (y, state["g_a.head.weight"].shape[0]))


def restoring_graph(state: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A restoring network: x (1, 3, H, W) and, where it enhances, statistics (1, S, 1, 1) -> x
    restored."""
    g = GraphWriter(state, "restore.")

    def stage(x: str, name: str) -> str:
        for i in range(_depth(state, f"restore.{name}.")):
            x = g.block(x, f"{name}.{i}")
        return x

    def grown(x: str, name: str, beside: str) -> str:
        return g.node("Add", [beside, g.shuffle(g.conv(x, name), 2)])

    inputs: dict[str, list] = {"x": [1, 3, None, None]}
    f = g.conv("x", "stem", unshuffle=4)
    if "restore.look1.weight" in state:
        inputs["statistics"] = [1, state["restore.look1.weight"].shape[1], 1, 1]
        seen = g.node("LeakyRelu", [g.conv("statistics", "look1")], alpha=0.1)
        f = g.node("Add", [f, g.conv(seen, "look2")])
    a = stage(f, "down4")
    b = stage(g.conv(a, "shrink8", unshuffle=2), "down8")
    c = stage(g.conv(b, "shrink16", unshuffle=2), "middle")
    b = stage(grown(c, "grow8", b), "up8")
    a = stage(grown(b, "grow4", a), "up4")
    scaled = g.node("Mul", [g.conv("x", "analysis", unshuffle=4), g.conv(a, "scale")])
    change = g.node("Add", [scaled, g.conv(a, "shift")])
    restored = g.node("Add", ["x", g.shuffle(g.conv(change, "synthesis"), 4)])
    return g.finish(inputs, (restored, 3))


def hyper_analysis_graph(state: dict[str, np.ndarray]) -> onnx.ModelProto:
    """h_a: y (1, M, h, w), scaled by the gain -> z (1, Z, hz, wz), before its gain."""
    g = GraphWriter(state, "h_a.")
    f = g.node("LeakyRelu", [g.conv(g.node("Asinh", ["y"]), "stem")], alpha=0.125)
    strided = {"pads": [1, 1, 1, 1], "strides": [2, 2]}
    f = g.node("LeakyRelu", [g.conv(f, "down1", **strided)], alpha=0.125)
    z = g.conv(f, "down2", **strided)
    m = state["h_a.stem.weight"].shape[1]
    return g.finish({"y": [1, m, None, None]}, (z, state["h_a.down2.weight"].shape[0]))


def synthesis_graph(state: dict[str, np.ndarray]) -> onnx.ModelProto:
    """g_s up to its end at half the resolution: y (1, M, h, w), dequantised; gain16, gain8 -> x (1,
    3, 16 h, 16 w)."""
    g = GraphWriter(state, "g_s.")
    f = g.conv(g.node("Mul", ["y", g.weight("scale")]), "stem")
    f = g.node("Mul", [f, "gain16"])
    for i in range(_depth(state, "g_s.blocks16.")):
        f = g.block(f, f"blocks16.{i}")
    f = g.node("Mul", [g.shuffle(g.conv(f, "grow"), 2), "gain8"])
    for i in range(_depth(state, "g_s.blocks8.")):
        f = g.block(f, f"blocks8.{i}")
    f = g.shuffle(g.conv(f, "head"), 8)
    x = g.node("Add", [g.shuffle(g.conv("y", "klt"), 16), f])
    m, w16 = state["g_s.stem.weight"].shape[1], state["g_s.stem.weight"].shape[0]
    w8 = state["g_s.head.weight"].shape[1]
    inputs = {"y": [1, m, None, None], "gain8": [1, w8, 1, 1], "gain16": [1, w16, 1, 1]}
    return g.finish(inputs, (x, 3))


def finishing_graph(state: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The end of g_s at half the resolution: x (1, 3, H, W), gain, share -> x.

    A graph of its own, so that decoders run it in bands, whose features are small beside those of a
    whole image.
    """
    g = GraphWriter(state, "g_s.finish.")
    f = g.node("Mul", [g.conv("x", "stem", unshuffle=2), "gain"])
    for i in range(_depth(state, "g_s.finish.blocks.")):
        f = g.block(f, f"blocks.{i}")
    f = g.node("Mul", [g.conv(f, "head"), "share"])
    inputs = {n: [1, state[f"g_s.finish.{n}.anchors"].shape[1], 1, 1] for n in ("gain", "share")}
    return g.finish({"x": [1, 3, None, None]} | inputs, (g.node("Add", ["x", g.shuffle(f, 2)]), 3))


def transform_graphs(state: dict[str, np.ndarray]) -> dict[str, onnx.ModelProto]:
    """The graphs of g_a and g_s by the names of their files in a bundle."""
    graphs = {"g_a": analysis_graph(state), "g_s": synthesis_graph(state)}
    if "g_s.finish.head.weight" in state:
        graphs[FINISH] = finishing_graph(state)
    return graphs

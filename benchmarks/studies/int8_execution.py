"""An experiment: g_s computed in int8, not only stored so. Measured in docs/guide/slim.md, and not
offered.

    python -m aei.benchmarks.studies.int8_execution photo-1 photos/ -o executed.bundle
    python -m aei.benchmarks.studies.slim photo-1 executed.bundle

The 1x1 convolutions of the blocks, three quarters of the work, run on ONNX Runtime's int8 kernels
(static quantisation: uint8 activations per tensor, int8 weights per channel), calibrated on
photographs at several qualities.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from ...codec import Codec
from ...codec.exact import analysis
from ...codec.models.bundle import located
from ...codec.pixels.images import to_network
from ..datasets import load_dataset

ROWS = (20, 90, 160, 230)  # gain indices
SIDE = 384


def inputs(codec: Codec, folder: str, images: int) -> Iterator[dict[str, np.ndarray]]:
    """What g_s gets for some photographs of a folder, spread over it."""
    data = load_dataset(folder)
    transforms, rows = codec.transforms, codec.bundle.rows
    for i in range(0, len(data), max(1, len(data) // images)):
        image = data.image(i)[1][:SIDE, :SIDE]
        height, width = (side // 16 * 16 for side in image.shape[:2])
        if min(height, width) == 0:
            continue
        for row in ROWS:
            gain = {name: rows[name][row][None, :, None, None] for name in rows if "gain" in name}
            if codec.bundle.analysis is None:
                y = transforms.analysis(to_network(image[:height, :width], 16), row)
            else:
                levels = np.ascontiguousarray(image[:height, :width])
                y = analysis.in_steps(analysis.latents(codec.bundle.analysis, levels, row))
            y = np.rint(y).transpose(2, 0, 1)[None] * gain["inverse_gain"]
            yield {"y": y, "gain16": gain["g_s.gain16"], "gain8": gain["g_s.gain8"]}


def write(source: Path, folder: str, out: Path, images: int = 6) -> None:
    """A copy of a bundle whose g_s computes in int8."""
    import onnx

    from ...codec.models.parts import add_hashes
    from ...codec.models.runtime import onnxruntime

    onnxruntime()  # without telemetry
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    from ...codec.training.export.weights import store

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = inputs(Codec(source, threads=1), folder, images)

        def get_next(self):
            return next(self.rows, None)

    shutil.copytree(source, out, ignore=lambda *_: ["g_s_gradient.onnx", "g_s.onnx"])
    graph = store(onnx.load(source / "g_s.onnx"), "fp32")
    for i, node in enumerate(graph.graph.node):
        node.name = f"{node.op_type}_{i}"
    chosen = [
        n.name
        for n in graph.graph.node
        if n.op_type == "Conv" and n.input[1].endswith((".up.weight", ".down.weight"))
    ]
    with tempfile.TemporaryDirectory() as temporary:
        plain = Path(temporary) / "g_s.onnx"
        onnx.save(graph, plain)
        quantize_static(
            plain, out / "g_s.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            nodes_to_quantize=chosen,
        )  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    manifest["name"] += "-int8-executed"
    manifest.pop("synthesis", None)  # which would make the pixels
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    add_hashes(out)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("photos")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
def main(source: Path, photos: str, output: Path) -> None:
    """Write a copy of the bundle SOURCE (`photo-1`: the one shipped) whose g_s computes in int8."""
    write(located(source), photos, output)


if __name__ == "__main__":
    main()

"""`aei model`: what a bundle is made of, and smaller bundles whose files the old one reads, and
theirs it."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from aei.codec import Codec, UnsupportedError
from aei.codec.models.bundle import Bundle
from aei.codec.pixels.quality import psnr
from conftest import synthetic_photo
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

onnx = pytest.importorskip("onnx", reason="needs the [train] extra")

from aei.codec.training.export import weights
from aei.codec.training.export.facts import bundle_facts
from aei.codec.training.export.slim import quantise_bundle, write_like

GOLDEN = Path(__file__).parents[1] / "golden"
TINY, CAE = GOLDEN / "tiny.bundle", GOLDEN / "factorized.bundle"
GRAPHS = ("g_a", "h_a", "g_s")


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The tiny bundle with weights that are no float16 numbers, as float32."""
    out = tmp_path_factory.mktemp("models") / "single.bundle"
    rng = np.random.default_rng(0)
    graphs = {}
    for name in GRAPHS:
        graph = weights.store(onnx.load(TINY / f"{name}.onnx"), "fp32")
        for tensor in graph.graph.initializer:
            a = onnx.numpy_helper.to_array(tensor)
            noisy = (a * (1 + rng.uniform(-3e-4, 3e-4, a.shape))).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(noisy, tensor.name))
        graphs[name] = graph
    write_like(Bundle(TINY), out, graphs, "single", {"weights": "fp32"})
    return out


def quantised(source, folder, kind):
    quantise_bundle(Bundle(source), folder / kind, kind, f"new-{kind}")
    return folder / kind


def size_of_graphs(bundle):
    return sum((bundle / f"{name}.onnx").stat().st_size for name in GRAPHS)


def check_exchange(old: Path, new: Path, lost_db: float):
    """Files of either bundle have the same latents for both, and nearly the same picture."""
    assert Bundle(old).fingerprint == Bundle(new).fingerprint
    assert Bundle(old).name != Bundle(new).name
    codecs = Codec(old), Codec(new)
    image = synthetic_photo(100, 130, seed=4)
    for quality in (5, 50, 95):
        for writer in codecs:
            data = writer.encode(image, quality)
            assert len({reader.latents_sha256(data) for reader in codecs}) == 1
            own, other = (
                psnr(image, np.asarray(reader.decode(data)))
                for reader in (codecs if writer is codecs[0] else codecs[::-1])
            )
            assert other == pytest.approx(own, abs=lost_db), quality


@pytest.mark.parametrize(("kind", "lost_db"), [("fp16", 0.02), ("int8", 0.5)])
def test_files_of_quantised_bundles(single, tmp_path, kind, lost_db):
    new = quantised(single, tmp_path, kind)
    check_exchange(single, new, lost_db)
    assert size_of_graphs(new) < 0.6 * size_of_graphs(single)  # a tiny graph is half structure
    assert Bundle(new).manifest["slimmed"][-1] == {"from": "single", "weights": kind}


def test_the_shipped_model_has_integers_already(codec, tmp_path):
    with pytest.raises(UnsupportedError, match="integers already"):
        quantised(codec.bundle.path, tmp_path, "int8")


def test_the_gradient_is_that_of_the_small_g_s(tmp_path):
    """A step along it changes the error as it says."""
    small = Codec(quantised(GOLDEN / "offset.bundle", tmp_path, "int8"))
    rng = np.random.default_rng(0)
    y = rng.normal(0, 0.3, (3, 4, small.bundle.prior.program["latents"])).astype(np.float32)
    target = rng.uniform(-0.4, 0.4, (1, 3, 48, 64)).astype(np.float32)
    weight = np.ones((1, 1, 48, 64), np.float32)
    _, gradient = small.transforms.error_gradient(y, 150, target, weight)
    direction = gradient / np.abs(gradient).max()
    ends = [
        small.transforms.error_gradient(y + s * 0.02 * direction, 150, target, weight)[0]
        for s in (1, -1)
    ]
    assert (ends[0] - ends[1]) / 0.04 == pytest.approx((gradient * direction).sum(), rel=0.02)


finite = st.floats(-3, 3, width=32)


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=9), elements=finite)
)
def test_scales_are_no_worse_than_the_largest_weights(weight):
    integers, scales = weights.quantise_channels(weight)
    assert integers.dtype == np.int8
    assert integers.min() >= -127
    rows = tuple(range(1, weight.ndim))
    plain = np.maximum(np.abs(weight).max(rows, keepdims=True) / 127, 1e-14)
    simple = np.square(np.rint(weight / plain) * plain - weight).sum(rows)
    ours = np.square(integers * scales - weight).sum(rows)
    assert (ours <= simple * (1 + 1e-4) + 1e-9).all()  # but for rounding in float32


@pytest.mark.parametrize("name", GRAPHS)
def test_storing_again_loses_nothing(name):
    graph = onnx.load(TINY / f"{name}.onnx")
    before = weights.read_weights(graph)
    for kinds in (("fp32", "fp16"), ("fp32", "fp32", "fp16", "fp16")):
        again = graph
        for kind in kinds:
            again = weights.store(again, kind)
            assert weights.kind_of(again) == kind
        after = weights.read_weights(again)
        assert after.keys() == before.keys()
        for key, value in before.items():
            np.testing.assert_array_equal(after[key], value)
    small = weights.store(graph, "int8")
    larger = weights.store(small, "fp32")
    for key, value in weights.read_weights(small).items():
        np.testing.assert_array_equal(weights.read_weights(larger)[key], value)


def test_what_float16_cannot_hold_is_refused():
    graph = weights.store(onnx.load(TINY / "h_a.onnx"), "fp32")
    tensor = next(t for t in graph.graph.initializer if t.name == "h_a.stem.bias")
    large = np.full(tensor.dims, 1e5, np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(large, tensor.name))
    with pytest.raises(ValueError, match=r"h_a\.stem\.bias does not fit float16"):
        weights.store(graph, "fp16")


def macs_by_hand(c: dict) -> dict[str, float]:
    """MACs per pixel of the aei networks, from their widths."""
    m, w8, w16, p, z = (
        c[k] for k in ("latents", "width8", "width16", "prior_width", "hyper_latents")
    )
    usual = [2 * w8] * c["blocks8"] + [2 * w16] * c["blocks16"]

    def transform(hidden: list[int]) -> float:
        widths = hidden or usual
        at_8, at_16 = widths[: c["blocks8"]], widths[c["blocks8"] :]
        blocks = sum(9 * w8 + 2 * w8 * n for n in at_8) / 64
        blocks += sum(9 * w16 + 2 * w16 * n for n in at_16) / 256
        return m * 3 + w8 * 3 + 4 * w8 * w16 / 256 + w16 * m / 256 + blocks

    w2, blocks2 = c.get("width2", 0), c.get("blocks2", 0)
    finish = (24 * w2 + blocks2 * (9 * w2 + 4 * w2 * w2)) / 4
    return {"g_a": transform(c.get("hidden_a", [])),
            "g_s": transform(c.get("hidden_s", [])),
            "h_a": m * p / 256 + 9 * p * p / 1024 + 9 * p * z / 4096,
            **({"g_s.finish": finish} if blocks2 else {})}  # fmt: skip


@pytest.mark.parametrize("bundle", ["tiny", "shipped"])
def test_facts(bundle, codec):
    opened = Bundle(TINY) if bundle == "tiny" else codec.bundle
    facts = bundle_facts(opened)
    json.dumps(facts)
    assert facts["bytes"] == sum(p.stat().st_size for p in opened.path.iterdir())
    held = opened.manifest.get("analysis") is not None  # then no graph holds those of g_a and h_a
    assert ("g_a" in facts["parts"]) != held
    for name, macs in macs_by_hand(opened.manifest["network"]).items():
        if held and name in ("g_a", "h_a"):
            continue
        assert facts["parts"][name]["macs_per_pixel"] == pytest.approx(macs, abs=0.06)
        assert facts["parts"][name]["weights"] in ("fp16", "those of the synthesis")
    if not held:
        assert facts["parts"]["g_a"]["parameters"] < facts["parts"]["g_a"]["bytes"] / 2
    if bundle == "shipped":
        # backwards is every layer once more, but for the one that the pixels leave by: none here
        work = {name: part["macs_per_pixel"] for name, part in facts["parts"].items()}
        forward = work["g_s"] + work["g_s.finish"]
        assert work["g_s_gradient"] == pytest.approx(2 * forward, rel=0.01)


def test_info_command(run_aei, monkeypatch):
    result = run_aei("model", "info", TINY, "--json")
    assert result.code == 0
    facts = json.loads(result.out)
    assert facts["fingerprint"] == "1f257bbe"
    assert facts["parts"]["prior"]["weights"] == "int16"
    assert "MACs" in run_aei("model", "info", CAE).out
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = run_aei("model", "info", TINY)
    assert result.code == 0
    assert "pip install onnx" in result.err
    assert "1f257bbe" in result.out


def test_refusals(run_aei, tmp_path):
    shutil.copytree(TINY, tmp_path / "a.bundle")
    (tmp_path / "photo").mkdir()
    (tmp_path / "photo" / "x").touch()
    b = tmp_path / "b.bundle"

    def said(*args, code=1) -> str:
        result = run_aei("model", *args)
        assert result.code == code
        assert "Traceback" not in result.err
        return result.err

    int8 = ("--to", "int8", "-o")
    assert "not a model bundle" in said("info", tmp_path)
    assert "not a model bundle" in said("quantize", tmp_path, *int8, b)
    assert "fp16 already" in said("quantize", TINY, "--to", "fp16", "-o", b)
    assert "--arch cae" in said("quantize", CAE, *int8, b)
    assert "exists" in said("quantize", TINY, *int8, tmp_path / "a.bundle")
    assert "input itself" in said(
        "quantize", tmp_path / "a.bundle", *int8, tmp_path / "a.bundle", "-f"
    )
    assert "is not a model bundle" in said("quantize", TINY, *int8, tmp_path / "photo", "--force")
    prune = ("prune", TINY, "-o", b, "--keep")
    assert "--data" in said(*prune, "0.5", code=2)
    assert "0<x<1" in said(*prune, "1.5", "--data", tmp_path, code=2)
    assert "--steps" in said(*prune, "0.5", "--data", tmp_path, "--run", b, code=2)
    assert "no image files found" in said(*prune, "0.5", "--data", tmp_path)
    assert "--arch cae" in said("prune", CAE, "--keep", "0.5", "-o", b, "--data", tmp_path)
    assert not b.exists()
    (tmp_path / "a.bundle" / "h_a.onnx").unlink()
    assert "h_a.onnx: not a readable graph" in said("quantize", tmp_path / "a.bundle", *int8, b)
    shutil.copy(TINY / "h_a.onnx", tmp_path / "a.bundle")
    (tmp_path / "a.bundle" / "g_s.onnx").write_bytes(b"\x08\xff no graph")
    assert "g_s.onnx: not a readable graph" in said("quantize", tmp_path / "a.bundle", *int8, b)
    assert "g_s.onnx: not a readable graph" in said("info", tmp_path / "a.bundle")
    assert run_aei("model", "quantize", TINY, *int8, b).code == 0
    assert run_aei("model", "quantize", TINY, *int8, b, "--force", "--name", "c").code == 0
    assert Bundle(b).name == "c"
    assert "int8 already" in said("quantize", b, "--to", "fp16", "-o", tmp_path / "d")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bundle", "b.bundle", "photo"]


def test_computing_in_int8(tmp_path):
    from aei.benchmarks.studies.int8_execution import write

    images = tmp_path / "images"
    images.mkdir()
    photo = synthetic_photo(100, 120)
    Image.fromarray(photo).save(images / "a.png")
    write(TINY, str(images), tmp_path / "int8")
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8" / "g_s.onnx").graph.node}
    assert "QuantizeLinear" in kinds
    data = Codec(TINY).encode(photo)
    ours, theirs = (
        psnr(photo, np.asarray(Codec(b).decode(data))) for b in (tmp_path / "int8", TINY)
    )
    assert ours == pytest.approx(theirs, abs=0.5)
    assert ours != theirs


def test_bundles_compare(single, tmp_path):
    pytest.importorskip("scipy", reason="needs the [bench] extra")
    from aei.benchmarks.studies.slim import compare, table

    darker = weights.store(onnx.load(single / "g_s.onnx"), "fp32")
    tensor = next(t for t in darker.graph.initializer if t.name == "g_s.klt.weight")
    a = onnx.numpy_helper.to_array(tensor) * np.float32(0.97)
    tensor.CopyFrom(onnx.numpy_helper.from_array(a, tensor.name))
    write_like(Bundle(single), tmp_path / "dark", {"g_s": darker}, "dark", {}, synthesis=None)
    # the float g_s, which is another, makes the pixels
    write_like(Bundle(single), tmp_path / "base", {}, "single", {}, synthesis=None)
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(synthetic_photo(64, 80)).save(images / "a.png")
    results = compare([tmp_path / "base", tmp_path / "dark"], str(images), None, (10, 50, 95), 1)
    base, dark = results["bundles"]
    assert base["bd_rate"] == {"own": 0, "read_by_base": 0, "reads_base": 0}
    assert base["decode_ratio"] == 1
    # only the reader is worse
    assert dark["bd_rate"]["own"] == dark["bd_rate"]["reads_base"] > 1
    assert dark["bd_rate"]["read_by_base"] == 0
    assert "| dark |" in table(results)

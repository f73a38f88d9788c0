"""Bundles of strangers, and damaged ones: always a ModelError, soon, and never a wrong picture."""

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aei.codec import Codec
from aei.codec.exact.check import check_prior
from aei.codec.exact.prior import fingerprint
from aei.codec.models.bundle import Bundle, default_bundle, read_arrays
from aei.codec.models.parts import add_hashes, hashes_of
from aei.formats import AeiError, ModelError
from aei.formats.tiles import Box
from golden_files import FACTS, GOLDEN, read

save_file = pytest.importorskip("safetensors.numpy").save_file

# What a model without integer transforms is read from, and one with.
FLOAT = ["manifest.json", "prior.json", "prior.safetensors", "rows.safetensors", "g_a.onnx",
         "h_a.onnx", "g_s.onnx"]  # fmt: skip
INTEGER = ["manifest.json", "prior.json", "prior.safetensors", "analysis.json",
           "analysis.safetensors", "synthesis.json", "synthesis.safetensors"]  # fmt: skip
FILES = [*(("offset", name) for name in FLOAT), *(("context", name) for name in INTEGER)]
IMAGE = np.full((48, 64, 3), 90, np.uint8)


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A small bundle, to be spoilt."""
    folder = tmp_path / "a.bundle"
    shutil.copytree(GOLDEN / "context.bundle", folder)
    return folder


def use(folder: Path) -> None:
    codec = Codec(folder)
    codec.decode(codec.encode(IMAGE))


def refused(folder: Path) -> None:
    with pytest.raises(ModelError) as caught:
        use(folder)
    assert "\n" not in str(caught.value)


def test_the_small_bundle_works(bundle):
    use(bundle)
    add_hashes(bundle)
    use(bundle)


@pytest.mark.parametrize(("source", "name"), FILES)
@pytest.mark.parametrize("spoil", ["missing", "empty", "noise", "cut", "folder", "pipe", "zero"])
def test_spoilt_files(tmp_path, source, name, spoil):
    bundle = tmp_path / "spoilt.bundle"
    shutil.copytree(GOLDEN / f"{source}.bundle", bundle)
    path = bundle / name
    data = path.read_bytes()
    path.unlink()
    if spoil == "empty":
        path.write_bytes(b"")
    elif spoil == "noise":
        path.write_bytes(np.random.default_rng(1).bytes(500))
    elif spoil == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif spoil == "folder":
        path.mkdir()
    elif spoil == "pipe":
        os.mkfifo(path)
    elif spoil == "zero":
        path.symlink_to("/dev/zero")
    refused(bundle)


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": 7}, {"fingerprint": "7f"}, {"fingerprint": "xx"}, {"name": 3}, {"halo": -1},
     {"halo": "7"}, {"halo": 10**9}, {"halo": None}, {"margin": 10**9}, {"margin": 1.5},
     {"lambda": 3}, {"lambda": [1]}, {"lambda": [1, 0.1]}, {"lambda": ["a", "b"]},
     {"lambda": [-1, 1]}, {"rounding_bits": "a"}, {"rounding_bits": -1}, {"rounding_bits": None}],
)  # fmt: skip
def test_odd_manifests(bundle, change):
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(bundle)


@pytest.mark.parametrize("text", ["[]", "3", "null", "[" * 100_000, '"x"'])
@pytest.mark.parametrize("name", ["manifest.json", "prior.json"])
def test_json_that_is_no_object(bundle, name, text):
    (bundle / name).write_text(text)
    refused(bundle)


def rewrite(folder: Path, program: dict, arrays: dict) -> None:
    """A bundle with another prior, its fingerprint as it should be."""
    text = json.dumps(program)
    (folder / "prior.json").write_text(text)
    save_file({k: np.ascontiguousarray(a) for k, a in arrays.items()}, folder / "prior.safetensors")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | {"fingerprint": fingerprint(text, arrays).hex()}
    path.write_text(json.dumps(manifest))


def parts(folder: Path) -> tuple[dict, dict]:
    program = json.loads((folder / "prior.json").read_text())
    return program, read_arrays(folder / "prior.safetensors")


def test_accumulators_beyond_2_52_are_refused_when_the_bundle_is_loaded(bundle):
    program, arrays = parts(bundle)
    name = "context.0.head.bias"
    arrays[name] = arrays[name].copy()
    arrays[name][0] = 1 << 52
    rewrite(bundle, program, arrays)
    with pytest.raises(ModelError, match=r"may pass 2\^52"):
        _ = Bundle(bundle).prior
    rows = "rows.view_multiplier"
    program, arrays = parts(GOLDEN / "context.bundle")
    arrays[rows] = np.full_like(arrays[rows], 2**31 - 1)
    rewrite(bundle, program, arrays)
    with pytest.raises(ModelError, match=r"may pass 2\^52|may be too large"):
        _ = Bundle(bundle).prior


def spots(value, path=()):
    """Paths to everything within a program."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from spots(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 3)):
            yield from spots(value[i], (*path, i))


def test_no_change_of_a_program_ends_in_anything_but_a_model_error(bundle):
    program, arrays = parts(bundle)
    unused = {"fractions"}
    for path in spots(program):
        if not path or path[0] in unused:
            continue
        for new in (None, -1, 10**9, "x", [], {}, 1.5):
            other = json.loads(json.dumps(program))
            place = other
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = new
            try:
                check_prior(other, arrays)
            except ModelError:
                continue
            # what is still accepted can run
            rewrite(bundle, other, arrays)
            with contextlib.suppress(AeiError):
                use(bundle)


def test_no_array_of_another_shape_ends_in_anything_but_a_model_error():
    program, arrays = parts(GOLDEN / "context.bundle")
    check_prior(program, arrays)
    for name, a in arrays.items():
        if name == "rows.z_table":
            continue  # of models without a context
        for other in (a[:0], a[:1], a.reshape(-1)[:1], a.astype(np.float32), a[None], None):
            changed = {k: v for k, v in arrays.items() if k != name}
            if other is not None:
                changed[name] = other
            with pytest.raises(ModelError):
                check_prior(program, changed)


def test_damage_to_any_file_of_the_shipped_model_is_noticed(tmp_path):
    source = default_bundle().path
    hashes = json.loads((source / "manifest.json").read_text())["files"]
    assert hashes == hashes_of(source)
    folder = tmp_path / "base"
    shutil.copytree(source, folder)
    codec = Codec(source)
    data = codec.encode(IMAGE)
    nothing = np.zeros((2, 2, codec.bundle.prior.latents), np.int32)
    uses = {
        "prior.safetensors": lambda codec: codec.decode(data),
        "synthesis.safetensors": lambda codec: codec.decode(data),
        "analysis.safetensors": lambda codec: codec.encode(IMAGE),
        "rows.safetensors": lambda codec: codec.encode(IMAGE, effort=2),
        "g_s_gradient.onnx": lambda codec: codec.encode(IMAGE, effort=2),
        "g_s.onnx": lambda codec: codec.transforms.synthesis(nothing, 100, 6),
        "g_s.finish.onnx": lambda codec: codec.transforms.synthesis(nothing, 100, 6),
    }
    for name, use_it in uses.items():
        path = folder / name
        good = path.read_bytes()
        bad = bytearray(good)
        at = len(bad) * 2 // 3
        bad[at : at + 64] = bytes(b ^ 0x11 for b in bad[at : at + 64])
        path.write_bytes(bad)
        with pytest.raises(ModelError, match="reinstall the model"):
            use_it(Codec(folder))
        path.write_bytes(good)
    Codec(folder).decode(data)


def test_weights_that_a_graph_takes_from_another_file_are_checked(tmp_path, capfd):
    source = default_bundle().path
    folder = tmp_path / "base"
    shutil.copytree(source, folder)
    name = "synthesis.safetensors"
    assert name.encode() in (source / "g_s.onnx").read_bytes()
    data = (source / name).read_bytes()
    for bad in (data[: len(data) // 2], data[:-64] + bytes(64)):
        (folder / name).write_bytes(bad)
        with pytest.raises(ModelError, match="reinstall the model"):
            Codec(folder).transforms.synthesis(
                np.zeros((2, 2, 320), np.int32), 9, 6, Box(0, 0, 32, 32)
            )
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["training.safetensors", "g_s_gradient.onnx", "synthesis.json"])
def test_a_bundle_that_lacks_a_file_is_not_used(tmp_path, name):
    folder = tmp_path / "base"
    shutil.copytree(default_bundle().path, folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        Codec(folder)


def test_a_file_that_the_manifest_does_not_name_is_not_used(bundle):
    add_hashes(bundle)
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["files"]["synthesis.json"]
    path.write_text(json.dumps(manifest))
    refused(bundle)


def test_restoring_bundles_are_checked_too(tmp_path):
    from aei.codec.restore.restorers import Restorer

    source = Path(__file__).parents[2] / "restore" / "aei_restore" / "bundles" / "denoise"
    if not source.exists():
        pytest.skip("not beside the restoring bundles")
    folder = tmp_path / "denoise"
    shutil.copytree(source, folder)
    graph = folder / "restore.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 0x55
    graph.write_bytes(data)
    x = np.zeros((1, 3, 64, 64), np.float32)
    with pytest.raises(ModelError, match="reinstall"):
        Restorer(folder).run(x, np.zeros((1, 21, 1, 1), np.float32))
    graph.unlink()
    os.mkfifo(graph)
    with pytest.raises(ModelError, match="regular"):
        Restorer(folder).run(x, np.zeros((1, 21, 1, 1), np.float32))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="knows two machines")
@pytest.mark.parametrize("core", ["auto", "numpy"])
@pytest.mark.parametrize("mode", ["up", "down", "zero"])
def test_other_rounding_modes(mode, core, aei_file, codec, tmp_path):
    x86 = {"up": 0x800, "down": 0x400, "zero": 0xC00}
    arm = {"up": 0x400000, "down": 0x800000, "zero": 0xC00000}
    value = (x86 if platform.machine() == "x86_64" else arm)[mode]
    (tmp_path / "a.aei").write_bytes(aei_file)
    filtered = "filter-grey-170x100-tiles"
    other = GOLDEN / f"{FACTS[filtered]['bundle']}.bundle"
    (tmp_path / "b.aei").write_bytes(read(filtered))
    code = f"""
import ctypes, ctypes.util, sys
from aei.codec import Codec
codec = Codec()
data = open({str(tmp_path / "a.aei")!r}, "rb").read()
libm = ctypes.CDLL(ctypes.util.find_library("m"))
assert libm.fesetround({value}) == 0
print(codec.latents_sha256(data))
print(codec.pixels_sha256(data))
print(Codec({str(other)!r}).pixels_sha256(open({str(tmp_path / "b.aei")!r}, "rb").read()))

import numpy as np
from aei.codec.exact import interpreter
def rescale(a, shift, bias=0.0):
    return np.floor(a * 2.0**-shift + (bias * 2.0**-shift + 0.5))
interpreter.rescale = rescale
assert interpreter.known_answer() == all(2.0**-s == 1 / (1 << s) for s in range(1, 33))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        env={**os.environ, "AEI_CORE": core},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        codec.latents_sha256(aei_file), codec.pixels_sha256(aei_file),
        Codec(other).pixels_sha256(read(filtered)),
    ]  # fmt: skip

"""The integer analysis: NumPy and the native core make the same of an image, and a file has the
same bytes on every machine."""

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from aei.codec import Codec, ModelError
from aei.codec.exact import analysis
from aei.codec.exact.analysis_program import LATENT_BITS, LATENT_MOST, TABLE, Layer, read_analysis
from aei.codec.exact.native import instruction_sets
from aei.codec.models.bundle import Bundle, read_arrays
from conftest import synthetic_photo
from golden_files import CORES, GOLDEN, codec_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

BUNDLES = ("context", "finish")
PINNED = json.loads((GOLDEN / "encodings.json").read_text())


def use(monkeypatch, core: str) -> None:
    for variable, value in CORES[core].items():
        monkeypatch.setenv(variable, value)


def encoded(name: str, codec: Codec | None = None) -> bytes:
    """The file of a line of encodings.json."""
    facts = PINNED[name]
    codec = codec or codec_of(facts["bundle"])
    with Image.open(GOLDEN / f"{facts['image']}.png") as image:
        return codec.encode(image, **facts["options"])


# -- what it computes -----------------------------------------------------------------------------


@pytest.mark.parametrize("isa", instruction_sets())
@pytest.mark.parametrize("bundle", BUNDLES)
def test_native_is_numpy(bundle, isa, monkeypatch):
    found = codec_of(bundle).bundle.analysis
    noise = np.random.default_rng(0).integers(0, 2, (80, 112, 3)).astype(np.uint8) * 255
    for levels, gain_index in ((synthetic_photo(208, 176), 90), (noise, 255), (noise[:16, :16], 0)):
        monkeypatch.setenv("AEI_CORE", "numpy")
        y = analysis.latents(found, levels, gain_index)
        z_hat = analysis.hyper_symbols(found, y, gain_index)
        assert np.abs(y).max() > 0
        use(monkeypatch, isa)
        assert np.array_equal(analysis.latents(found, levels, gain_index), y)
        assert np.array_equal(analysis.hyper_symbols(found, y, gain_index), z_hat)
        assert vars(found.g_a)["native"] is not None
        assert vars(found.h_a)["native"] is not None


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 255), st.integers(0, 99))
def test_native_is_numpy_on_any_grid(rows, columns, gain_index, seed):
    """Latents of any magnitude, and grids of odd sides, which `neighbours` halves."""
    found = codec_of("context").bundle.analysis
    rng = np.random.default_rng(seed)
    y = rng.integers(-LATENT_MOST, LATENT_MOST + 1, (rows, columns, 12))
    y = (y >> rng.integers(0, 24, y.shape)).astype(np.int32)
    levels = rng.integers(0, 256, (16 * rows, 16 * columns, 3)).astype(np.uint8)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("AEI_CORE", "numpy")
        z_hat = analysis.hyper_symbols(found, y, gain_index)
        latents = analysis.latents(found, levels, gain_index)
    assert z_hat.shape[:2] == (-(-rows // 4), -(-columns // 4))
    assert np.array_equal(analysis.hyper_symbols(found, y, gain_index), z_hat)
    assert np.array_equal(analysis.latents(found, levels, gain_index), latents)


def test_asinh():
    pytest.importorskip("torch", reason="needs the [train] extra")
    from aei.codec.training.export.analysis import ASINH_BITS, asinh_table

    layer = Layer("asinh", ("y",), "a", table=asinh_table())
    y = np.concatenate([np.arange(-3000, 3000), np.geomspace(3000, LATENT_MOST, 999)])
    y = y.astype(np.int32)
    made = analysis._asinh(layer, y) * 2.0**-ASINH_BITS
    np.testing.assert_allclose(made, np.arcsinh(y * 2.0**-LATENT_BITS), atol=1e-3)
    assert np.array_equal(analysis._asinh(layer, -y), -analysis._asinh(layer, y))


@pytest.mark.parametrize("bundle", BUNDLES)
def test_it_is_the_float_network(bundle):
    """Of `finish`, weights are those that its integers stand for."""
    torch = pytest.importorskip("torch")
    from aei.codec.training.export.analysis import floats
    from aei.codec.training.export.export import restore_model

    opened = Bundle(GOLDEN / f"{bundle}.bundle")
    model = restore_model(opened).eval()
    image = synthetic_photo(96, 128, seed=7)
    for gain_index in (20, 130, 240):
        with torch.no_grad():
            y, z = floats(model, image, gain_index)
        own = analysis.latents(opened.analysis, image, gain_index)
        np.testing.assert_allclose(analysis.in_steps(own), y, atol=0.03 + 1e-3 * np.abs(y).max())
        z_hat = analysis.hyper_symbols(opened.analysis, own, gain_index)
        assert np.abs(z_hat - z).max() < 0.6


# -- what is refused ------------------------------------------------------------------------------


def parts(bundle="finish"):
    folder = GOLDEN / f"{bundle}.bundle"
    description = json.loads((folder / "analysis.json").read_text())
    arrays = read_arrays(folder / "analysis.safetensors")
    return description, arrays, codec_of(bundle).bundle.prior.program


def test_bounds_are_checked():
    description, arrays, prior = parts()
    for name in ("g_a.head", "g_a.klt", "g_a.shrink", "h_a.down2"):
        heavy = arrays | {f"{name}.weight": np.full_like(arrays[f"{name}.weight"], 32767)}
        if arrays[f"{name}.weight"].shape[1] * 128 * 32767 < 2**31 and name == "g_a.klt":
            continue  # what bytes can be multiplied by
        with pytest.raises(ModelError, match="do not fit 32 bits"):
            read_analysis(description, heavy, prior)
    falling = arrays["h_a.asinh"][::-1].copy()
    with pytest.raises(ModelError, match="falls"):
        read_analysis(description, arrays | {"h_a.asinh": falling}, prior)
    steep = np.zeros(TABLE, np.int16)
    steep[5:] = 2000
    with pytest.raises(ModelError, match="too fast"):
        read_analysis(description, arrays | {"h_a.asinh": steep}, prior)
    far = np.full_like(arrays["g_a.left"], 9)
    with pytest.raises(ModelError, match="too far apart"):
        read_analysis(description, arrays | {"g_a.left": far}, prior)


def change(program, which, **fields):
    def apply(description):
        layer = next(x for x in description[program] if x["op"] == which)
        layer.update(fields)

    return apply


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (change("g_a", "latents", **{"in": ["add1", "add1"]}), "wrong registers"),
        (change("g_a", "depthwise3x3", **{"in": "x"}), "wrong registers"),
        (change("g_a", "unshuffle", size=5), "unshuffle 16 rows by 5"),
        (change("g_a", "sums", **{"in": "nowhere"}), "before they are written"),
        (change("g_a", "sums", op="product"), "does not know"),
        (change("g_a", "latents", left="h_a.asinh"), "needs an array"),
        (change("h_a", "asinh", **{"in": "conv1x11"}), "before they are written"),
        (change("h_a", "symbols", op="row"), "wrong registers"),
        (lambda d: d["g_a"].pop(), "nothing reads"),
        (lambda d: d["h_a"].clear(), "lacks a program"),
        (lambda d: d.update(latent_bits=9), "other than 8 bits"),
        (lambda d: d.update(hyper_latents=7), "another 'hyper_latents'"),
        (lambda d: d.update(g_a={}), "lacks a program"),
        (lambda d: d["g_a"].insert(0, []), "no object"),
    ],
)
def test_refusals(alter, said):
    description, arrays, prior = parts()
    description = copy.deepcopy(description)
    alter(description)
    with pytest.raises(ModelError, match=said) as error:
        read_analysis(description, arrays, prior)
    assert "the synthesis" not in str(error.value)


def test_a_changed_analysis_is_refused(tmp_path):
    folder = tmp_path / "finish.bundle"
    shutil.copytree(GOLDEN / "finish.bundle", folder)
    (folder / "analysis.json").write_text((folder / "analysis.json").read_text() + " ")
    with pytest.raises(ModelError, match="analysis does not match"):
        Codec(folder).encode(synthetic_photo(20, 20))
    (folder / "analysis.safetensors").unlink()
    with pytest.raises(ModelError, match="not a readable part"):
        Codec(folder).encode(synthetic_photo(20, 20))


# -- the same bytes -------------------------------------------------------------------------------


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", PINNED)
def test_encodings(name, core, monkeypatch):
    use(monkeypatch, core)
    assert hashlib.sha256(encoded(name)).hexdigest() == PINNED[name]["sha256"]


def test_many_threads():
    names = [name for name in PINNED if PINNED[name]["bundle"] == "finish"]
    codec = Codec(GOLDEN / "finish.bundle", threads=4)
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda name: encoded(name, codec), names * 3))
    for name, file in zip(names * 3, files):
        assert hashlib.sha256(file).hexdigest() == PINNED[name]["sha256"]


def test_other_vector_units_of_numpy():
    """What NumPy computes with fewer instructions, as on another machine."""
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_analysis import PINNED, encoded\n"
        "import hashlib\n"
        "for name in PINNED:\n"
        "    assert hashlib.sha256(encoded(name)).hexdigest() == PINNED[name]['sha256'], name\n"
    )
    fewer = " ".join(f for f in np.show_config("dicts")["SIMD Extensions"].get("found", []))
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": fewer, "OPENBLAS_CORETYPE": "Nehalem"}
    folders = [Path(__file__).parent, GOLDEN.parent, GOLDEN.parent / "helpers"]
    run = subprocess.run(
        [sys.executable, "-c", script, *map(str, folders)], env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def test_encoding_does_not_load_onnxruntime(tmp_path):
    Image.fromarray(synthetic_photo(60, 80)).save(tmp_path / "a.png")
    script = (
        "import sys\nfrom aei.cli.main import main\n"
        "try:\n    main()\nfinally:\n    assert 'onnxruntime' not in sys.modules\n"
    )
    for effort in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", script, "encode", str(tmp_path / "a.png"), "-o",
             str(tmp_path / f"{effort}.aei"), "--effort", effort, "--tune", "psnr",
             "--model", str(GOLDEN / "finish.bundle")],
            capture_output=True, text=True,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert (tmp_path / f"{effort}.aei").stat().st_size > 50


def test_refinement_starts_from_the_same_latents():
    image = synthetic_photo(100, 90)
    codec = codec_of("finish")
    files = [codec.encode(image, gain_index=220, effort=effort, tune="psnr") for effort in (1, 4)]
    assert files[0] != files[1]
    errors = [np.square(np.asarray(codec.decode(f)) - image.astype(float)).sum() for f in files]
    worth = codec.bundle.bits_per_error(220) / 255**2
    assert 8 * len(files[1]) + worth * errors[1] < 8 * len(files[0]) + worth * errors[0]

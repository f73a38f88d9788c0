"""web/ in Node: the same latents, pixels and errors as the Python package."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from aei.codec import AeiError, Codec, Limits
from aei.codec.models.bundle import Bundle, default_bundle, read_arrays
from aei.codec.training.export import web
from aei.formats import parse
from aei.formats.sections import PREVIEW
from PIL import Image
from web_fixtures import dist, models, node, photographs, verdicts

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
if not WEB.is_dir():
    pytest.skip("needs the source tree", allow_module_level=True)
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
golden_files = pytest.importorskip("golden_files")
EXACT = {name: facts for name, facts in golden_files.FACTS.items() if "pixels_sha256" in facts}


def pixels_of(image: Image.Image) -> dict:
    """A Pillow image as verdicts.mjs tells of it."""
    sha256 = hashlib.sha256(image.tobytes()).hexdigest()
    return {"pixels": sha256, "width": image.width, "height": image.height, "mode": image.mode}


def shown(verdict: dict) -> dict:
    return {k: v for k, v in verdict.items() if k in ("pixels", "width", "height", "mode", "error")}


def test_golden_files_have_the_latents_of_their_manifest(verdicts):
    names = list(golden_files.FACTS)
    found = verdicts([{"data": golden_files.read(name), "latents": True} for name in names])
    for name, verdict in zip(names, found["verdicts"], strict=True):
        assert verdict == {"latents": golden_files.FACTS[name]["latents_sha256"]}, name


def test_golden_files_have_the_pixels_and_metadata_of_their_manifest(verdicts):
    found = verdicts([{"data": golden_files.read(name)} for name in EXACT])
    for (name, facts), verdict in zip(EXACT.items(), found["verdicts"], strict=True):
        assert verdict.get("pixels") == facts["pixels_sha256"], (name, verdict)
        assert verdict["mode"] == facts["mode"]
        for key, ours in (("icc_profile", "icc"), ("exif", "exif"), ("xmp", "xmp")):
            if key in facts["metadata"] and key != "exif":
                assert verdict[ours] == facts["metadata"][key], (name, key)


def test_photographs_have_the_same_latents_and_pixels(verdicts, photographs):
    codec = Codec(threads=2)
    cases = [{"data": data} for data in photographs.values()]
    found = verdicts([*cases, *(case | {"latents": True} for case in cases)])["verdicts"]
    for (name, data), verdict in zip(photographs.items(), found, strict=False):
        assert verdict.get("pixels") == codec.pixels_sha256(data), name
    for case, verdict in zip(cases, found[len(cases) :], strict=True):
        assert verdict["latents"] == codec.latents_sha256(case["data"])


def _parts() -> list[dict]:
    """Regions and scales of golden files, drawn at random."""
    rng = np.random.default_rng(25)
    cases = []
    for name, facts in EXACT.items():
        width, height = facts["size"]
        for _ in range(6):
            left, top = int(rng.integers(width)), int(rng.integers(height))
            box = [
                left,
                top,
                int(rng.integers(width - left)) + 1,
                int(rng.integers(height - top)) + 1,
            ]
            if rng.random() < 0.3:
                left, top = left // 8 * 8, top // 8 * 8
                box = [left, top, width - left, height - top]
            case = {"name": name, "scale": int(rng.choice([1, 2, 4, 8]))}
            # a small whole may come from a preview, reduced as each likes
            whole = rng.random() < 0.2 and not name.startswith("preview")
            cases.append(case | {"region": None if whole else box})
    return cases


def test_regions_and_scales_are_those_of_python(verdicts):
    cases = _parts()
    asked = [
        {"data": golden_files.read(c["name"]), "region": c["region"], "scale": c["scale"]}
        for c in cases
    ]
    for case, verdict in zip(cases, verdicts(asked)["verdicts"], strict=True):
        codec = golden_files.codec_of(EXACT[case["name"]]["bundle"])
        data, region = golden_files.read(case["name"]), case["region"]
        image = codec.decode(data, region=region, scale=case["scale"])
        assert shown(verdict) == pixels_of(image), case


def test_previews_are_shown_first(node, models, tmp_path):
    """Exactly the file in the file; a bad one is none, and nothing else."""
    name = "preview-rgb-alpha-48x340-tiles"
    data, codec = golden_files.read(name), golden_files.codec_of(EXACT[name]["bundle"])
    contents = parse(data)
    small = codec.decode(contents.sections[PREVIEW])
    expected = {"width": small.width, "height": small.height, "pixels": pixels_of(small)["pixels"]}
    damaged = bytearray(data)
    at = data.index(contents.sections[PREVIEW]) + 40
    damaged[at] ^= 1
    end = contents.entries[0].start
    damaged[end - 4 : end] = zlib.crc32(damaged[: end - 4]).to_bytes(4, "little")

    def told(file: bytes) -> dict:
        path = tmp_path / "a.aei"
        path.write_bytes(file)
        command = [node, str(WEB / "test" / "preview.mjs"), str(models), str(path)]
        made = subprocess.run(command, capture_output=True, timeout=100, check=True)
        return json.loads(made.stdout)

    found = told(data)
    assert found["early"] == expected
    assert found["previews"] == [expected]
    assert found["header"]["width"] == 48
    assert found["short"] == {"error": "DamagedFileError"}
    found = told(bytes(damaged))
    assert (found["early"], found["previews"], "error" in found) == (None, [], False)
    assert told(golden_files.read("finish-rgb-150x120"))["early"] is None


def test_wide_pictures_come_in_strips(verdicts):
    """Wider than a band may be, with a post-filter's margins and what reductions need."""
    codec = golden_files.codec_of("finish")
    rng = np.random.default_rng(1)
    colour = np.repeat(rng.integers(0, 256, (40, 1070, 3), np.uint8), 16, 1)
    data = codec.encode(colour, 60, effort=1, tune="psnr", tile_side=512)
    cases = [
        {"scale": 1, "region": None}, {"scale": 8, "region": None},
        {"scale": 2, "region": [5, 3, 17000, 30]},
    ]  # fmt: skip
    found = verdicts([case | {"data": data} for case in cases])["verdicts"]
    for case, verdict in zip(cases, found, strict=True):
        assert shown(verdict) == pixels_of(codec.decode(data, **case)), case


LIMITS = {"pixels": 1 << 18, "memory": 64 << 20, "metadata": 1 << 16}


def test_a_thousand_hostile_files_end_as_in_python(verdicts):
    import fuzz

    codecs = {golden_files.codec_of(f["bundle"]).bundle.fingerprint for f in EXACT.values()}
    by_model = {
        golden_files.codec_of(f["bundle"]).bundle.fingerprint: golden_files.codec_of(f["bundle"])
        for f in golden_files.FACTS.values()
    }
    inputs: list[bytes] = []
    for i in range(2000):
        data = fuzz.make_input("web", i)
        # models without an integer synthesis have no exact pixels to compare
        if data[5:9] in codecs or data[5:9] not in by_model:
            inputs.append(data)
    inputs = inputs[:1000]
    assert len(inputs) == 1000
    found = verdicts([{"data": data, "limits": LIMITS} for data in inputs])
    default, kinds = golden_files.codec_of("tiny"), set()
    for i, (data, verdict) in enumerate(zip(inputs, found["verdicts"], strict=True)):
        codec = by_model.get(bytes(data[5:9]), default)
        try:
            wanted = pixels_of(codec.decode(data, limits=Limits(**LIMITS)))
        except AeiError as error:
            wanted = {"error": type(error).__name__}
        assert shown(verdict) == wanted, (i, verdict)
        kinds.add(verdict.get("error"))
    assert len(kinds) >= 6, kinds  # it is no test if all are refused alike
    assert found["memory"] < 800 << 20


def test_what_is_not_there_or_cannot_be_is_said_as_in_python(verdicts):
    data = golden_files.read("rgb-100x60-low")
    asked = [
        {"data": b""}, {"data": b"GIF89a"}, {"data": data[:-1]}, {"data": data, "scale": 3},
        {"data": data, "region": [90, 0, 20, 10]}, {"data": data, "limits": {"pixels": 5999}},
        {"data": data, "limits": {"memory": 1 << 20}}, {"data": data, "limits": {"work": 100}},
        {"data": golden_files.read("offset-noise-48x32")},
    ]  # fmt: skip
    names = [verdict.get("error") for verdict in verdicts(asked)["verdicts"]]
    assert names == [
        "NotAnAeiFileError", "NotAnAeiFileError", "DamagedFileError", "UnsupportedError",
        "UnsupportedError", "LimitError", "LimitError", "LimitError", "UnsupportedError",
    ]  # fmt: skip


def test_known_profiles_are_those_of_python(node):
    from aei.codec.pixels.profiles import known_profile

    script = f"""import {{ knownProfile }} from {str(WEB / "src" / "profiles.js")!r};
    for (let i = 1; i < 6; i++) console.log(Buffer.from(knownProfile(i)).toString("hex"));"""
    command = [node, "--input-type=module", "-e", script]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    from PIL import ImageCms

    for number, line in enumerate(lines, 1):
        ours, theirs = (
            ImageCms.ImageCmsProfile(io.BytesIO(p))
            for p in (bytes.fromhex(line), known_profile(number))
        )
        assert ours.profile.xcolor_space == theirs.profile.xcolor_space
        if number < 4:
            for colour in ("red", "green", "blue"):
                a, b = (getattr(p.profile, f"{colour}_colorant")[0] for p in (ours, theirs))
                assert np.allclose(a, b, atol=1e-4)


# -- weights --------------------------------------------------------------------------------------


def weights_of(node: str, *arguments: object) -> list[str]:
    """What web/test/weights.mjs prints."""
    command = [node, str(WEB / "test" / "weights.mjs"), *map(str, arguments)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    return made.stdout.split()


def test_damaged_weights_are_refused(node, tmp_path):
    """One changed bit anywhere: refused, or what it says is the same (a class of zeros, say)."""
    whole = web.pack_weights(Bundle(ROOT / "tests" / "golden" / "tiny.bundle"))
    rng = np.random.default_rng(0)
    for i in range(40):
        data = bytearray(whole)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        (tmp_path / f"{i}.aeiw").write_bytes(data)
    (tmp_path / "40.aeiw").write_bytes(whole[:-100])
    (tmp_path / "41.aeiw").write_bytes(whole)
    made = weights_of(node, "load", *(tmp_path / f"{i}.aeiw" for i in range(42)))
    assert set(made) == {"ModelError", made[41]}
    assert made[40] == "ModelError"
    assert made[:40].count("ModelError") >= 36


def test_weights_are_small(models):
    bundle = default_bundle()
    held = sum(
        array.nbytes
        for name in ("prior", "synthesis")
        for array in read_arrays(bundle.path / f"{name}.safetensors").values()
    )
    assert (models / web.file_name(bundle)).stat().st_size < 0.6 * held


def test_any_arrays_are_packed(node, tmp_path):
    """Shapes, kinds and values that no model has today."""
    rng = np.random.default_rng(3)
    arrays = [
        np.array([-(2**63), 2**63 - 1, 0, 5], np.int64), rng.integers(-128, 128, (7, 300), np.int8),
        np.zeros((3, 64), np.int16), np.full(200, 77, np.uint8), np.zeros((1, 1), np.int32),
        np.cumsum(rng.integers(-3, 4, (256, 9)), 0).astype(np.int32),
        rng.integers(-(2**31), 2**31, (2, 3, 5, 7), np.int32), np.arange(1000, dtype=np.int64) ** 3,
    ]  # fmt: skip
    coded = [web._code(a) for a in arrays]
    lengths = web._lengths(coded)
    codes = np.array([web._codes(row) for row in lengths])
    bits = np.packbits(
        np.concatenate([web._bits(c, lengths, codes) for c in coded]), bitorder="little"
    )
    path, size = tmp_path / "arrays", np.array([lengths.size], "<u4")
    path.write_bytes(size.tobytes() + lengths.tobytes() + bits.tobytes())
    described = []
    for array, c in zip(arrays, coded, strict=True):
        rows = len(array) if array.ndim > 1 else 1
        columns = array.size // rows
        described.append([array.itemsize, rows, columns, c.transposed, c.differences])
    made = weights_of(node, "arrays", path, json.dumps(described))
    assert made == [*(a.tobytes().hex() for a in arrays), "1"]


# -- the package ----------------------------------------------------------------------------------


def test_the_module_is_what_the_pinned_compiler_makes(tmp_path):
    sys.path.insert(0, str(WEB / "scripts"))
    import build_core

    if build_core.compiler() is None:
        pytest.skip(f"needs ziglang=={build_core.VERSION} and `npm ci` in web/")
    build_core.build(tmp_path / "core.wasm")
    assert (tmp_path / "core.wasm").read_bytes() == (WEB / "core" / "core.wasm").read_bytes()


def test_dist_is_what_the_script_makes(node, tmp_path):
    if not (WEB / "node_modules" / "esbuild").is_dir():
        pytest.skip("needs `npm ci` in web/")
    subprocess.run([node, str(WEB / "scripts" / "build.mjs"), str(tmp_path)], check=True)
    for path in sorted((WEB / "dist").iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    for name in ("viewer.html", "aei-image.js"):
        shipped = ROOT / "cli" / "pages" / "web" / name
        assert (tmp_path / name).read_bytes() == shipped.read_bytes(), name


def test_the_decoder_is_small(node):
    """What a page fetches once, beside the weights, as servers compress it."""
    path = WEB / "dist" / "aei-decode.js"
    script = """const zlib = require("zlib"), data = require("fs").readFileSync(process.argv[1]);
    console.log(zlib.brotliCompressSync(data).length);"""
    made = subprocess.run([node, "-e", script, str(path)], capture_output=True, check=True)
    assert int(made.stdout) <= 40 * 1024
    assert len(gzip.compress(path.read_bytes(), 9)) <= 48 * 1024


def test_the_tarball_works_for_who_installs_it(node, tmp_path, verdicts, models):
    packed = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(tmp_path)], cwd=WEB,
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    room = tmp_path / "room" / "node_modules" / "aei-decode"
    room.mkdir(parents=True)
    subprocess.run(
        ["tar", "xzf", str(tmp_path / packed), "--strip-components=1", "-C", str(room)], check=True
    )
    data = golden_files.read("finish-rgb-150x120")
    library = (room / "dist" / "node.js").as_uri()
    found = verdicts([{"data": data}], library)["verdicts"]
    assert found[0]["pixels"] == EXACT["finish-rgb-150x120"]["pixels_sha256"]
    # on a server all of it can be imported, and nothing happens
    script = """const before = new Set(Object.keys(globalThis));
    for (const name of ["", "/element", "/upgrade"]) await import("aei-decode" + name);
    await import("aei-decode/dist/aei-decode.js").catch((e) => console.log(e.code));
    const more = Object.keys(globalThis).filter((k) => !before.has(k));
    console.log(JSON.stringify(more));"""
    (tmp_path / "room" / "try.mjs").write_text(script)
    made = subprocess.run(
        [node, "try.mjs"], cwd=tmp_path / "room", capture_output=True, text=True, check=False
    )
    assert made.stdout.split() == ["ERR_PACKAGE_PATH_NOT_EXPORTED", "[]"], made.stderr


def test_types_say_what_the_guide_shows(node):
    compiler = WEB / "node_modules" / "typescript" / "bin" / "tsc"
    if not compiler.is_file():
        pytest.skip("needs `npm ci` in web/")
    options = "--noEmit --strict --target es2022 --lib es2022,dom --module nodenext"
    made = subprocess.run(
        [node, str(compiler), *options.split(), "test/types.ts"], cwd=WEB, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout

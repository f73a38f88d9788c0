"""The models that ship are frozen: their files decode to the same latents and pixels for ever, by
the same bytes of the bundle."""

import hashlib
import json
from functools import cache
from pathlib import Path

import plain_decoder as plain
import pytest
from aei.codec import Codec
from aei.codec.models.bundle import Bundle, find_bundle, installed_bundles
from aei.formats import parse
from golden_files import CORES, GOLDEN

# SHA-256 of each manifest. A line is added with a model (docs/reference/releases.md); none is
# changed or taken away: files of that model are on people's disks.
FROZEN = {
    "7c102dcf": "f7e1be0858830116455fcb42ecc6d06391d5dde1a181e938303e997b4ec7c44a",  # psnr
    "9d96da4a": "cdeb953926307e18c88e02da718f44ab0fc82ac12bb66964169aa831b50e8f6e",  # photo-1
}
SHIPPED = GOLDEN / "shipped"
BY_NUMPY = {  # names of files, by the core
    "numpy": ("cat-alpha-tiles", "face-25", "noise-highest", "suit-filter"),
    "numpy and the plain coder": ("face-25", "noise-highest"),
}


@cache
def facts_of(model: str) -> dict:
    return json.loads((SHIPPED / model / "manifest.json").read_text(encoding="utf-8"))


def read(model: str, name: str) -> bytes:
    return (SHIPPED / model / f"{name}.aei").read_bytes()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_frozen_stays_as_it_is():
    assert {path.name for path in SHIPPED.iterdir() if path.is_dir()} == set(FROZEN)
    for model, digest in FROZEN.items():
        assert sha256(SHIPPED / model / "manifest.json") == digest
        files = facts_of(model)["files"]
        assert {p.stem for p in (SHIPPED / model).glob("*.aei")} == set(files)
        for name, facts in files.items():
            assert hashlib.sha256(read(model, name)).hexdigest() == facts["sha256"]
    sizes = [p.stat().st_size for p in SHIPPED.rglob("*") if p.is_file()]
    assert sum(sizes) < 200_000 * len(FROZEN)


def test_every_model_that_ships_is_frozen_and_every_frozen_one_ships():
    shipped = [Bundle(path) for path in installed_bundles()]
    assert {bundle.fingerprint.hex() for bundle in shipped} == set(FROZEN)
    for bundle in shipped:
        facts = facts_of(bundle.fingerprint.hex())
        assert bundle.name == facts["model"]
        for name in ("arch", "halo", "margin"):
            assert bundle.manifest[name] == facts[name]
        assert set(facts["parts"]) == {
            f"{part}.{end}" for part in ("prior", "synthesis") for end in ("json", "safetensors")
        }
        for name, digest in facts["parts"].items():
            assert sha256(bundle.path / name) == digest, f"{bundle.path / name} has changed"


@pytest.mark.parametrize("model", FROZEN)
def test_they_cover_what_a_file_may_hold(model):
    files = facts_of(model)["files"]
    contents = {name: parse(read(model, name)) for name in files}
    assert {c.header.mode for c in contents.values()} == {"L", "LA", "RGB", "RGBA"}
    assert {c.header.mode for c in contents.values() if c.side} >= {"L", "RGB", "RGBA"}
    assert {1, 2, 3, 4, 6, 7} <= {kind for c in contents.values() for kind in c.sections}
    assert {0, 255} <= {c.header.gain_index for c in contents.values()}
    assert {c.header.model.hex() for c in contents.values()} == {model}
    photographs = {name.rpartition("-")[0] for name in files if name.endswith(("-25", "-95"))}
    assert len(photographs) == 12
    assert {f"{name}-{quality}" for name in photographs for quality in (25, 75, 95)} <= set(files)


def check(codec: Codec, model: str, name: str) -> None:
    data, facts = read(model, name), facts_of(model)["files"][name]
    assert codec.latents_sha256(data) == facts["latents_sha256"]
    image = codec.decode(data)
    assert hashlib.sha256(image.tobytes()).hexdigest() == facts["pixels_sha256"]
    assert (image.mode, list(image.size)) == (facts["mode"], facts["size"])
    info = {k: v for k, v in image.info.items() if k in ("icc_profile", "exif", "xmp")}
    assert {k: hashlib.sha256(v).hexdigest() for k, v in info.items()} == facts["metadata"]


@pytest.mark.parametrize("model", FROZEN)
def test_latents_and_pixels(model):
    codec = Codec(find_bundle(bytes.fromhex(model)).path)
    for name in facts_of(model)["files"]:
        check(codec, model, name)


@pytest.mark.parametrize("core", BY_NUMPY)
@pytest.mark.parametrize("model", FROZEN)
def test_latents_and_pixels_by_numpy(model, core, monkeypatch):
    for variable, value in CORES[core].items():
        monkeypatch.setenv(variable, value)
    codec = Codec(find_bundle(bytes.fromhex(model)).path)
    for name in BY_NUMPY[core]:
        check(codec, model, name)


@pytest.mark.parametrize("model", FROZEN)
def test_latents_and_pixels_by_the_second_decoder(model):
    bundle = plain.Bundle(find_bundle(bytes.fromhex(model)).path)
    data, facts = read(model, "wood-17x3"), facts_of(model)["files"]["wood-17x3"]
    file, tiles = plain.decode(bundle, data)
    assert plain.latents_sha256(tiles) == facts["latents_sha256"]
    assert plain.pixels_sha256(bundle, file, tiles) == facts["pixels_sha256"]

"""Bundles that are read while NumPy is still being loaded, and latents before the synthesis."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from aei.codec import Codec, decoder
from aei.codec.exact.prior import sha256_of
from aei.codec.models import ahead
from aei.codec.models.arrays import arrays_of
from aei.codec.models.bundle import Bundle, default_bundle
from aei.codec.models.stored import KINDS, read_stored
from aei.formats import ModelError, parse_header
from golden_files import GOLDEN

IMAGE = np.random.default_rng(3).integers(0, 256, (48, 64, 3)).astype(np.uint8)


@pytest.fixture
def bundle(tmp_path) -> Path:
    folder = tmp_path / "a.bundle"
    shutil.copytree(GOLDEN / "context.bundle", folder)
    return folder


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(ahead, "_begun", {})


@pytest.mark.parametrize("name", ["prior", "synthesis", "analysis"])
def test_the_hash_is_that_of_the_arrays(bundle, name):
    for folder in (bundle, default_bundle().path):
        stored = read_stored(folder, name)
        assert stored.sha256 == sha256_of(stored.text, arrays_of(stored.data, stored.entries))


def test_the_hash_of_odd_arrays(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    (tmp_path / "odd.json").write_text("{}")
    arrays = {
        "empty": np.zeros((0, 3), np.int16),
        "single": np.array(7, np.int32),
        "row": np.arange(5, dtype=np.uint8),
        "true": np.array([True, False]),
        "large": np.arange(700_000, dtype=np.int32),  # more than is hashed by a call
        "next": np.arange(9, dtype=np.float64).reshape(3, 3),
    }
    save_file(arrays, tmp_path / "odd.safetensors")
    assert read_stored(tmp_path, "odd").sha256 == sha256_of("{}", arrays)


def test_kinds_are_named_as_numpy_names_them():
    assert all(np.dtype(kind).str == kind for kind in KINDS.values())


def test_reading_ahead_needs_no_numpy():
    code = "import sys, aei.codec.models.ahead\nassert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_was_begun_is_taken_once(bundle, tmp_path):
    file = tmp_path / "x.aei"
    file.write_bytes(Codec(bundle).encode(IMAGE))
    header = ahead.begin(str(file), bundle)
    assert header == parse_header(file.read_bytes())[0]
    for name in ahead.PROGRAMS:
        assert ahead.taken(bundle, name) == read_stored(bundle, name)
        assert ahead.taken(bundle, name) is None
    assert ahead.taken(bundle, "analysis") is None
    assert ahead.taken(tmp_path, "prior") is None


def test_a_bundle_uses_what_was_read(bundle, tmp_path):
    file = tmp_path / "x.aei"
    file.write_bytes(Codec(bundle).encode(IMAGE))
    expected = Codec(bundle).decode(file).tobytes()
    ahead.begin(str(file), bundle)
    (reading,) = ahead._begun.values()
    reading.join()
    for name in ahead.PROGRAMS:  # gone, but read
        (bundle / f"{name}.safetensors").write_bytes(b"")
    assert Codec(bundle).decode(file).tobytes() == expected
    with pytest.raises(ModelError):
        Codec(bundle).decode(file)


def test_the_shipped_bundle_of_a_file_is_found(tmp_path):
    file = tmp_path / "x.aei"
    file.write_bytes(Codec().encode(IMAGE))
    assert ahead.begin(str(file), None) is not None
    assert list(ahead._begun) == [default_bundle().path]


@pytest.mark.parametrize("data", [None, b"", b"no file of ours at all", b"\xaeaei\x20nonsense1234"])
def test_nothing_is_begun_for_what_is_no_file(tmp_path, data):
    file = tmp_path / "x.aei"
    if data is not None:
        file.write_bytes(data)
    ahead.begin(str(file), None)
    assert not ahead._begun


@pytest.mark.parametrize("name", ahead.PROGRAMS)
@pytest.mark.parametrize("spoil", ["missing", "cut", "byte", "text", "folder"])
def test_damage_is_refused_as_without(bundle, tmp_path, name, spoil):
    file = tmp_path / "x.aei"
    file.write_bytes(Codec(bundle).encode(IMAGE))
    path = bundle / f"{name}.safetensors"
    data = path.read_bytes()
    if spoil == "text":
        text = bundle / f"{name}.json"
        text.write_text(text.read_text() + " ")
    else:
        path.unlink()
    if spoil == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif spoil == "byte":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif spoil == "folder":
        path.mkdir()

    def message() -> str:
        with pytest.raises(ModelError) as caught:
            Codec(bundle).decode(file)
        return str(caught.value)

    without = message()
    ahead.begin(str(file), bundle)
    assert message() == without


def test_a_wrong_fingerprint_is_refused(bundle, tmp_path):
    file = tmp_path / "x.aei"
    data = bytearray(Codec(bundle).encode(IMAGE))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["fingerprint"] = "01020304"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    data[5:9] = b"\1\2\3\4"
    data[-4:] = __import__("zlib").crc32(data[:-4]).to_bytes(4, "little")
    file.write_bytes(data)
    ahead.begin(str(file), bundle)
    with pytest.raises(ModelError, match="does not match its fingerprint"):
        Codec(bundle).decode(file)


def test_latents_do_not_wait_for_the_synthesis(bundle, monkeypatch):
    data = Codec(bundle).encode(IMAGE)
    decoded = threading.Event()
    order = []

    def latents(*arguments, **options):
        order.append("latents")
        decoded.set()
        return original(*arguments, **options)

    def synthesis(self, *arguments):
        # as slow as the latents at least
        if arguments[0] == "synthesis" and threading.current_thread().name != "MainThread":
            order.append("in time" if decoded.wait(20) else "too late")
        return program(self, *arguments)

    original, program = decoder.decode_latents, Bundle._program
    monkeypatch.setattr(decoder, "decode_latents", latents)
    monkeypatch.setattr(Bundle, "_program", synthesis)
    with contextlib.suppress(AssertionError):
        Codec(bundle, threads=2).decode(data)
    assert sorted(order) == ["in time", "latents"]

"""Version 1 is pinned: golden files decode to the same latents for ever, and to the same pixels
where the bundle has an integer synthesis, else within one level; and damage to them is always
found."""

import hashlib

import numpy as np
import pytest
from aei.codec import AeiError, DamagedFileError
from aei.formats import parse
from golden_files import CORES, FACTS, GOLDEN, codec_of, read
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image


def test_every_golden_file_is_listed():
    assert {p.stem for p in GOLDEN.glob("*.aei")} == set(FACTS)
    assert sum(p.stat().st_size for p in GOLDEN.rglob("*.*") if p.is_file()) < 2_850_000


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", FACTS)
def test_latents(name, core, monkeypatch):
    for variable, value in CORES[core].items():
        monkeypatch.setenv(variable, value)
    data, facts = read(name), FACTS[name]
    assert hashlib.sha256(data).hexdigest() == facts["sha256"]
    assert codec_of(facts["bundle"]).latents_sha256(data) == facts["latents_sha256"]


@pytest.mark.parametrize("name", FACTS)
def test_pixels(name):
    codec = codec_of(FACTS[name]["bundle"])
    image = codec.decode(read(name))
    assert ("pixels_sha256" in FACTS[name]) == (codec.bundle.synthesis is not None)
    if "pixels_sha256" in FACTS[name]:
        assert hashlib.sha256(image.tobytes()).hexdigest() == FACTS[name]["pixels_sha256"]
    assert (image.mode, list(image.size)) == (FACTS[name]["mode"], FACTS[name]["size"])
    with Image.open(GOLDEN / f"{name}.png") as expected:
        assert expected.mode == image.mode
        difference = np.asarray(image).astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= 1
        if "A" in image.mode:
            assert image.getchannel("A").tobytes() == expected.getchannel("A").tobytes()
    metadata = {k: v for k, v in image.info.items() if k in ("icc_profile", "exif", "xmp")}
    hashes = {k: hashlib.sha256(v).hexdigest() for k, v in metadata.items()}
    assert hashes == FACTS[name]["metadata"]


def test_they_cover_what_the_format_has():
    contents = {name: parse(read(name)) for name in FACTS}
    tiled = [c for c in contents.values() if c.side]
    assert {c.header.mode for c in contents.values()} == {"L", "LA", "RGB", "RGBA"}
    assert {c.header.mode for c in tiled} >= {"L", "RGB", "RGBA"}
    assert {1, 2, 3, 4, 6, 7} <= {kind for c in contents.values() for kind in c.sections}
    for group in (tiled, [c for c in contents.values() if not c.side]):
        assert {e.code_all for c in group for e in c.entries} == {False, True}
    assert {0, 255} <= {c.header.gain_index for c in contents.values()}


@pytest.mark.parametrize("name", ["rgb-17x3", "rgb-24x24-metadata"])
def test_every_truncation_and_every_flipped_bit_is_found(name):
    data, codec = read(name), codec_of("tiny")
    for n in range(len(data)):
        with pytest.raises(AeiError):
            codec.decode(data[:n])
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AeiError):
            codec.decode(bytes(broken))


def test_a_tile_with_a_valid_checksum_and_a_bad_payload_is_lost_alone():
    import zlib

    data = bytearray(read("rgb-130x200-tiles"))
    codec, contents = codec_of("tiny"), parse(bytes(data))
    entry = contents.entries[4]
    old = entry.crc.to_bytes(4, "little")
    data[entry.start + 3] ^= 1
    crc = zlib.crc32(data[entry.start : entry.end])
    at = data.index(old)
    data[at : at + 4] = crc.to_bytes(4, "little")
    end = contents.entries[0].start
    data[end - 4 : end] = zlib.crc32(data[: end - 4]).to_bytes(4, "little")
    with pytest.raises(DamagedFileError):
        codec.decode(bytes(data))
    assert codec.salvage(bytes(data)).lost == [contents.boxes[4]]


MODES = ["L", "LA", "RGB", "RGBA"]


@settings(max_examples=60)
@given(
    st.integers(1, 200), st.integers(1, 200), st.sampled_from(MODES), st.integers(0, 255),
    st.sampled_from([None, 64, 128]), st.integers(0, 1000),
)  # fmt: skip
def test_any_size_mode_gain_and_tiling(width, height, mode, gain_index, tile_side, seed):
    codec = codec_of("tiny")
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (3, 4, len(mode)), np.uint8)
    bands = [Image.fromarray(small[..., i]).resize((width, height)) for i in range(len(mode))]
    image = Image.merge(mode, bands) if len(mode) > 1 else bands[0]
    data = codec.encode(image, gain_index=gain_index, tile_side=tile_side)
    back = codec.decode(data)
    assert (back.mode, back.size) == (mode, (width, height))
    if "A" in mode:
        assert back.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    opaque = [i for i, band in enumerate(mode) if band != "A"]
    error = np.asarray(back).astype(float) - np.asarray(image)
    error = error.reshape(height, width, -1)[..., opaque]
    if "A" in mode:
        error = error[np.asarray(image)[..., -1] > 0]
    # the toy model starts from the mean of photographs, and at low rates stays near it
    if error.size >= 300 and gain_index >= 64:
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 10

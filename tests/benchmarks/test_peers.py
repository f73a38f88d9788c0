"""Every peer that is installed codes real bytes, says what it is, and can be brought to a size."""

import sys

import numpy as np
import pytest
from aei.benchmarks import match
from aei.benchmarks.codecs import CodecError, PeerCodec, payload
from aei.benchmarks.codecs.choose import choose
from aei.benchmarks.codecs.peers import peer_codecs
from aei.benchmarks.metrics import psnr
from conftest import synthetic_photo

PEERS = [c for c in peer_codecs()[0] if c.name != "AVIF speed 2"]  # the same but for its speed
LOSSY = [c for c in PEERS if not c.lossless]
IMAGE = synthetic_photo(64, 72)
NAME = {"ids": lambda c: c.name}


@pytest.mark.parametrize("codec", PEERS, **NAME)
def test_round_trip(codec):
    low, high = (codec.encode(IMAGE, q) for q in (codec.qualities[0], codec.qualities[-1]))
    back = codec.decode(high)
    assert back.shape == IMAGE.shape
    assert back.dtype == np.uint8
    if codec.lossless:
        assert np.array_equal(back, IMAGE)
    else:
        assert len(low) < len(high)
        assert psnr(IMAGE, codec.decode(low)) < psnr(IMAGE, back)
    assert codec.settings
    assert any(digit in codec.version for digit in "0123456789")


@pytest.mark.parametrize("codec", [c for c in LOSSY if c.payload], **NAME)
def test_payload_is_counted_inside_the_file(codec):
    small, large = (codec.encode(IMAGE, q) for q in codec.qualities[:: len(codec.qualities) - 1])
    assert 0 < codec.payload(small) < len(small)
    # headers are the same at every quality, up to the Huffman tables of optimised JPEG
    overheads = [len(data) - codec.payload(data) for data in (small, large)]
    assert abs(overheads[0] - overheads[1]) < 300


def test_png_and_jpeg2000_payloads():
    found = {c.name: c for c in PEERS}
    png = found["PNG"].encode(IMAGE, 100)
    assert payload.png(png) == len(png) - 8 - 25 - 12 - 12 * png.count(b"IDAT")
    if "JPEG 2000" in found:
        # the code stream's packets end two bytes (EOC) before the file does
        data = found["JPEG 2000"].encode(IMAGE, 1.0)
        assert payload.jpeg2000(data) == len(data) - data.index(b"\xff\x93") - 2 - 2


def test_identities_differ():
    identities = [c.identity for c in peer_codecs()[0]]
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("codec", [c for c in LOSSY if not c.slow], **NAME)
def test_bytes_are_matched(codec):
    sizes = [len(codec.encode(IMAGE, codec.scale[i])) for i in (len(codec.scale) // 3, -10)]
    for target in (sizes[0], (sizes[0] + sizes[1]) // 2):
        most = match.match_bytes(codec, IMAGE, target, "at_most")
        least = match.match_bytes(codec, IMAGE, target, "at_least")
        nearest = match.match_bytes(codec, IMAGE, target)
        assert len(most.data) <= target <= len(least.data)
        assert len(nearest.data) in (len(most.data), len(least.data))
        assert nearest.data == codec.encode(IMAGE, nearest.quality)


def test_sizes_out_of_reach_give_the_ends_of_the_scale():
    jpeg = PEERS[0]
    for rule in ("nearest", "at_most", "at_least"):
        assert match.match_bytes(jpeg, IMAGE, 1, rule).quality == jpeg.scale[0]
        assert match.match_bytes(jpeg, IMAGE, 10**9, rule).quality == jpeg.scale[-1]
    with pytest.raises(CodecError, match="cannot be chosen"):
        match.match_bytes(next(c for c in PEERS if c.lossless), IMAGE, 1000)


def test_missing_peers_are_named_with_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr("aei.benchmarks.codecs.peers._has", lambda module: module != "pillow_heif")
    found, missing = peer_codecs()
    assert "HEIC" not in [c.name for c in found]
    assert "pillow-heif" in missing["HEIC"]
    assert "HEIC" in choose("default", [])[1]
    with pytest.raises(CodecError, match="pillow-heif"):
        choose("HEIC", [])


@pytest.mark.parametrize("name", ["JPEG", "JPEG 4:4:4", "WebP", "JPEG 2000"])
def test_continuous_codecs_come_close_between_their_settings(name):
    found = {codec.name: codec for codec in peer_codecs()[0]}
    if name not in found:
        pytest.skip(f"no {name} here")
    codec = found[name]
    assert codec.continuous
    scale = codec.scale or codec.qualities
    low, high = (len(codec.encode(IMAGE, scale[len(scale) // 2 + i])) for i in (0, 1))
    target = (low + high) // 2
    close = match.match_closely(codec, IMAGE, target)
    assert abs(len(close.data) - target) <= abs(
        len(match.match_bytes(codec, IMAGE, target).data) - target
    )
    assert abs(len(close.data) / target - 1) < 0.01
    assert codec.decode(close.data).shape == IMAGE.shape


def test_all_meet_where_the_coarse_one_can_be():
    def steps(name: str, size: float, continuous: bool) -> PeerCodec:
        return PeerCodec(
            name, "", (1.0, 99.0), lambda _, q: bytes(round(1000 * size**q)), lambda data: IMAGE,
            scale=tuple(range(1, 100)), continuous=continuous,
        )  # fmt: skip

    codecs = [steps("own", 1.02, True), steps("fine", 1.05, True), steps("coarse", 1.06, False)]
    first = match.match_bytes(codecs[0], IMAGE, 5000, "at_most")
    for most in (None, 5000):
        sizes = [len(m.data) for m in match.meet(codecs, IMAGE, first, most)]
        assert max(sizes) / min(sizes) < 1.01
        assert most is None or sizes[0] <= most
    # without a coarse one, the first stays where it is
    assert match.meet(codecs[:2], IMAGE, first)[0] is first

"""Every peer that is installed codes real bytes, says what it is, and can be brought to a size."""

import sys

import numpy as np
import pytest
from aei.benchmarks import match
from aei.benchmarks.codecs import CodecError, payload
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

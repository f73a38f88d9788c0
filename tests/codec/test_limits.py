"""What a file of a stranger may cost: limits that limit, before anything is built; and
cancelling."""

import contextlib
import io
import os
import subprocess
import sys
import textwrap
import time
import tracemalloc
import zlib

import aei.codec.pillow  # noqa: F401
import numpy as np
import pytest
from aei.codec import Codec, DamagedFileError, decoder
from aei.codec.exact import native
from aei.codec.exact.native import core
from aei.codec.exact.payload import encode_latents
from aei.codec.exact.steps import grid_of
from aei.formats import Header, LimitError, Limits, pack, parse
from aei.formats.container import CRC_BYTES, FIXED, MAX_PLAIN_SIDE, SIGNATURE
from aei.formats.limits import TILE_WORK
from aei.formats.tiles import tile_boxes
from aei.formats.varint import varint
from conftest import synthetic_photo
from PIL import Image


@pytest.fixture(scope="module")
def one() -> Codec:
    """The shipped model with one thread, warm."""
    made = Codec(threads=1)
    made.decode(made.encode(np.zeros((64, 64), np.uint8)))
    return made


def header(codec, width, height, gain_index=255, tiled=True) -> Header:
    return Header(width, height, gain_index, codec.bundle.fingerprint, grey=True, tiled=tiled)


def loud(codec, side: int) -> bytes:
    """A file whose symbols are all escapes: as many bytes as its pixels can take."""
    prior = codec.bundle.prior
    h, w, hz, wz = grid_of(prior.program, side, side)
    rng = np.random.default_rng(0)
    y = rng.choice([-30000, 30000], (h, w, prior.program["latents"])).astype(np.float32)
    z = rng.choice([-30000, 30000], (hz, wz, prior.program["hyper_latents"])).astype(np.float32)
    payload, code_all, _ = encode_latents(prior, 255, y, z, optimise=False)
    return pack(header(codec, side, side, tiled=False), [(payload, code_all)])


def thin(codec, width: int) -> bytes:
    """A row of pixels in tiles of 64: much work a pixel."""
    return codec.encode(np.zeros((1, width), np.uint8), tile_side=64, effort=0)


def empty(codec, side: int) -> bytes:
    """Tiles of 256 without any bytes, at a gain index where nothing decodes to something."""
    boxes = tile_boxes(side, side, 256)
    data = None
    for gain_index in range(18, 256):
        data = pack(header(codec, side, side, gain_index), [(b"", False)] * len(boxes), None, 256)
        small = pack(header(codec, 256, 256, gain_index), [(b"", False)], None, 256)
        try:
            codec.latents_sha256(small)
        except DamagedFileError:
            continue
        return data
    pytest.skip("nothing decodes to something with this model")


def peak(function) -> tuple[int, Exception | None]:
    """Bytes that a call takes at most, and what it raises."""
    caught = None
    tracemalloc.start()
    try:
        function()
    except Exception as error:
        caught = error
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most, caught


def test_escapes_take_the_memory_that_is_charged(one):
    data = loud(one, 128)
    contents = parse(data)
    charged = decoder.memory_of(contents, [0], (0, 0), 0, 1, one.bundle.prior.program["latents"])
    most, caught = peak(lambda: one.latents_sha256(data))
    assert caught is None
    assert most < charged
    assert charged < 100 * len(data)
    with pytest.raises(LimitError, match="MiB"):
        one.latents_sha256(data, limits=Limits(memory=charged // 4))
    with pytest.raises(LimitError, match="MiB"):
        one.decode(data, limits=Limits(memory=charged // 4))


@pytest.mark.parametrize("core", ["auto", "numpy"])
@pytest.mark.parametrize("make", [
    lambda c: loud(c, 128), lambda c: thin(c, 64 * 40), lambda c: empty(c, 256),
    lambda c: c.encode(synthetic_photo(256, 256), 90, tune="psnr"),
], ids=["escapes", "thin tiles", "blank tiles", "photograph"])  # fmt: skip
def test_time_is_bounded_by_the_work_that_is_charged(one, make, core, monkeypatch):
    """docs/format/specification.md, section 8 says what was measured (0.5 us, 3.4 with NumPy);
    generous, for slow machines."""
    data = make(one)
    monkeypatch.setenv("AEI_CORE", core)
    one.decode(data)  # packs the model, the first time
    contents = parse(data)
    whole = tile_boxes(contents.header.width, contents.header.height, 1 << 20)[0]
    pixels, tiles, payload = decoder.work_of(contents, list(range(len(contents.entries))), whole)
    start = time.process_time()
    one.decode(data)
    seconds = time.process_time() - start
    assert seconds < 25e-6 * (pixels + TILE_WORK * tiles + payload) + 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
@pytest.mark.parametrize("core", ["auto", "numpy"])
@pytest.mark.parametrize("make", [
    lambda c: loud(c, 256), lambda c: c.encode(synthetic_photo(512, 700), effort=0),
    lambda c: c.encode(synthetic_photo(300, 1500), effort=0, tile_side=512),
], ids=["escapes", "photograph", "tiles"])  # fmt: skip
def test_memory_is_bounded_by_what_is_charged(one, make, core, tmp_path, aei_file):
    """All memory of the process, what the native core takes too."""
    data = make(one)
    (tmp_path / "small").write_bytes(aei_file)
    (tmp_path / "file").write_bytes(data)
    code = f"""
    import resource
    from aei.codec import Codec, Limits, LimitError
    codec = Codec(threads=1)
    codec.decode({str(tmp_path / "small")!r})
    def used():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    before = used()
    codec.decode({str(tmp_path / "file")!r})
    taken = used() - before
    try:
        codec.decode({str(tmp_path / "file")!r}, limits=Limits(memory=taken))
        print(taken)
    except LimitError:
        print("charged more")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "AEI_CORE": core}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "charged more", done.stdout + done.stderr


def test_small_tiles_count_as_work(one):
    tile = thin(one, 64)
    contents = parse(tile)
    tiles = [(contents.tile(0), contents.entries[0].code_all)] * 4096
    data = pack(header(one, 1 << 18, 1, contents.header.gain_index), tiles, None, 64)
    start = time.process_time()
    for call in (one.decode, one.latents_sha256):
        with pytest.raises(LimitError, match="4096 tiles"):
            call(data, limits=Limits(pixels=1 << 18))
    assert time.process_time() - start < 3
    # a part of it is not too much
    one.decode(data, region=(100, 0, 64, 1), limits=Limits(pixels=1 << 18))
    with pytest.raises(LimitError, match="raise Limits"):
        one.decode(data, region=(100, 0, 64, 1), limits=Limits(pixels=1 << 18, work=4096))


def test_ordinary_files_are_within_the_default_work():
    for width, height, side in [(16384, 16384, 1024), (1 << 21, 128, 1024), (12000, 9000, 256)]:
        tiles = len(tile_boxes(width, height, side))
        Limits().check_work(width * height, tiles, width * height // 4)
        Limits(pixels=width * height).check_work(width * height, tiles, width * height // 4)


def test_size_is_looked_at_before_the_table_is_built():
    """4 million entries that would be 700 MB of table."""
    width = height = 1 << 17
    count = (width // 64) * (height // 64)
    head = SIGNATURE + bytes([1 << 5 | 16]) + bytes(5) + varint(width - 1) + varint(height - 1)
    assert len(head) > FIXED
    body = head + b"\0" + bytes(5 * count)
    data = body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")
    start = time.process_time()
    for limits in (Limits(pixels=1 << 20), Limits()):
        most, caught = peak(lambda limits=limits: parse(data, limits))
        assert isinstance(caught, LimitError)
        assert most < 1 << 20
    with contextlib.suppress(Image.DecompressionBombError):  # by the size that the header names
        Image.open(io.BytesIO(data))
    assert time.process_time() - start < 2


def test_cancel_is_asked_between_tiles(one, photo):
    data = one.encode(photo, tile_side=64)
    asked = []

    def cancel() -> bool:
        asked.append(True)
        return len(asked) > 3

    with pytest.raises(LimitError, match="cancelled"):
        one.decode(data, limits=Limits(cancel=cancel))
    assert len(asked) == 4
    with pytest.raises(LimitError, match="cancelled"):
        one.latents_sha256(data, limits=Limits(cancel=lambda: True))
    one.decode(data, limits=Limits(cancel=lambda: False))


@pytest.mark.parametrize(("core", "side"), [("auto", 1408), ("numpy", 384)])
def test_cancel_is_asked_within_tiles(one, core, side, monkeypatch):
    monkeypatch.setenv("AEI_CORE", core)
    assert side <= MAX_PLAIN_SIDE
    data = one.encode(synthetic_photo(side, side), effort=0)
    times = [time.process_time()]
    one.decode(data, limits=Limits(cancel=lambda: times.append(time.process_time())))
    times.append(time.process_time())
    assert np.diff(times).max() < (times[-1] - times[0]) / 2


@pytest.mark.skipif(not native.instruction_sets(), reason="the native core was not built")
@pytest.mark.parametrize("after", [1, 3])
def test_a_call_of_the_native_core_is_stopped(one, after, monkeypatch, aei_file):
    monkeypatch.setattr(core, "WATCHED_CELLS", 0)
    monkeypatch.setattr(core, "WATCH_SECONDS", 1e-4)
    monkeypatch.setenv("AEI_CORE", "native")
    ended = []
    watched = core._watched

    def noted(call, *others):
        return watched(lambda: ended.append(call()) or ended[-1], *others)

    monkeypatch.setattr(core, "_watched", noted)
    asked = []

    def cancel() -> bool:
        asked.append(True)
        return len(asked) > after

    with pytest.raises(LimitError, match="cancelled"):
        one.latents_sha256(
            one.encode(synthetic_photo(512, 512), effort=0), limits=Limits(cancel=cancel)
        )
    assert len(asked) == after + 1
    assert ended[-1] == core.STOPPED
    # and one that nobody stops is not
    assert one.latents_sha256(aei_file, limits=Limits(cancel=lambda: False)) == one.latents_sha256(
        aei_file
    )


def test_a_deadline(one, aei_file):
    one.decode(aei_file, limits=Limits(cancel=time.monotonic() + 600))
    with pytest.raises(LimitError, match="longer than it may"):
        one.decode(aei_file, limits=Limits(cancel=time.monotonic() - 1))

"""Images to files and back."""

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from aei import codec as face
from aei.codec import UnknownModelError, UnsupportedError
from aei.formats import pack, parse
from conftest import synthetic_photo
from golden_files import codec_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image


def psnr(a, b) -> float:
    error = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return 10 * np.log10(255**2 / np.mean(error**2))


def test_quality_buys_fidelity_with_bytes(codec, photo):
    sizes, fidelities = [], []
    for quality in (1, 25, 50, 75, 100):
        data = codec.encode(photo, quality)
        sizes.append(len(data))
        fidelities.append(psnr(codec.decode(data), photo))
    assert sizes == sorted(sizes)
    assert fidelities == sorted(fidelities)
    assert fidelities[0] > 20
    assert fidelities[-1] > 33


@settings(max_examples=25)
@given(st.integers(1, 70), st.integers(1, 70), st.booleans(), st.integers(1, 100))
def test_any_size_and_mode_round_trips(codec, height, width, grey, quality):
    image = synthetic_photo(height, width, seed=height)
    if grey:
        image = image[..., 1]
    back = codec.decode(codec.encode(image, quality))
    assert back.size == (width, height)
    assert back.mode == ("L" if grey else "RGB")
    assert psnr(back, image) > 12


def test_flat_images_are_tiny(codec):
    data = codec.encode(np.full((32, 32, 3), (200, 30, 90), np.uint8), 75)
    assert len(data) <= 40
    assert np.abs(np.asarray(codec.decode(data)).astype(int) - (200, 30, 90)).max() < 12


def test_noise_survives(codec):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert codec.decode(codec.encode(noise, 100)).size == (64, 64)


def test_arrays_and_pillow_images_agree(codec, photo):
    assert codec.encode(photo, 30) == codec.encode(Image.fromarray(photo), 30)
    assert codec.encode(photo[..., :1], 30) == codec.encode(Image.fromarray(photo[..., 0]), 30)
    assert face.encode(photo, 30) == codec.encode(photo, 30)
    assert (
        face.decode(face.encode(photo, 30)).tobytes()
        == codec.decode(codec.encode(photo, 30)).tobytes()
    )


def test_one_codec_in_many_threads(codec):
    images = [synthetic_photo(60, 90, seed=i) for i in range(8)]
    alone = [codec.encode(i, 40) for i in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: codec.encode(i, 40), images))
        pixels = list(pool.map(lambda d: codec.decode(d).tobytes(), together))
    assert together == alone
    assert pixels == [codec.decode(d).tobytes() for d in alone]


def test_one_codec_in_many_threads_with_tiles():
    tiny = codec_of("tiny")
    images = [synthetic_photo(130 + i, 150, seed=i) for i in range(8)]
    alone = [tiny.encode(i, 40, tile_side=64) for i in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: tiny.encode(i, 40, tile_side=64), images * 2))
        pixels = list(pool.map(lambda d: tiny.decode(d).tobytes(), together))
    assert together == alone * 2
    assert pixels == [tiny.decode(d).tobytes() for d in alone] * 2


def test_memory_stays_flat():
    tiny, image, rounds = codec_of("tiny"), synthetic_photo(64, 64), 40

    def work(n: int) -> int:
        for i in range(n):
            tiny.decode(tiny.encode(image, 1 + i % 100, tile_side=(None, 64)[i % 2]))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = work(10)
        assert work(rounds) - before < 100_000
    finally:
        tracemalloc.stop()


def test_gain_index_overrides_quality(codec, photo):
    data = codec.encode(photo, 10, gain_index=200)
    assert parse(data).header.gain_index == 200
    with pytest.raises(UnsupportedError, match="gain index"):
        codec.encode(photo, gain_index=256)


@pytest.mark.parametrize("quality", [0, 101, -3, float("nan")])
def test_quality_out_of_range(codec, photo, quality):
    with pytest.raises(UnsupportedError, match="1 to 100"):
        codec.encode(photo, quality)


def test_other_things_are_refused(codec):
    with pytest.raises(UnsupportedError, match="list"):
        codec.encode([[1, 2], [3, 4]])


def test_too_large_is_refused_before_work(codec):
    with pytest.raises(UnsupportedError, match="2097153"):
        codec.encode(np.zeros((1, 2**21 + 1, 3), np.uint8))
    with pytest.raises(UnsupportedError, match="2097153"):
        codec.encode(Image.new("L", (1, 2**21 + 1)))


def test_unknown_model_is_named(aei_file):
    contents = parse(aei_file)
    data = pack(replace(contents.header, model=b"\xde\xad\xbe\xef"), [(contents.tile(0), False)])
    with pytest.raises(UnknownModelError, match="deadbeef"):
        face.decode(data)

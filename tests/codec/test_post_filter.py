"""The post-filter: what a file says of it, what it does to pixels, and that the encoder sends it
only where it pays."""

import numpy as np
import plain_decoder
import pytest
from aei.codec import DamagedFileError
from aei.codec.pixels import post_filter as pf
from aei.codec.pixels.quality import psnr
from aei.formats import pack, parse
from aei.formats.sections import FILTER
from conftest import synthetic_photo
from golden_files import codec_of
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def filters(draw):
    def plane():
        radius = draw(st.integers(1, 3))
        shape = draw(st.sampled_from(pf.KNOTS)), 2 * radius * (radius + 1)
        rng = np.random.default_rng(draw(st.integers(0, 999)))
        mantissas = rng.integers(-127, 128, shape).astype(np.int8)
        return pf.PlaneFilter(mantissas, radius, draw(st.integers(5, 20)))

    planes = [plane() if draw(st.booleans()) else None for _ in range(draw(st.integers(0, 2)))]
    return (*planes, plane())


def random_filter(seed: int, knots: int = 4, radius: int = 2) -> pf.Filter:
    rng = np.random.default_rng(seed)
    mantissas = rng.integers(-9, 10, (3, knots, 2 * radius * (radius + 1))).astype(np.int8)
    return tuple(pf.PlaneFilter(m, radius, 8) for m in mantissas)


def pixels(seed: int, h: int, w: int) -> np.ndarray:
    """Pixel units, some of them beyond black and white."""
    return np.random.default_rng(seed).integers(-8500, 8500, (h, w, 3)).astype(np.int16)


@given(filters())
def test_what_is_packed_is_read(planes):
    content = pf.pack(planes)
    again = pf.read(content)
    assert pf.pack(again) == content
    for a, b in zip(planes, again, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert (a.radius, a.shift) == (b.radius, b.shift)
            assert np.array_equal(a.mantissas, b.mantissas)


@given(st.binary(max_size=120))
def test_other_bytes_are_an_error_or_a_filter(content):
    try:
        planes = pf.read(content)
    except DamagedFileError:
        return
    assert pf.pack(planes) == content  # so every filter has one form
    assert np.abs(pf.apply(planes, pixels(0, 5, 4))).max() < 1 << 26  # far from the end of int32


@given(st.lists(st.sampled_from([0, 3, 0x10, 0x14, 0x20, 0x50, 0x90, 0xFF]), max_size=30))
def test_a_decoder_written_from_the_page_refuses_the_same(content):
    def refused(read, error) -> bool:
        try:
            read(bytes(content))
        except error:
            return True
        return False

    ours = refused(pf.read, DamagedFileError)
    assert ours == refused(plain_decoder.check_filter, plain_decoder.Rejected)


@pytest.mark.parametrize("content", [b"", b"\0", b"\x03", b"\x10\1\2", b"\0\0\0\0"])
def test_unsound_filters_are_refused(content):
    with pytest.raises(DamagedFileError):
        pf.read(content)


@given(st.integers(0, 2**24 - 1))
def test_planes_are_a_change_of_basis(seed):
    x = np.random.default_rng(seed).random((3, 5, 3)) - 0.5
    again = np.zeros_like(x)
    planes = pf.to_planes(x)
    pf.add_planes(again, [p / worth for p, worth in zip(planes, pf.PLANE_WORTH)])
    assert np.allclose(again, x, atol=1e-12)
    # orthogonal: squared errors of colours are those of planes, weighed
    total = sum(np.square(p).sum() / worth for worth, p in zip(pf.PLANE_WORTH, planes))
    assert np.isclose(total, np.square(x).sum())


def test_a_filter_does_what_the_page_says():
    """One knot, radius 1, the sum's plane alone, by hand."""
    x = pixels(1, 6, 7)
    weights = np.array([[40, -20, 10, 5]], np.int8)
    out = pf.apply((pf.PlaneFilter(weights, 1, 8),), x)
    limited = np.clip(x.astype(int), -8192, 8191)
    total = np.pad(limited.sum(2), 1, mode="edge")
    for r, c in ((0, 0), (3, 4), (5, 6)):
        change = 0
        for weight, (i, j) in zip(weights[0].tolist(), ((0, 1), (1, -1), (1, 0), (1, 1))):
            a, b = total[r + 1 + i, c + 1 + j], total[r + 1 - i, c + 1 - j]
            change += weight * (a + b - 2 * total[r + 1, c + 1])
        assert np.array_equal(out[r, c] - limited[r, c], [(change + 128) >> 8] * 3)


@settings(deadline=None)
@given(filters(), st.integers(1, 40), st.integers(1, 12), st.integers(0, 99))
def test_a_second_filter_written_from_the_page_gives_the_same(planes, height, width, seed):
    x = pixels(seed, height, width)
    found = plain_decoder.filtered(pf.pack(planes), x.tolist())
    assert found == pf.apply(planes, x).tolist()


def test_flat_pictures_stay_what_they_are():
    x = np.full((40, 9, 3), 4080, np.int16)
    assert np.array_equal(pf.apply(random_filter(0), x), x)


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(1, 40), st.integers(0, 9))
def test_windows_give_what_the_whole_picture_gives(height, width, seed):
    x, planes = pixels(seed, height, width), random_filter(seed)
    whole = pf.apply(planes, x)
    top, left = height // 3, width // 2
    first, start = max(0, top - pf.MARGIN), max(0, left - pf.MARGIN)
    part = pf.apply(planes, np.ascontiguousarray(x[first:, start:]))
    assert np.array_equal(part[top - first :, left - start :], whole[top:, left:])


def in_range(x: np.ndarray) -> np.ndarray:
    """Pixel units as pixels in -0.5..0.5."""
    return x.astype(np.float32) / np.float32(pf.RANGE)


def test_the_fit_finds_the_filter_that_made_a_picture():
    decoded, planes = np.clip(pixels(3, 120, 130), pf.LEAST, pf.MOST), random_filter(5)
    original = pf.apply(planes, decoded)
    fit = pf.Fit()
    fit.add(decoded, in_range(original))
    found = fit.best(1e9, decoded.shape[0] * decoded.shape[1])
    assert found is not None
    again = pf.apply(found, decoded)
    error = np.square(in_range(again) - in_range(original)).mean()
    assert error < 1e-4 * np.square(in_range(decoded) - in_range(original)).mean()


def test_a_filter_that_does_not_pay_is_not_sent():
    decoded = np.clip(pixels(3, 64, 64), pf.LEAST, pf.MOST)
    noise = in_range(decoded) + np.float32(0.01) * in_range(pixels(4, 64, 64))
    fit = pf.Fit()
    fit.add(decoded, noise)
    assert fit.best(1.0, 64 * 64) is None
    fit = pf.Fit()
    fit.add(decoded, in_range(decoded))
    assert fit.best(1e9, 64 * 64) is None


@pytest.fixture(scope="module")
def coded(codec):
    image = synthetic_photo(192, 256)
    return codec, image, codec.encode(image, quality=80, tune="psnr")


def test_a_filter_in_floats_is_skipped(coded):
    """Section 5 was one, of the same form and another meaning."""
    codec, _, data = coded
    contents = parse(data)
    filters = contents.sections[FILTER]
    tiles = [(bytes(contents.tile(0)), contents.entries[0].code_all)]
    plain, before = pack(contents.header, tiles), pack(contents.header, tiles, {5: filters})
    assert pack(contents.header, tiles, {FILTER: filters}) == data
    assert parse(before).sections == {}
    assert codec.decode(before) == codec.decode(plain) != codec.decode(data)


def test_files_hold_one_and_are_better_for_it(coded, monkeypatch):
    codec, image, data = coded
    assert FILTER in parse(data).sections
    monkeypatch.setattr(pf, "LEAST_PIXELS", 1 << 40)
    without = codec.encode(image, quality=80, tune="psnr")
    assert FILTER not in parse(without).sections
    assert codec.latents_sha256(data) == codec.latents_sha256(without)
    gained = psnr(image, np.asarray(codec.decode(data))) - psnr(
        image, np.asarray(codec.decode(without))
    )
    assert gained > 0.05
    section = len(parse(data).sections[FILTER])
    assert len(data) - len(without) == section + 3 + (section > 127)


def test_regions_and_tiles_are_filtered_alike(coded):
    codec, image, data = coded
    tiled = codec.encode(image, quality=80, tile_side=64, tune="psnr")
    assert FILTER in parse(tiled).sections
    for file in (data, tiled):
        whole = np.asarray(codec.decode(file))
        part = np.asarray(codec.decode(file, region=(61, 30, 90, 101)))
        assert np.array_equal(part, whole[30:131, 61:151])


def test_grey_pictures_and_the_fastest_effort(coded):
    codec, image, _ = coded
    grey = codec.encode(image.mean(2).astype(np.uint8), quality=80, tune="psnr")
    planes = pf.read(parse(grey).sections[FILTER])
    assert len(planes) == 1
    assert codec.decode(grey).mode == "L"
    assert FILTER not in parse(codec.encode(image, quality=80, effort=0, tune="psnr")).sections


def test_grey_pictures_have_no_filter_of_colours():
    """The tiny model makes coloured noise of grey, which would be worth a filter if anybody saw
    it."""
    grey = synthetic_photo(130, 140).mean(2).astype(np.uint8)
    for side in (None, 64):
        file = codec_of("context").encode(grey, quality=40, tile_side=side, tune="psnr")
        assert len(pf.read(parse(file).sections[FILTER])) == 1


def test_small_pictures_and_models_without_a_lambda_have_none():
    codec = codec_of("tiny")
    assert (
        FILTER
        not in parse(codec.encode(synthetic_photo(100, 100), quality=90, tune="psnr")).sections
    )

"""Synthetic degradations: what each is meant to do, and that seeds repeat them."""

import numpy as np
import pytest
from aei.codec.training.data import degrade as d
from conftest import synthetic_photo
from hypothesis import given, settings
from hypothesis import strategies as st

KINDS = sorted(d.DEGRADATIONS)


def mse(a, b):
    return float(np.square(a.astype(float) - b).mean())


@settings(max_examples=40)
@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(17, 90), st.integers(17, 90))
def test_same_seed_same_image_of_the_same_form(kind, seed, height, width):
    image = synthetic_photo(height, width, seed % 5)
    before = image.copy()
    first, second = (d.degrade(kind, image, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(image, before), "the clean image is left alone"


@pytest.mark.parametrize("kind", KINDS)
def test_other_seeds_give_other_images(kind):
    image = synthetic_photo(64, 64)
    images = [d.degrade(kind, image, np.random.default_rng(seed)).tobytes() for seed in range(4)]
    assert len(set(images)) == 4


@pytest.mark.parametrize("sigma", [5, 25, 50])
@pytest.mark.parametrize("shot", [0.0, 1.0])
def test_noise_has_the_sigma_asked_for(sigma, shot):
    grey = np.full((128, 128, 3), 128, np.uint8)
    noisy = d.add_noise(grey, sigma, np.random.default_rng(0), shot)
    assert (noisy - 128.0).std() == pytest.approx(sigma, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.03 * sigma + 0.1)


def test_shot_noise_grows_with_brightness():
    ramp = np.full((128, 128, 3), 60, np.uint8)
    ramp[64:] = 180
    noisy = d.add_noise(ramp, 12, np.random.default_rng(1), shot=1.0).astype(float)
    assert noisy[64:].std() / noisy[:64].std() == pytest.approx(np.sqrt(3), rel=0.05)


def test_noise_covers_what_is_measured():
    assert d.SIGMA[0] <= 5
    assert d.SIGMA[1] >= 55
    grey = np.full((64, 64, 3), 128, np.uint8)
    seen = [d.degrade("denoise", grey, np.random.default_rng(s)).std() for s in range(60)]
    assert min(seen) < 6
    assert max(seen) > 45


def test_jpeg_loses_more_at_lower_quality_and_lays_its_grid_where_told():
    image = synthetic_photo(96, 96)
    assert mse(d.jpeg(image, 10), image) > mse(d.jpeg(image, 40), image) > 1
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[::2, :, 0] = colours[1::2, :, 2] = 255
    assert mse(d.jpeg(colours, 90, 2), colours) > 4 * mse(d.jpeg(colours, 90, 0), colours)
    # along x, the steps of a strongly compressed ramp stand at the edges of blocks
    ramp = np.repeat(np.linspace(0, 255, 128)[None, :, None], 32, 0).repeat(3, 2).astype(np.uint8)
    for right in (0, 3):
        steps = np.abs(np.diff(d.jpeg(ramp, 5, 0, (0, right))[..., 0].astype(int), axis=1)).mean(0)
        by_phase = [steps[phase::8].mean() for phase in range(8)]
        assert int(np.argmax(by_phase)) == (right - 1) % 8


@settings(max_examples=20)
@given(st.floats(0.4, 4.0), st.booleans())
def test_kernels_keep_brightness(width, disc):
    kernel = d.disc_kernel(width) if disc else d.gaussian_kernel(width)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert np.allclose(kernel, kernel[::-1, ::-1])
    flat = np.full((40, 33, 3), 77, np.uint8)
    assert np.array_equal(d.blur(flat, kernel), flat)


def test_convolution_is_one():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 23, 3), dtype=np.uint8)
    kernel = rng.random((5, 5)).astype(np.float32)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="symmetric").astype(float)
    direct = sum(
        kernel[4 - i, 4 - j] * padded[i : i + 20, j : j + 23] for i in range(5) for j in range(5)
    )
    np.testing.assert_allclose(d.convolve(image, kernel), direct, atol=2e-2)


def test_blur_takes_away_detail_in_order():
    image = synthetic_photo(96, 96)
    detail = [
        np.square(np.diff(d.blur(image, d.gaussian_kernel(s)).astype(float), axis=1)).mean()
        for s in (0.5, 1.0, 2.0)
    ]
    assert detail[0] > detail[1] > detail[2]


def test_what_spoils_light_and_colour():
    image = synthetic_photo(96, 96)
    rng = np.random.default_rng(0)
    dark = d.darken(image, 0.4, 1.5, 2, rng)
    assert dark.mean() < 0.45 * image.mean()
    flat = d.flatten(image, 0.3, 128)
    assert flat.std() == pytest.approx(0.3 * image.std(), rel=0.03)
    faded = d.fade(image, 0.25, np.ones(3), 0, 255)
    spread = [float((x.max(2).astype(int) - x.min(2)).mean()) for x in (faded, image)]
    assert spread[0] == pytest.approx(0.25 * spread[1], rel=0.05)


@settings(max_examples=20)
@given(st.floats(0, 1), st.integers(0, 255))
def test_haze_lies_between_the_scene_and_the_air(t, air):
    image = synthetic_photo(24, 24)
    hazy = d.add_haze(image, np.full((24, 24), t), np.full(3, air)).astype(int)
    low, high = np.minimum(image, air), np.maximum(image, air)
    assert (hazy >= low.astype(int) - 1).all()
    assert (hazy <= high.astype(int) + 1).all()
    expected = image * t + air * (1 - t)
    assert np.abs(hazy - expected).max() <= 0.51

"""SSIMULACRA 2 against scores of the reference program, and what holds of it for any image."""

import math

import numpy as np
import pytest
from aei.codec.metrics import ssimulacra2 as module
from aei.codec.metrics.recursive_gaussian import DELAY, ScanDown, scan_in_groups
from aei.codec.metrics.ssimulacra2 import ssimulacra2
from hypothesis import given, settings
from hypothesis import strategies as st
from perceptual_reference import pair, rows


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth, with some noise: uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 20
    base = 120 + 60 * np.sin(x + rng.random(3)[:, None, None] * 6) * np.cos(y)
    return np.clip(base + rng.normal(0, 4, base.shape), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def noisy(x: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, x.shape)
    return np.clip(np.rint(x + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("start", range(10))
def test_agrees_with_the_reference_program(start):
    # One image of each distortion, another image each time.
    row = rows()[11 * start]
    assert ssimulacra2(*pair(row)) == pytest.approx(float(row["ssimulacra2"]), abs=0.001)


@settings(max_examples=15, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70), st.integers(0, 9))
def test_equal_images_score_100_and_others_less(height, width, seed):
    x = picture(height, width, seed)
    assert ssimulacra2(x, x) == 100
    assert ssimulacra2(x, noisy(x, 20)) < ssimulacra2(x, noisy(x, 5)) < 100


def test_a_side_below_eight_has_no_score():
    x = picture(7, 40)
    assert math.isnan(ssimulacra2(x, x))
    assert math.isnan(ssimulacra2(x.transpose(1, 0, 2), x.transpose(1, 0, 2)))


@pytest.mark.parametrize("shape", [(8, 8), (9, 15), (65, 131), (130, 33)])
def test_bands_of_rows_change_nothing(shape, monkeypatch):
    x = picture(*shape)
    whole = module.weighted_sum(x, noisy(x, 6))
    for pixels in (6 * shape[1], 1):
        monkeypatch.setattr(module, "BAND_PIXELS", pixels)
        assert module.weighted_sum(x, noisy(x, 6)) == pytest.approx(whole, rel=1e-6)


def test_grey_is_three_equal_channels():
    x = picture(40, 50)[..., 0]
    y = noisy(x, 5)
    assert ssimulacra2(x, y) == ssimulacra2(*(np.stack([a] * 3, axis=2) for a in (x, y)))


def test_columns_of_any_layout_do():
    x = picture(40, 50)
    y = noisy(x, 5)
    assert ssimulacra2(x[::2], y[::2]) == ssimulacra2(x[::2].copy(), y[::2].copy())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 9))
def test_both_scans_are_one_filter_of_nine_taps(n, m, seed):
    x = np.random.default_rng(seed).random((n, m)).astype(np.float32)
    impulse = np.zeros((21, 1), np.float32)
    impulse[10] = 1
    taps = scan_in_groups(impulse)[:, 0]
    assert taps.sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(taps[[*range(6), *range(15, 21)]]).max() < 1e-6
    expected = np.stack([np.convolve(x[:, k], taps[6:15])[4 : 4 + n] for k in range(m)], axis=1)
    assert scan_in_groups(x) == pytest.approx(expected, abs=1e-5)
    down = ScanDown()
    cut = n // 2
    padded = np.concatenate([x, np.zeros((DELAY, m), np.float32)])
    parts = [down.feed(part) for part in (padded[:cut], padded[cut:]) if len(part)]
    assert np.concatenate(parts)[-n:] == pytest.approx(expected, abs=1e-5)

"""Butteraugli against the reference program's results, and what holds of it for any image."""

import math

import numpy as np
import pytest
from aei.codec.metrics import butteraugli as module
from aei.codec.metrics.butteraugli import butteraugli, error_map
from hypothesis import given, settings
from hypothesis import strategies as st
from perceptual_reference import pair, rows


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise, blurred a little: uint8 (height, width, 3)."""
    x = np.random.default_rng(seed).integers(0, 256, (height + 2, width + 2, 3))
    return ((x[:-2, :-2] + x[1:-1, 1:-1] + x[2:, 2:]) // 3).astype(np.uint8)


def noisy(x: np.ndarray, size: int) -> np.ndarray:
    noise = np.random.default_rng(1).integers(-size, size + 1, x.shape)
    return np.clip(x + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("start", range(10))
def test_agrees_with_the_reference_program(start):
    # One image of each distortion, another image each time.
    row = rows()[11 * start]
    expected = float(row["butteraugli_max"]), float(row["butteraugli_3norm"])
    assert butteraugli(*pair(row)) == pytest.approx(expected, rel=0.001)


@settings(max_examples=15, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70), st.integers(0, 9))
def test_equal_images_have_no_error_and_others_more(height, width, seed):
    x = picture(height, width, seed)
    assert butteraugli(x, x) == (0, 0)
    little, much = butteraugli(x, noisy(x, 4)), butteraugli(x, noisy(x, 40))
    assert 0 < little[1] < much[1]
    assert little[1] <= little[0]
    assert much[1] <= much[0]


def test_a_side_below_eight_has_no_value():
    x = picture(7, 40)
    assert all(math.isnan(value) for value in butteraugli(x, x))


def test_errors_are_where_the_difference_is():
    x = picture(90, 80)
    y = x.copy()
    y[40:44, 20:24] = 255 - y[40:44, 20:24]
    errors = error_map(x, y)
    assert errors.shape == (90, 80)
    down, right = np.unravel_index(errors.argmax(), errors.shape)
    assert abs(down - 42) < 8
    assert abs(right - 22) < 8
    assert errors[:, 70:].max() < errors.max() / 20


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 90), st.sampled_from([1.2, 1.56, 7.16]), st.integers(0, 9))
def test_a_blur_keeps_constants_and_its_place(side, sigma, seed):
    flat = np.full((side, 5), 3, np.float32)
    assert module._blur(flat, sigma) == pytest.approx(flat, rel=1e-5)
    x = np.random.default_rng(seed).random((side, 40)).astype(np.float32)
    assert module._blur(x[::-1].copy(), sigma)[::-1] == pytest.approx(
        module._blur(x, sigma), abs=1e-5
    )


def test_lines_are_summed_as_they_are_drawn():
    x = np.random.default_rng(0).random((37, 11)).astype(np.float32)
    padded = np.pad(x, 4)
    for lines, length in ((module.LINES, 9), (module.SPARSE_LINES, 5)):
        expected = np.zeros_like(x)
        for times, line in lines:
            places = [(0, 0), *line, *((-a, -b) for a, b in line)]
            assert len(set(places)) == len(places) <= length
            total = sum(padded[4 + a : 41 + a, 4 + b : 15 + b] for a, b in places)
            expected += times * total**2
        result = np.zeros_like(x)
        module._add_lines(result, x, lines)
        assert result == pytest.approx(expected, rel=1e-5)
        assert sum(times for times, _ in lines) == 16

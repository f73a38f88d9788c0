"""The integer interpreter against the same arithmetic in Python and int64 integers."""

import zlib

import numpy as np
import pytest
from aei.codec.exact import interpreter
from aei.formats import ModelError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

int16 = st.integers(-32768, 32767)


def image(channels: int):
    shape = st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(channels))
    return shape.flatmap(lambda s: arrays(np.int64, s, elements=int16))


half = st.integers(-(2**50), 2**50)


@given(half, half, st.integers(1, 30))
def test_rescale_is_floor_of_the_rounded_quotient(value, bias, shift):
    got = interpreter.rescale(np.array([float(value)]), shift, np.array([float(bias)]))[0]
    assert int(got) == (value + bias + (1 << shift - 1)) >> shift


@given(image(3))
def test_leaky(x):
    got = interpreter.leaky(x.astype(np.float64))
    np.testing.assert_array_equal(got, np.where(x >= 0, x, (x + 4) >> 3))


def rescaled(a: np.ndarray, shift: int) -> np.ndarray:
    return np.clip((a + (1 << shift - 1)) >> shift, -32768, 32767)


@given(image(2), arrays(np.int64, (3, 3, 2), elements=int16), st.integers(1, 24), half)
def test_depthwise_pads_with_zeros(x, w, shift, bias):
    b = np.array([bias, -bias])
    got = interpreter.depthwise3x3(x.astype(np.float64), w.astype(np.float64), shift, b)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    want = np.broadcast_to(b, x.shape).copy()
    for i in range(3):
        for j in range(3):
            want += padded[i : i + x.shape[0], j : j + x.shape[1]] * w[i, j]
    np.testing.assert_array_equal(got.astype(np.int64), rescaled(want, shift))


@given(image(3), arrays(np.int64, (3, 2), elements=int16), st.integers(1, 24), half)
def test_conv1x1(x, w, shift, bias):
    b = np.array([bias, -bias])
    got = interpreter.conv1x1(x.astype(np.float64), w.astype(np.float64), shift, b)
    np.testing.assert_array_equal(got.astype(np.int64), rescaled(x @ w + b, shift))


def test_conv1x1_is_exact_at_the_extremes():
    x = np.full((3, 4, 320), -32768.0)
    w = np.full((320, 7), -32767.0)
    bias = np.full(7, -(32768 * 32767 * 320 - 5000))
    assert (interpreter.conv1x1(x, w, 1, bias) == 2500).all()


@pytest.mark.parametrize("slab", [1, 7, 64])
def test_slabs_do_not_change_results(monkeypatch, slab):
    rng = np.random.default_rng(slab)
    x = rng.integers(-32768, 32768, (9, 4, 8)).astype(np.float64)
    dw = rng.integers(-32768, 32768, (3, 3, 8)).astype(np.float64)
    pw = rng.integers(-32768, 32768, (8, 8)).astype(np.float64)

    def results():
        yield interpreter.depthwise3x3(x, dw, 16, np.arange(8))
        yield interpreter.conv1x1(x, pw, 16, np.arange(8))
        yield interpreter.leaky(x)

    whole = list(results())
    monkeypatch.setattr(interpreter, "SLAB", slab)
    for a, b in zip(whole, results()):
        np.testing.assert_array_equal(a, b)


def test_shuffle_follows_the_specification():
    x = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    got = interpreter.shuffle(x)
    for y in range(2):
        for c in range(3):
            for k in range(8):
                assert got[2 * y + k // 2 % 2, 2 * c + k % 2, k // 4] == x[y, c, k]


def test_inputs_are_not_modified_and_results_are_clamped():
    program = [
        {"op": "row", "in": "z", "out": "a", "multiplier": "m", "shift": 1},
        {"op": "add", "in": ["a", "a"], "out": "b"},
        {"op": "leaky", "in": "b", "out": "b"},
    ]
    z = np.full((2, 2, 1), 30000.0)
    got = interpreter.run(program, {"m": np.array([[2], [4]])}, 1, z=z)
    assert (got == 32767).all()
    assert (z == 30000).all()


def test_unknown_layer_is_refused():
    with pytest.raises(ModelError, match="layer kind"):
        interpreter.run([{"op": "attention", "in": "z", "out": "a"}], {}, 0, z=np.zeros((1, 1, 1)))


def test_known_answer():
    assert interpreter.known_answer()
    a, b = (factor.tolist() for factor in interpreter.known_factors())
    product = [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]
    checksum = zlib.crc32(np.array(product, "<i8").tobytes())
    assert checksum == interpreter.KNOWN_CHECKSUM

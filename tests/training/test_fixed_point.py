"""Float layers as integers: what is exported is within the format's bounds, and near the float
layer. Needs [train]."""

import numpy as np
import pytest
from aei.codec.exact.program import bounds
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
from aei.codec.training.export.fixed_point import Moments, Writer, fractions


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 999), st.booleans(), st.sampled_from([-32768, -3277]), st.booleans())
def test_convolutions_fit_and_are_near(seed, free, low, known):
    rng = np.random.default_rng(seed)
    k, d, n = int(rng.integers(1, 40)), int(rng.integers(1, 12)), 200
    scale = np.exp2(rng.integers(-4, 5, k))
    x = (rng.standard_normal((n, k)) * scale).astype(np.float32)
    x = np.maximum(x, 0) if low != -32768 else x
    weight, bias = rng.standard_normal((d, k)) / scale, rng.standard_normal(d)
    expected = x @ weight.T + bias
    fraction = fractions(np.abs(x).max(0), 2.0)
    moments = Moments(np.zeros((k + 1, k + 1)))
    moments.add(x)
    writer = Writer()
    layer, out = writer.conv(
        "a", weight, bias, fraction, fractions(np.abs(expected).max(0), 2.0), free=free, low=low,
        moments=moments if known else None,
    )  # fmt: skip
    integers, rest = writer.arrays["a.weight"], writer.arrays["a.bias"]
    least, most = bounds(integers, rest, layer["shift"], low, 32767)
    assert least >= -(2**31)
    assert most < 2**31
    assert integers.min() > -32768
    y = np.rint(x * 2.0**fraction) @ integers.T.astype(float) + rest
    y = np.floor(y * 2.0 ** -layer["shift"] + 0.5) * 2.0 ** -out.astype(float)
    assert np.abs(y - expected).max() < 0.02 * np.abs(expected).max()


def test_what_cannot_fit_is_refused():
    with pytest.raises(ValueError, match="32 bits"):
        Writer().conv(
            "a", np.full((1, 4), 1e9), np.zeros(1), np.zeros(4, int), np.zeros(1), free=False
        )
    with pytest.raises(ValueError, match="too large"):
        Writer().row("a", np.full((256, 3), 1e6), np.zeros(3, int), np.zeros(3, int))
    with pytest.raises(ValueError, match="too large"):
        Writer().dequantise("a", np.full((256, 3), 1e6), np.zeros(3, int))


def test_gains_keep_their_digits():
    gain = np.exp(np.random.default_rng(0).uniform(-2, 2, (256, 5)))
    writer = Writer()
    writer.row("a", gain, np.zeros(5, int), np.full(5, 3))
    made = writer.arrays["a.multiplier"] * 2.0 ** -writer.arrays["a.shift"][:, None].astype(float)
    np.testing.assert_allclose(made, gain * 8, rtol=2e-3)
    writer.dequantise("b", gain, np.full(5, 3))
    made = writer.arrays["b.multiplier"] * 2.0 ** -writer.arrays["b.shift"].astype(float)
    np.testing.assert_allclose(made, gain * 8, rtol=2.0**-14)

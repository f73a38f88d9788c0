"""Float32 convolutions of the native core give NumPy's bits, with every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from aei.codec.exact.native import floats, instruction_sets
from aei.codec.search import slopes, ssimulacra2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

SETS = instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the native core was not built")


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


def by_numpy(monkeypatch, work, *arguments):
    with monkeypatch.context() as changed:
        changed.setenv("AEI_CORE", "numpy")
        return work(*arguments)


@pytest.mark.parametrize("isa", SETS)
@settings(max_examples=25, deadline=None)
@given(shape=array_shapes(min_dims=3, max_dims=3, max_side=40), seed=st.integers(0, 9))
def test_depthwise(isa, shape, seed):
    x, weight = noise(seed, *shape), noise(seed + 1, 3, 3, shape[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AEI_CORE_ISA", isa)
        made = floats.depthwise(x, weight)
        assert made is not None
        assert np.array_equal(made, by_numpy(patch, slopes._depthwise, x, weight))


@pytest.mark.parametrize("isa", SETS)
@settings(max_examples=25, deadline=None)
@given(shape=array_shapes(min_dims=2, max_dims=2, max_side=70), seed=st.integers(0, 9))
def test_blur_and_its_transpose(isa, shape, seed):
    x = noise(seed, *shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AEI_CORE_ISA", isa)
        for work in (ssimulacra2._blur, ssimulacra2._blur_back):
            assert np.array_equal(work(x), by_numpy(patch, work, x))
        back = noise(seed + 1, *shape)
        one = (ssimulacra2._blur(x).astype(np.float64) * back).sum()
        other = (ssimulacra2._blur_back(back).astype(np.float64) * x).sum()
        assert one == pytest.approx(other, rel=1e-4, abs=1e-2)


def test_views_and_other_types_are_right_too(monkeypatch):
    x, weight = noise(1, 9, 12, 8), noise(2, 3, 3, 8)
    flipped, turned = weight[::-1, ::-1], x.transpose(1, 0, 2)
    made = slopes._depthwise(turned, flipped)
    assert np.array_equal(made, by_numpy(monkeypatch, slopes._depthwise, turned, flipped))
    assert floats.depthwise(x.astype(np.float64), weight) is None

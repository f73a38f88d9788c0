"""The integer post-filter and levels by the native core beside NumPy's."""

import numpy as np
import pytest
from aei.codec.exact import native
from aei.codec.exact.native import pixels
from aei.codec.pixels import post_filter
from hypothesis import given, settings
from hypothesis import strategies as st

SETS = native.instruction_sets()
pytestmark = [
    pytest.mark.skipif(not SETS, reason="the native core was not built"),
    pytest.mark.skipif(
        not hasattr(post_filter, "DROPPED"), reason="no post-filter in integers here"
    ),
]


def plane(rng: np.random.Generator):
    knots, radius = int(rng.choice([0, 1, 2, 4, 8])), int(rng.integers(1, 4))
    if knots == 0:
        return None
    mantissas = rng.integers(-128, 128, (knots, 2 * radius * (radius + 1))).astype(np.int8)
    return post_filter.PlaneFilter(mantissas, radius, int(rng.integers(5, 21)))


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 45), st.integers(1, 150),
    st.sampled_from([3, 100, 5000, 32768]), st.sampled_from([np.int16, np.int32]),
)  # fmt: skip
def test_filters(seed, h, w, spread, kind):
    rng = np.random.default_rng(seed)
    planes = [plane(rng), plane(rng), plane(rng)]
    while planes and planes[-1] is None:
        planes.pop()
    if not planes:
        return
    x = rng.integers(-spread, spread, (h, w, 3)) + rng.integers(-300, 300, (h, 1, 3)).cumsum(0)
    x = np.clip(x, -32768, 32767).astype(kind)
    want = post_filter.apply_numpy(tuple(planes), x)
    for isa in SETS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AEI_CORE", "native")
            patch.setenv("AEI_CORE_ISA", isa)
            np.testing.assert_array_equal(pixels.apply(tuple(planes), x), want)


@pytest.mark.parametrize("kind", [np.int16, np.int32])
def test_levels(kind, monkeypatch):
    synthesis = pytest.importorskip("aei.codec.exact.synthesis", reason="no integer synthesis here")
    x = np.arange(-32768, 32768, dtype=np.int64).astype(kind)[: 3 * 21845].reshape(-1, 1, 3)
    with monkeypatch.context() as patch:
        patch.setenv("AEI_CORE", "numpy")
        want = synthesis.to_levels(x, False)
    for isa in SETS:
        monkeypatch.setenv("AEI_CORE", "native")
        monkeypatch.setenv("AEI_CORE_ISA", isa)
        np.testing.assert_array_equal(pixels.to_levels(x), want)

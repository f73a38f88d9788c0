"""Parts of a search on threads: the items' order, their errors, and no thread left."""

from __future__ import annotations

import threading

import pytest
from aei.codec.exact.native.team import codec_threads, core_threads
from aei.codec.search.side_by_side import side_by_side


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads):
    before = threading.active_count()
    with codec_threads(threads):
        assert side_by_side(lambda n: n * n, range(20)) == [n * n for n in range(20)]
    assert threading.active_count() <= before  # one of somebody else may have ended


def test_what_fails_is_raised():
    def work(n: int) -> int:
        if n == 3:
            raise ValueError("the third")
        return n

    with codec_threads(2), pytest.raises(ValueError, match="the third"):
        side_by_side(work, range(6))


def test_work_within_work_has_one_thread():
    with codec_threads(2):
        assert side_by_side(lambda _: core_threads(), range(4)) == [1] * 4


def test_refinement_is_the_same_with_any_number_of_threads(tmp_path):
    pytest.importorskip("onnxruntime")
    import numpy as np
    from aei.codec import Codec

    image = np.random.default_rng(5).integers(0, 256, (96, 80, 3), np.uint8)
    one, two = (Codec(threads=n).encode(image, effort=3, quality=40) for n in (1, 2))
    assert one == two

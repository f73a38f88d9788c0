"""The speed benchmark works on small images; what it finds is no test."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from aei.benchmarks import speed
from aei.benchmarks.plots import plot_speed
from conftest import synthetic_photo


def test_contenders_take_turns_and_are_compared(tmp_path):
    path = tmp_path / "0.npy"
    np.save(path, synthetic_photo(64, 80))
    who = [
        speed.Contender("aei", "aei", {"effort": 0}, sys.executable),
        speed.Contender("JPEG", "JPEG", {"quality": 80}, sys.executable),
    ]
    rows = speed.measure(who, [path], threads=1, repeats=1)
    assert [row["codec"] for row in rows] == ["aei", "JPEG"]
    assert all(row["encode_s"] > 0 and row["decode_s"] > 0 for row in rows)
    text = speed.table(rows)
    assert text.count("\n") == 3
    assert "| aei |" in text
    assert "| 1.00 |" in text
    runs = [{"megapixels": m, "threads": n, "rows": rows} for m in (0.01, 1) for n in (1, 2)]
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    plot_speed({"runs": runs}, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 5000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_memory_is_that_of_the_call(tmp_path):
    np.save(tmp_path / "large.npy", synthetic_photo(900, 1200))
    np.save(tmp_path / "small.npy", synthetic_photo(32, 32))
    worker = speed.Worker(speed.Contender("PNG", "PNG", {}, sys.executable), 1)
    large, small = (worker.ask(tmp_path / f"{name}.npy") for name in ("large", "small"))
    worker.close()
    if large["encode_mb"] is not None:
        assert small["decode_mb"] < large["decode_mb"]


def test_a_process_that_dies_is_named(tmp_path):
    worker = speed.Worker(speed.Contender("odd", "NONE", {}, sys.executable), 1)
    np.save(tmp_path / "0.npy", synthetic_photo(16, 16))
    with pytest.raises(RuntimeError, match="odd: the process that codes has died"):
        worker.ask(tmp_path / "0.npy")
    worker.close()


def test_images_grow_by_mirroring():
    image = synthetic_photo(30, 40)
    large = speed.enlarged(image, 100, 70)
    assert large.shape == (70, 100, 3)
    assert np.array_equal(large[:30, :40], image)
    assert np.array_equal(large[:30, 40:80], image[:, ::-1])

"""The restoration benchmark: what it counts, on one small picture."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from aei.benchmarks.studies import restoration
from aei.codec import Codec, Restorers
from conftest import synthetic_photo
from PIL import Image

pytest.importorskip("scipy", reason="needs the [bench] extra")

BUNDLES = Path(__file__).parents[1] / "restorers"


def test_summary_counts_bytes_at_equal_quality():
    plain = [[0.1, 0.2, 0.4, 1.6], [26.0, 28.0, 30.0, 29.0]]
    half = [[0.05, 0.1, 0.2], [26.0, 28.0, 30.0]]
    poor = [[0.1, 0.3], [25.0, 26.5]]
    rows = restoration.summary({"plain": plain, "half": half, "poor": poor}, (1, 20, 75, 90))
    assert rows["half"]["bytes_at_default_quality"] == pytest.approx(0.5)
    assert rows["poor"]["bytes_at_default_quality"] is None
    better = [[0.05, 0.1], [31.0, 32.0]]  # its smallest file has more PSNR than was asked for
    rows |= restoration.summary({"plain": plain, "better": better}, (1, 20, 75, 90))
    assert rows["better"]["bytes_at_default_quality"] == pytest.approx(0.05 / 0.4)
    assert rows["plain"]["bytes_at_default_quality"] is None
    assert rows["plain"]["bytes_at_best_less_0"] == pytest.approx(1)
    assert rows["half"]["bytes_at_best_less_0"] == pytest.approx(0.5)
    assert rows["half"]["bytes_at_best_less_1"] == pytest.approx(0.5)
    assert rows["half"]["bd_rate"] == pytest.approx(-50)
    assert rows["poor"]["bytes_at_best_less_0"] is None
    assert rows["poor"]["best_psnr"] == 26.5


def test_measured_on_a_picture():
    said = []
    chosen = [c for c in restoration.cases() if c.name in ("noise 25", "JPEG q 10")]
    codec = Codec(threads=1)
    found = restoration.measure(
        [synthetic_photo(64, 96)], chosen, codec, Restorers(BUNDLES), (1, 30, 60), said.append
    )
    noise = found["noise 25"]
    names = set(noise["curves"])
    assert {"plain", "aei restore"} <= names
    for curve in noise["curves"].values():
        assert len(curve["bpp"]) == len(curve["psnr"]) == 3
        assert curve["bpp"][0] < curve["bpp"][2]
    assert noise["image_psnr"]["aei restore"] > noise["image_psnr"]["plain"] + 2
    assert "aei restore" not in found["JPEG q 10"]["curves"]
    assert "JPEG q 10: no restoring bundle for deblock" in said
    table = restoration.table(found)
    assert table.count("\n") == 2 + sum(len(f["curves"]) for f in found.values())
    json.dumps(found, allow_nan=False)
    chosen = [c for c in restoration.cases() if c.name == "low light"]
    found = restoration.measure(
        [synthetic_photo(64, 96)] * 2, chosen, codec, Restorers(BUNDLES), (1, 60), jobs=2
    )
    before = found["low light"]["image_psnr"]
    assert before["aei restore"] > before["plain"]


def test_classical_methods_take_noise_away():
    clean = synthetic_photo(96, 96)
    for case in restoration.cases():
        spoilt = case.spoil(clean, np.random.default_rng(0))
        for name, method in restoration.classical(case).items():
            image = method(spoilt)
            assert image.shape == clean.shape
            assert image.dtype == np.uint8
            if case.name in ("noise 25", "noise 50"):
                gain = (
                    np.square(spoilt - clean.astype(float)).mean()
                    / np.square(image - clean.astype(float)).mean()
                )
                assert gain > 2, (case.name, name)


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    Image.fromarray(synthetic_photo(64, 64)).save(tmp_path / "a.png")
    out = tmp_path / "r.json"
    arguments = ["x", "--bundle", str(BUNDLES), "--data", str(tmp_path), "--cases", "noise 50",
                 "--threads", "1", "-o", str(out)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    restoration.main()
    facts = json.loads(out.read_text())
    assert facts["restorers"]["denoise"] == "tiny denoise"
    assert list(facts["cases"]) == ["noise 50"]
    assert "| noise 50 | aei restore |" in out.with_suffix(".md").read_text()
    monkeypatch.setattr(sys, "argv", ["x", "--cases", "dust"])
    with pytest.raises(SystemExit):
        restoration.main()
    assert "JPEG q 10" in capsys.readouterr().err

"""The example of docs/guide/training.md, from nothing to a benchmark, with its own commands and a
tiny network."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import synthetic_photo
from PIL import Image

for module in ("pytorch_optimizer", "bjontegaard", "matplotlib"):
    pytest.importorskip(module, reason="needs the [train] extra")

from aei.benchmarks.results import load

DOCS = (Path(__file__).parents[2] / "docs" / "guide" / "training.md").read_text(encoding="utf-8")
TINY = {
    "--epochs 50": "--epochs 1 --width 4 --batch 40 --threads 1",
    "--limit 100": "--limit 2",
}


def test_example_from_nothing_to_a_plot(tmp_path):
    data = tmp_path / "data" / "cifar10"
    data.mkdir(parents=True)
    images = np.stack([synthetic_photo(32, 32, seed=i) for i in range(100)])
    np.save(data / "train_3000.npy", images[:80])
    np.save(data / "eval_1000.npy", images[80:])
    script = DOCS.split("<!-- example -->")[1].split("```")[1]
    for setting, tiny in TINY.items():
        assert setting in script
        script = script.replace(setting, tiny)
    here = tmp_path / "empty"
    here.mkdir()
    functions = "".join(
        f'{name}() {{ "{sys.executable}" {module} "$@"; }}\n'
        for name, module in (("aei", "-m aei.cli.main"), ("python", ""))
    )
    result = subprocess.run(
        ["bash", "-c", functions + "set -e\n" + script],
        cwd=here,
        env=os.environ | {"AEI_DATA": str(data.parent)},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    assert Image.open(here / "back.png").size == (32, 32)
    assert Image.open(here / "cae.png").width > 400
    results, points = load(here / "cae.json")
    curves = results["curves"]["psnr"]
    assert len(curves["aei (cae)"]["bpp"]) == 1
    assert {"aei", "JPEG", "WebP"} <= set(curves)
    size = (here / "small.aei").stat().st_size
    points = [p for p in points if p.codec == "aei (cae)"]
    assert len(points) == 2
    assert all(0 < p.payload_bytes < p.bytes for p in points)
    assert 0 < size < 32 * 32 * 3

"""The restoring networks of restore/: every kind is there, is small, and mends what it is for."""

from pathlib import Path

import numpy as np
import pytest
from aei.benchmarks.studies.restoration import cases
from aei.codec import Restorers
from aei.codec.pixels.quality import psnr
from aei.codec.restore.restorers import KINDS, RESTORING
from conftest import synthetic_photo

BUNDLES = Path(__file__).parents[3] / "restore" / "aei_restore" / "bundles"
pytestmark = pytest.mark.skipif(not BUNDLES.is_dir(), reason="needs a checkout, for restore/")
# decibels gained on a synthetic picture, at least
GAINS = {"denoise": 5, "deblock": 0.6, "deblur": 0.3, "low-light": 10, "contrast": 4, "colour": 3,
         "haze": 4}  # fmt: skip


def test_every_kind_is_there_and_small():
    assert set(Restorers(BUNDLES).kinds()) == set(KINDS)
    assert all(p.stat().st_size < 2_300_000 for p in BUNDLES.glob("*/restore.onnx"))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_mends(case):
    clean = synthetic_photo(256, 320, seed=9)
    spoilt = case.spoil(clean, np.random.default_rng(1))
    asked = {"restore" if case.kind in RESTORING else "enhance": case.kind}
    mended = Restorers(BUNDLES, threads=1).apply(spoilt, **asked).image
    assert psnr(clean, np.asarray(mended)) > psnr(clean, spoilt) + GAINS[case.kind]

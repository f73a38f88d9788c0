"""What `-q N` means: a SSIMULACRA 2 of about N, where the model says how its gain indexes score."""

from __future__ import annotations

import json
import shutil

import pytest
from aei.codec import Codec, ModelError, UnsupportedError
from aei.codec.settings import GAIN_LEVELS, gain_index_of_quality
from golden_files import GOLDEN
from hypothesis import given
from hypothesis import strategies as st

SCORES = [[20, 35.5], [100, 62.0], [200, 84.25]]


def test_a_model_without_scores_has_an_even_scale():
    assert [gain_index_of_quality(q) for q in (1, 50.5, 100)] == [0, 128, GAIN_LEVELS - 1]


def test_scores_are_met_and_the_ends_stay():
    for index, score in SCORES:
        assert gain_index_of_quality(score, SCORES) == index
    assert gain_index_of_quality(1, SCORES) == 0
    assert gain_index_of_quality(100, SCORES) == GAIN_LEVELS - 1


@given(st.floats(1, 100), st.floats(1, 100), st.sampled_from([(), SCORES]))
def test_more_quality_is_no_lower_index(one, two, scores):
    low, high = sorted((one, two))
    first, second = gain_index_of_quality(low, scores), gain_index_of_quality(high, scores)
    assert 0 <= first <= second < GAIN_LEVELS


@pytest.mark.parametrize("quality", [0.99, 100.01, -5, float("nan")])
def test_other_qualities_are_refused(quality):
    with pytest.raises(UnsupportedError, match="from 1 to 100"):
        gain_index_of_quality(quality, SCORES)


@pytest.mark.parametrize("scores", [[[5, 40], [9, 30]], [[5]], 7, ["ab"], [[300, 50]], [[5, None]]])
def test_scores_that_do_not_rise_are_refused(tmp_path, scores):
    folder = tmp_path / "bad.bundle"
    shutil.copytree(GOLDEN / "tiny.bundle", folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"scores": scores}), "utf-8")
    with pytest.raises(ModelError, match="scores"):
        Codec(folder).bundle.gain_index_of_quality(50)


def test_calibration_writes_scores_that_rise(tmp_path):
    from aei.codec.training.export.calibrate import calibrate
    from conftest import synthetic_photo

    folder = tmp_path / "finish.bundle"
    shutil.copytree(GOLDEN / "finish.bundle", folder)
    facts = calibrate(folder, [synthetic_photo(256, 256, seed=s) for s in range(2)])
    assert calibrate(folder, [synthetic_photo(100, 300)]) == {}
    bundle = Codec(folder).bundle
    assert bundle.manifest["scores"] == facts["scores"]
    for index, score in facts["scores"]:
        assert abs(bundle.gain_index_of_quality(score) - index) <= 1

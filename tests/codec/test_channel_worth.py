"""What errors are worth in each channel: a table that only encoders read, the same on any machine,
and how it is measured."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from aei.codec import Codec, ModelError
from aei.codec.models.bundle import Bundle
from aei.codec.models.channel_worth import CHANNEL_WORTH, row_of, steps_of
from aei.codec.models.parts import add_hashes
from conftest import synthetic_photo
from golden_files import CORES, GOLDEN
from hypothesis import given
from hypothesis import strategies as st

save_file = pytest.importorskip("safetensors.numpy").save_file

IMAGE = synthetic_photo(96, 130)


def with_table(folder: Path, table: np.ndarray, name: str = CHANNEL_WORTH) -> Path:
    shutil.copytree(GOLDEN / "finish.bundle", folder)
    save_file({name: table}, folder / f"{CHANNEL_WORTH}.safetensors")
    return folder


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A small bundle with a table."""
    latents = Bundle(GOLDEN / "finish.bundle").prior.latents
    table = np.random.default_rng(1).integers(-24, 25, (3, latents), np.int8)
    return with_table(tmp_path / "worth.bundle", table)


@given(st.integers(2, 9), st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_rows_are_between_those_of_the_table(rows, gain_index, seed):
    table = np.random.default_rng(seed).integers(-127, 128, (rows, 12)).astype(np.int8)
    at = gain_index * (rows - 1) / 255
    low = min(int(at), rows - 2)
    expected = table[low] + (at - low) * (table[low + 1] - table[low].astype(float))
    found = row_of(table, gain_index)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.log2(found), expected / 8, atol=1 / 32 + 1e-6)
    np.testing.assert_array_equal(row_of(table, 255), np.exp2(table[-1] / 8).astype(np.float32))


def test_a_table_holds_the_numbers_that_it_is_made_of():
    worth = np.exp2(np.random.default_rng(0).uniform(-5, 5, (2, 40)))
    table = steps_of(worth)
    assert table.dtype == np.int8
    np.testing.assert_allclose(np.log2(row_of(table, 0)), np.log2(worth[0]), atol=1 / 16 + 1e-6)
    assert steps_of(np.array([[1e-30, 1e30]])).tolist() == [[-127, 127]]


def test_encoders_make_the_same_other_files_everywhere(bundle):
    without, codec = Codec(GOLDEN / "finish.bundle"), Codec(bundle)
    files = set()
    for core in CORES.values():
        with mock.patch.dict(os.environ, core):
            files.add(codec.encode(IMAGE, effort=1))
    (data,) = files
    assert data != without.encode(IMAGE, effort=1)
    np.testing.assert_array_equal(codec.decode(data), without.decode(data))


def test_refinement_has_it_too(bundle):
    one, other = (
        Codec(path).encode(IMAGE, effort=2) for path in (bundle, GOLDEN / "finish.bundle")
    )
    assert one != other


@pytest.mark.parametrize("how", [{"effort": 0}, {"tune": "psnr"}])
def test_where_it_has_no_part(bundle, how):
    one, other = (Codec(path).encode(IMAGE, **{"effort": 1} | how)
                  for path in (bundle, GOLDEN / "finish.bundle"))  # fmt: skip
    assert one == other


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (np.zeros((3, 5), np.int8), CHANNEL_WORTH),
        (np.zeros((1, 12), np.int8), CHANNEL_WORTH),
        (np.zeros((3, 12), np.float32), CHANNEL_WORTH),
        (np.zeros(12, np.int8), CHANNEL_WORTH),
        (np.zeros((3, 12), np.int8), "other"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, table, name):
    codec = Codec(with_table(tmp_path / "bad.bundle", table, name))
    with pytest.raises(ModelError, match=r"channel_worth\.safetensors"):
        codec.encode(IMAGE)


def test_damage_is_noticed_and_decoders_do_not_mind(bundle):
    add_hashes(bundle)
    data = Codec(bundle).encode(IMAGE)
    path = bundle / f"{CHANNEL_WORTH}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    codec = Codec(bundle)
    with pytest.raises(ModelError, match="reinstall the model"):
        codec.encode(IMAGE)
    codec.decode(data)


def test_the_table_is_measured(tmp_path):
    pytest.importorskip("onnx", reason="needs the [train] extra")
    from aei.codec.training.export.channel_worth import ANCHORS, add_channel_worth

    folder = tmp_path / "measured.bundle"
    shutil.copytree(GOLDEN / "finish.bundle", folder)
    before = Bundle(folder)
    table = add_channel_worth(folder, [synthetic_photo(256, 300, seed=s) for s in range(2)])
    assert table.shape == (ANCHORS, before.prior.latents)
    assert table.std() > 0
    after = Bundle(folder)
    assert after.fingerprint == before.fingerprint
    np.testing.assert_array_equal(after.worth_of_channels(0), row_of(table, 0))
    assert before.manifest | {"files": {}} == after.manifest | {"files": {}}
    Codec(folder).encode(IMAGE)
    with pytest.raises(ValueError, match="no photographs"):
        add_channel_worth(folder, [synthetic_photo(100, 300)])

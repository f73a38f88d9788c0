"""The bundle's own reader of safetensors files: what that library writes, and nothing that lies."""

import contextlib
import json

import numpy as np
import pytest
from aei.codec.models.arrays import arrays_of
from hypothesis import given, settings
from hypothesis import strategies as st

save = pytest.importorskip("safetensors.numpy").save

KINDS = ("bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")


def file_of(header, numbers: bytes = bytes(64)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 5), max_size=4)),
        max_size=6,
    ),
    st.integers(0, 99),
)
def test_what_was_saved(described, seed):
    rng = np.random.default_rng(seed)
    described.pop("__metadata__", None)
    arrays = {
        name: np.asarray(100 * rng.random(shape)).astype(kind)
        for name, (kind, shape) in described.items()
    }
    found = arrays_of(save(arrays, metadata={"a": "b"}))
    assert found.keys() == arrays.keys()
    for name, a in arrays.items():
        assert found[name].dtype == a.dtype
        np.testing.assert_array_equal(found[name], a)
        assert not found[name].flags.writeable


def fields(**change):
    return {"x": {"dtype": "I16", "shape": [2, 3], "data_offsets": [0, 12]} | change}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\1\0\0", (1 << 63).to_bytes(8, "little"), file_of(b"{"), file_of(b"[" * 100_000),
        file_of([]), file_of(None), file_of({"x": None}), file_of({"x": {}}), file_of(b"\xff\xfe"),
        file_of(fields(dtype="BF16")), file_of(fields(dtype=3)), file_of(fields(dtype=[])),
        file_of(fields(shape=None)), file_of(fields(shape=[6.0])), file_of(fields(shape=[True, 6])),
        file_of(fields(shape=[-2, -3])), file_of(fields(shape=[1] * 40 + [6])),
        file_of(fields(shape="23")), file_of(fields(shape={"2": 3})), file_of(fields(shape=[7])),
        file_of(fields(shape=[2**62, 2**62])), file_of(fields(data_offsets=[0])),
        file_of(fields(data_offsets=[-12, 0])), file_of(fields(data_offsets=[12, 0])),
        file_of(fields(data_offsets=[60, 72])), file_of(fields(data_offsets=[2**62, 2**62 + 12])),
        file_of(fields(data_offsets=7)), file_of(fields(data_offsets="ab")),
    ],
)  # fmt: skip
def test_lies(data):
    with pytest.raises(ValueError):  # noqa: PT011  the caller says which file
        arrays_of(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_header(text):
    try:
        arrays_of(file_of(text))
    except ValueError:
        return


def test_flipped_bytes():
    data = bytearray(save({"a": np.arange(6, dtype=np.int16), "b": np.zeros((2, 2), np.float32)}))
    for at in range(len(data) - 28):
        for bit in range(8):
            data[at] ^= 1 << bit
            with contextlib.suppress(ValueError):
                arrays_of(bytes(data))
            data[at] ^= 1 << bit

"""Arrays of a bundle's .safetensors files, where they lie in the file's bytes."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np

KINDS = {
    "BOOL": "?", "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
    "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
MOST_HEADER_BYTES, MOST_DIMENSIONS = 1 << 22, 32


def arrays_of(data: bytes | memoryview) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, read-only views of its bytes.

    The file is 8 bytes, the length of a JSON object little-endian; that object, of each name its
    `dtype`, `shape` and `data_offsets`; and the numbers. Raises ValueError.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, MOST_HEADER_BYTES):
        raise ValueError("its header is longer than the file")
    try:
        header = json.loads(bytes(data[8 : 8 + size]))
    except RecursionError:
        raise ValueError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    header.pop("__metadata__", None)
    return {name: _array(data, 8 + size, name, facts) for name, facts in header.items()}


def _array(data: bytes | memoryview, start: int, name: str, facts: Any) -> np.ndarray:
    """One array. start: of the numbers in the file."""
    try:
        kind, shape = np.dtype(KINDS[facts["dtype"]]), facts["shape"]
        first, last = facts["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (first, last, *shape))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name} is described wrongly") from None
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not whole:
        raise ValueError(f"{name} is described wrongly")
    count = prod(shape)
    if first > last or last > len(data) - start or last - first != count * kind.itemsize:
        raise ValueError(f"{name} is not of its shape, or not in the file")
    made = np.frombuffer(data, kind, count, start + first).reshape(shape)
    made.flags.writeable = False
    return made

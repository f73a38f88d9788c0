"""Arrays of a bundle's .safetensors files, where they lie in the file's bytes."""

from __future__ import annotations

from math import prod

import numpy as np

from .stored import Entry, entries_of


def arrays_of(
    data: bytes | memoryview, entries: dict[str, Entry] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, read-only views of its bytes. entries: where they
    lie, if that is known. Raises ValueError."""
    if entries is None:
        entries = entries_of(data)
    return {name: _array(data, entry) for name, entry in entries.items()}


def _array(data: bytes | memoryview, entry: Entry) -> np.ndarray:
    count = prod(entry.shape)
    made = np.frombuffer(data, np.dtype(entry.kind), count, entry.start).reshape(entry.shape)
    made.flags.writeable = False
    return made

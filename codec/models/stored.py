"""A program of a bundle and its numbers as they lie on the disk, and the hash of both.

Nothing here needs NumPy: a command reads a bundle while it still loads that (see ahead.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from ...formats import ModelError
from .parts import MOST_JSON_BYTES, read_part

# safetensors' names of the kinds of numbers, and NumPy's, which end with the bytes of one
KINDS = {
    "BOOL": "|b1", "I8": "|i1", "U8": "|u1", "I16": "<i2", "U16": "<u2", "I32": "<i4",
    "U32": "<u4", "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
# Bytes that are hashed by a call: each lets other threads in, and waits for them when it is done.
AT_ONCE = 1 << 20
MOST_HEADER_BYTES, MOST_DIMENSIONS = 1 << 22, 32


class Entry(NamedTuple):
    """An array of a safetensors file: its kind as NumPy names it, its shape, and where in the
    file's bytes it begins and ends."""

    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


class Stored(NamedTuple):
    """A program as JSON text; the bytes of its .safetensors file, and what lies where in them;
    sha256: as prior.sha256_of has it."""

    text: str
    data: bytes | memoryview
    entries: dict[str, Entry]
    sha256: bytes


def read_stored(folder: Path, name: str, room: Callable[[int], Any] | None = None) -> Stored:
    """NAME.json and NAME.safetensors of a bundle, whose hash the caller has to look at: they are
    not held against those of the files. room: see `read_regular`. Raises ModelError."""
    try:
        text = read_part(folder / f"{name}.json", MOST_JSON_BYTES).decode()
    except ValueError as error:
        raise ModelError(f"{folder}: the {name} cannot be read ({error})") from None
    path = folder / f"{name}.safetensors"
    # the hash of the arrays is cheaper than the file's, and as good
    data = read_part(path, hashed=False, room=room)
    try:
        entries = entries_of(data)
    except ValueError as error:
        raise ModelError(f"{path}: not a readable part of a model bundle ({error})") from None
    return Stored(text, data, entries, _sha256_of(text, data, entries))


def entries_of(data: bytes | memoryview) -> dict[str, Entry]:
    """The arrays of a safetensors file, by name.

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
    return {name: _entry(len(data), 8 + size, name, facts) for name, facts in header.items()}


def _entry(size: int, start: int, name: str, facts: Any) -> Entry:
    """One array. size: of the file in bytes; start: of the numbers in it."""
    try:
        kind, shape = KINDS[facts["dtype"]], facts["shape"]
        first, last = facts["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (first, last, *shape))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name} is described wrongly") from None
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not whole:
        raise ValueError(f"{name} is described wrongly")
    if first > last or last > size - start or last - first != prod(shape) * int(kind[-1]):
        raise ValueError(f"{name} is not of its shape, or not in the file")
    return Entry(kind, tuple(shape), start + first, start + last)


def _sha256_of(text: str, data: bytes | memoryview, entries: dict[str, Entry]) -> bytes:
    """What prior.sha256_of says of a program and its arrays."""
    digest = hashlib.sha256(text.encode() + b"\0")
    numbers, room, held = memoryview(data), memoryview(bytearray(AT_ONCE)), 0
    for name in sorted(entries):
        entry = entries[name]
        # a single number counts as an array of one
        head = f"{name}\0{entry.kind} {entry.shape or (1,)}\0".encode()
        for part in (head, numbers[entry.start : entry.end]):
            if held + len(part) > AT_ONCE:
                digest.update(room[:held])
                held = 0
            if len(part) > AT_ONCE:
                digest.update(part)
            else:
                room[held : held + len(part)] = part
                held += len(part)
    digest.update(room[:held])
    return digest.digest()

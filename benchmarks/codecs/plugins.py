"""Lists that a stranger's Python file defines: codecs and metrics for the benchmark."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path
from typing import TypeVar

Kind = TypeVar("Kind")


def list_of_file(
    path: Path, name: str, kind: type[Kind], error: type[Exception]
) -> tuple[list[Kind], str]:
    """The list `name` of a `kind` that a Python file defines when it is run, and the SHA-256 of the
    file. Raises `error`, in one sentence that names the file, without one or where the file fails.
    """
    try:
        found = runpy.run_path(str(path)).get(name)
    except Exception as cause:  # somebody else's code: say which file, whatever it raised
        raise error(f"{path}: {type(cause).__name__}: {cause}") from None
    if not isinstance(found, list) or not all(isinstance(entry, kind) for entry in found):
        raise error(f"{path}: defines no list {name} of {kind.__name__}")
    return found, hashlib.sha256(path.read_bytes()).hexdigest()

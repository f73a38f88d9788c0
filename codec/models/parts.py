"""The files of a bundle's folder: regular ones, of bounded size, with the hashes that its manifest
gives.

A manifest may have `files`, the SHA-256 of every other file of the folder. A file is held against
it when it is read; bundles without, from before hashes, are read all the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...formats import AeiError, ModelError
from ..reading import read_regular

MANIFEST = "manifest.json"
FILES = "files"  # of the manifest
MOST_BYTES = 1 << 28  # of one file
MOST_JSON_BYTES = 1 << 22


def read_part(
    path: Path,
    most: int = MOST_BYTES,
    *,
    hashed: bool = True,
    room: Callable[[int], Any] | None = None,
) -> Any:
    """The bytes of a file of a bundle, which the manifest has to name. hashed: held against its
    hash there, which is superfluous where the caller has another one of all that it holds. room:
    see `read_regular`. Raises ModelError."""
    try:
        data = read_regular(path, most, room)
    except AeiError as error:
        raise ModelError(f"{path}: no part of a model bundle ({error})") from None
    except OSError as error:
        raise ModelError(
            f"{path}: not a readable part of a model bundle ({error.strerror or error})"
        ) from None
    if path.name != MANIFEST:
        _check(path, data, hashed)
    return data


def check_parts(folder: Path, name: str) -> None:
    """Look at a file that a library will open by its name, and at what else lies in its folder,
    which the file may refer to. Raises ModelError."""
    others = []
    try:
        for entry in os.scandir(folder):
            mode = os.stat(entry.path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise ModelError(f"{entry.path}: a model bundle holds regular files only")
            others.append(entry.name)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({error.strerror or error})") from None
    data = read_part(folder / name)
    for other in others:  # weights that the graph takes from another file
        if other != name and other.endswith(".safetensors") and other.encode() in data:
            read_part(folder / other)


def check_whole(folder: Path, manifest: dict[str, Any]) -> None:
    """Look whether all files that a manifest names are there. Raises ModelError."""
    names = manifest.get(FILES)
    for name in names if isinstance(names, dict) else ():
        if not os.path.lexists(folder / name):
            raise ModelError(f"{folder}: {name} is missing; reinstall the model")


def read_json(path: Path) -> dict[str, Any]:
    """An object in a JSON file of a bundle. Raises ModelError."""
    try:
        value = json.loads(read_part(path, MOST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: cannot be read (no JSON object)")
    return value


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a bundle's folder but the manifest, by name: what a manifest's
    `files` is to hold."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST
    }


def add_hashes(folder: str | Path) -> None:
    """Bring the hashes in a bundle's manifest up to what lies in its folder."""
    path = Path(folder) / MANIFEST
    manifest = read_json(path)
    manifest[FILES] = hashes_of(path.parent)
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _check(path: Path, data: Any, hashed: bool) -> None:
    manifest = path.parent / MANIFEST
    if not manifest.exists():  # a bundle that is being made
        return
    hashes = read_json(manifest).get(FILES)
    if hashes is None:
        return
    found = hashes.get(path.name) if isinstance(hashes, dict) else None
    if found is None or (hashed and found != hashlib.sha256(data).hexdigest()):
        raise ModelError(
            f"{path}: is not the file that the bundle's manifest names by its hash: "
            "damaged or exchanged; reinstall the model"
        )

"""SHA-256 of the files below a folder, in a text that `sha256sum -c` and its likes read too.

A line is the hash in hexadecimal, two spaces and the name relative to the folder, with slashes. A
name with a line end or a backslash has those escaped, and its line begins with a backslash.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from ...formats import AeiError, DamagedFileError
from ..reading import read_regular
from .storage import write_atomic

NAME = "SHA256SUMS"
MOST_BYTES = 256 << 20  # of a manifest: a million long names
CHUNK = 1 << 20
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
# a star before the name says that the file was read as binary, which all are
LINE = re.compile(rb"(\\?)([0-9a-fA-F]{64}) [ *](.+)", re.DOTALL)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file in hexadecimal, read a part at a time. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
    return digest.hexdigest()


def place_in(folder: Path, path: Path) -> str | None:
    """A file's name in the manifest of a folder, or None where it does not lie below it."""
    try:
        return Path(os.path.abspath(path)).relative_to(os.path.abspath(folder)).as_posix()
    except ValueError:
        return None


def format_line(name: str, digest: str) -> str:
    """One line of a manifest, with its end."""
    escaped = "".join(ESCAPES.get(c, c) for c in name)
    return f"{chr(92) * (escaped != name)}{digest}  {escaped}\n"


def read_manifest(path: Path) -> dict[str, str]:
    """Hashes by name, in the file's order. Raises OSError, and DamagedFileError for what is no
    manifest."""
    found = {}
    for number, line in enumerate(read_regular(path, MOST_BYTES).split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if not line:
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise DamagedFileError(f"line {number} is none of a list of SHA-256 hashes")
        slash, digest, raw = match.groups()
        name = os.fsdecode(raw)
        if slash:
            name = re.sub(r"\\([\\nr])", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), name)
        found[name.removeprefix("./")] = digest.decode().lower()
    return found


def update_manifest(folder: Path, hashes: Mapping[str, str]) -> Path:
    """Put hashes, by name below `folder`, into its manifest, beside those that it has of other
    files; its path. Raises AeiError, OutputError and OSError."""
    path = folder / NAME
    known = {}
    if path.exists():
        try:
            known = read_manifest(path)
        except AeiError as error:
            raise type(error)(f"{path}: {error}") from None
    known.update(hashes)
    text = "".join(format_line(name, known[name]) for name in sorted(known))
    write_atomic(path, os.fsencode(text), overwrite=True)
    return path

"""The files of a folder by the names of requests: nothing outside it, no links, no hidden files."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..formats import AeiError
from ..formats.errors import shown

TYPES = {".aei": "image/x-aei", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png",
         ".webp": "image/webp", ".avif": "image/avif"}  # fmt: skip
FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
MOST_PARTS = 32
BY_DESCRIPTOR = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")


class MissingError(AeiError):
    """There is no such picture, or none that may be served."""


@dataclass(frozen=True)
class Stored:
    """A file as it was opened: its name below the folder, media type, and what tells its versions
    apart."""

    name: str
    kind: str
    size: int
    changed: int  # nanoseconds
    inode: int
    data: bytes = b""


def find(folder: str, name: str, most: int, *, read: bool = True) -> Stored:
    """A picture of a folder; without a suffix, the .aei file of that name.

    most: bytes; without `read`, the contents are left out. Raises MissingError, whatever the reason
    is, so that nothing is said about files that are not served; AeiError for one that is too large.
    """
    parts = name.split("/")
    suffix = Path(parts[-1]).suffix.lower()
    if suffix not in TYPES:
        parts[-1] += ".aei"
        suffix = ".aei"
    bad = len(parts) > MOST_PARTS or any(
        not part or part.startswith(".") or "\\" in part or "\0" in part or ":" in part
        for part in parts
    )
    if bad:
        raise MissingError(f"{shown(name)}: no such picture")
    try:
        with _opened(folder, parts) as descriptor:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise MissingError(f"{shown(name)}: no such picture")
            if found.st_size > most:
                raise AeiError(f"{shown(name)}: larger than {most} bytes", reason="large")
            data = b""
            if read:
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(most)
    except (OSError, ValueError):  # also names that are too long, or no text
        raise MissingError(f"{shown(name)}: no such picture") from None
    return Stored(
        "/".join(parts), TYPES[suffix], found.st_size, found.st_mtime_ns, found.st_ino, data
    )


@contextlib.contextmanager
def _opened(folder: str, parts: list[str]) -> Iterator[int]:
    """A descriptor of a file below a folder. No link is followed on the way, so that it stays below
    whatever happens to the folder meanwhile."""
    if not BY_DESCRIPTOR:
        path = Path(folder).resolve()
        for part in parts:
            path /= part
            if path.is_symlink():
                raise MissingError("a link")
        descriptor = os.open(path, FLAGS | getattr(os, "O_BINARY", 0))
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        return
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for i, part in enumerate(parts):
            flags = FLAGS | (os.O_DIRECTORY if i < len(parts) - 1 else 0)
            below = os.open(part, flags, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)

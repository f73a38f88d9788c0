"""Reading files that may be anything: regular ones only, and no more of them than is wanted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from ..formats import AeiError, UnsupportedError

BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate ends of lines


def read_regular(
    source: str | os.PathLike, most: int | None = None, room: Callable[[int], Any] | None = None
) -> Any:
    """The bytes of a regular file: pipes and devices may have no end. most: bytes. room: makes the
    buffer for so many bytes that they are read to, where bytes objects will not do.

    Raises AeiError for anything else or more, and OSError.
    """
    data = _read(source, most, room)
    if most is not None and len(data) > most:
        raise AeiError(f"larger than {most} bytes")
    return data


def read_start(source: str | os.PathLike, most: int) -> bytes:
    """The first bytes of a regular file, `most` of them or a few more. Raises AeiError for what is
    none, with the file's name, and OSError."""
    try:
        return _read(source, most)
    except AeiError as error:
        raise AeiError(f"{os.fspath(source)}: {error}", reason=error.reason) from None


def _read(
    source: str | os.PathLike, most: int | None, room: Callable[[int], Any] | None = None
) -> Any:
    """One byte over `most`, where there is one. Raises AeiError, OSError."""
    try:
        # opened without waiting for a pipe's other end; what was opened is what is looked at
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BINARY)
    except ValueError:
        raise AeiError("is no name of a file") from None
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise AeiError("is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise AeiError("not a regular file", reason="pipe")
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            if most is None:
                return file.readall()
            # no more memory than the file takes; those of /proc say 0
            size = min(most, found.st_size or most) + 1
            if room is None:
                return file.read(size)
            buffer, held = memoryview(room(size)), 0
            while held < size and (more := file.readinto(buffer[held:])):
                held += more
            return buffer[:held]
    finally:
        os.close(descriptor)


def as_data(data: Any) -> bytes | memoryview:
    """The bytes of an .aei file that is given as bytes, as a path, or as an open binary file.

    Raises UnsupportedError for anything else, AeiError and OSError where a file cannot be read.
    """
    if isinstance(data, (str, os.PathLike)):
        try:
            return read_regular(data)
        except AeiError as error:
            raise AeiError(f"{os.fspath(data)}: {error}") from None
    if hasattr(data, "read"):
        data = data.read()
    try:
        return memoryview(data).cast("B")
    except TypeError:
        raise UnsupportedError(
            f"cannot decode a {type(data).__name__}: give the bytes of an .aei file, or its path"
        ) from None

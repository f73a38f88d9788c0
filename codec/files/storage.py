"""Writing files that appear complete or not at all, whatever interrupts the writer."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...formats import AeiError
from ...formats.errors import shown

PART_PREFIX, PART_SUFFIX = ".aei-", ".part"
# Contents are in memory before a file is opened, so a write takes moments: a part this old belongs
# to a process that was killed.
STALE_SECONDS = 60
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


_parts: set[Path] = set()  # that are being written


class OutputError(AeiError):
    """An output exists and may not be replaced, or it cannot be written."""


class DiskError(OutputError):
    """The disk is full or failing: further outputs would fare no better."""


def write_atomic(
    path: Path,
    data: bytes,
    *,
    overwrite: bool = False,
    times: tuple[int, int] | None = None,
    check: Callable[[bytes], object] | None = None,
) -> None:
    """Write `data` to `path` through a temporary file in the same folder and a rename.

    The file is on disk before it gets its name. overwrite: replace a file that exists; without, an
    existing one is left alone, even one that appeared this moment. A file that is replaced gives
    its permissions to the new one; a link stays, what it points at is replaced; pipes and devices
    are written to. times: access and modification time in nanoseconds. check: given what was read
    back from the disk, before the file gets its name; where it raises, nothing is left (of pipes it
    is given the data). Raises OutputError, or DiskError where the disk is full or failing.
    """
    temporary = None
    try:
        if path.is_dir():
            raise OutputError(f"{shown(path)} is a directory: name a file")
        if is_stream(path) or (overwrite and _is_special(path)):
            if check is not None:
                check(data)
            with path.open("wb", buffering=0) as stream:
                write_all(stream, data)
            return
        if os.path.islink(path) and overwrite:
            path = Path(os.path.realpath(path))
        name = path.parent / f"{PART_PREFIX}{os.urandom(8).hex()}{PART_SUFFIX}"
        with name.open("xb") as file:
            temporary = name
            _parts.add(name)
            file.write(data)
            file.flush()
            if overwrite:
                _take_permissions(file.fileno(), path)
            os.fsync(file.fileno())
            if check is not None:
                _forget(file.fileno())
        if check is not None:
            check(temporary.read_bytes())
        if times is not None:
            os.utime(temporary, ns=times)
        _give_name(temporary, path, overwrite)
    except FileExistsError:
        raise OutputError(f"{shown(path)} exists", reason="exists") from None
    except ValueError:
        raise OutputError(f"{shown(path)} is no name of a file") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        kind = DiskError if error.errno in DISK_ERRORS else OutputError
        raise kind(f"{shown(path)} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            _parts.discard(temporary)


def _forget(descriptor: int) -> None:
    """Let the system forget what it holds of a file in memory, as far as it can be asked to, so
    that it is next read from the disk."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def remove_own_parts() -> None:
    """Delete what this process has half written, before it ends without further ado."""
    for part in list(_parts):
        with contextlib.suppress(OSError):
            os.unlink(part)


def write_all(file: Any, data: bytes) -> None:
    """Write all bytes to a file object that may take only some of them at a time. Raises
    OSError."""
    rest = memoryview(data)
    while rest:
        try:
            taken = file.write(rest)
        except BlockingIOError as error:
            taken = error.characters_written
        if not taken:  # a pipe that does not wait for its reader
            select.select([], [file], [])
        rest = rest[taken or 0 :]
    file.flush()


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe, a socket or a character device: written to, never replaced."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def _is_special(path: Path) -> bool:
    """Whether a path is no regular file, or one that some process holds open under a name of the
    system's, such as /dev/stdout."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) or os.path.abspath(path).startswith(("/dev/", "/proc/"))


def _take_permissions(descriptor: int, path: Path) -> None:
    """Give a new file the owner and the permissions of the one that it will replace, as far as
    this user may."""
    try:
        old = os.stat(path)
    except OSError:
        return
    if hasattr(os, "fchown"):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode) & 0o777)


def _give_name(temporary: Path, path: Path, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(temporary, path)  # fails where the name is taken, unlike a rename
            return
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError from None
    os.replace(temporary, path)


def remove_stale_parts(folder: Path) -> int:
    """Delete what killed writers left in a folder; the number of files deleted."""
    deleted = 0
    with contextlib.suppress(OSError, ValueError):
        for entry in folder.glob(f"{PART_PREFIX}*{PART_SUFFIX}"):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat().st_ctime > STALE_SECONDS:
                    entry.unlink()
                    deleted += 1
    return deleted

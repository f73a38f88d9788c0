"""Writing files that appear complete or not at all, whatever interrupts the writer."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from pathlib import Path

from ...formats import AeiError
from ...formats.errors import shown

PART_PREFIX, PART_SUFFIX = ".aei-", ".part"
# Contents are in memory before a file is opened, so a write takes moments: a part this old belongs
# to a process that was killed.
STALE_SECONDS = 60
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


class OutputError(AeiError):
    """An output exists and may not be replaced, or it cannot be written."""


class DiskError(OutputError):
    """The disk is full or failing: further outputs would fare no better."""


def write_atomic(
    path: Path, data: bytes, *, overwrite: bool = False, times: tuple[int, int] | None = None
) -> None:
    """Write `data` to `path` through a temporary file in the same folder and a rename.

    The file is on disk before it gets its name. overwrite: replace a file that exists; without, an
    existing one is left alone, even one that appeared this moment. times: access and modification time in
    nanoseconds. Raises OutputError, or DiskError where the disk is full or failing.
    """
    temporary = None
    try:
        if path.is_dir():
            raise OutputError(f"{shown(path)} is a directory: name a file")
        name = path.parent / f"{PART_PREFIX}{secrets.token_hex(8)}{PART_SUFFIX}"
        with name.open("xb") as file:
            temporary = name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if times is not None:
            os.utime(temporary, ns=times)
        _give_name(temporary, path, overwrite)
    except FileExistsError:
        raise OutputError(f"{shown(path)} exists", reason="exists") from None
    except OSError as error:
        kind = DiskError if error.errno in DISK_ERRORS else OutputError
        raise kind(f"{shown(path)} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


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
    with contextlib.suppress(OSError):
        for entry in folder.glob(f"{PART_PREFIX}*{PART_SUFFIX}"):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat().st_ctime > STALE_SECONDS:
                    entry.unlink()
                    deleted += 1
    return deleted

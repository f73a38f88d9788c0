"""Files and objects by URL: listed, read and written whole, with patience for stores that are busy.

Any file system of fsspec: a path, s3://bucket/folder/, https://host/folder/. Secrets and endpoints
are taken from where each file system looks for them (for S3 the AWS_ variables).
"""

from __future__ import annotations

import functools
import logging
import posixpath
import random
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...formats import AeiError
from ...formats.errors import shown
from ..files.storage import write_atomic

log = logging.getLogger(__name__)

Out = TypeVar("Out")
ATTEMPTS = 6
FIRST_WAIT = 0.25  # seconds; twice as long after each attempt
# Errors that another attempt does not mend
FINAL = (AeiError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
VERSIONS = ("ETag", "etag", "LastModified", "mtime", "last_modified", "updated")


@dataclass(frozen=True)
class Source:
    """An object to work on: its URL, its place below the folder that was named, bytes, and what
    changes with its content. members: of a group that becomes one object, of this URL."""

    url: str
    place: str
    size: int
    version: str
    members: tuple[Source, ...] = ()


def patient(function: Callable[[], Out], what: str) -> Out:
    """What a function gives, tried again where a store is busy or a connection breaks. Raises the
    last error."""
    for attempt in range(ATTEMPTS):
        try:
            return function()
        except FINAL:
            raise
        except Exception as error:  # each file system has errors of its own
            if attempt == ATTEMPTS - 1:
                raise
            log.info("%s: %s; attempt %d follows", shown(what), error, attempt + 2)
            time.sleep(FIRST_WAIT * 2**attempt * (0.5 + random.random()))
    raise AssertionError


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there. Raises AeiError where a package is missing."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise AeiError(f"{shown(url)}: no such kind of place ({error})") from None


def is_local(fs: Any) -> bool:
    """Whether a file system is this machine's own."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def find(url: str, suffixes: Collection[str]) -> Iterator[Source]:
    """The objects below a folder, or the one of this name, whose suffixes are wanted: folder by
    folder, in order. Hidden ones are left out. Raises AeiError, and the errors of file systems."""
    fs, path = file_system(url)
    named = _named(fs, url)
    info = patient(functools.partial(_info, fs, path, url), url)
    if info["type"] == "file":
        yield _source(named(path), posixpath.basename(path), info)
        return
    top = path.rstrip("/")
    for _, folders, files in fs.walk(path, detail=True):
        for name in [n for n in folders if n.startswith(".")]:
            del folders[name]
        for name in sorted(files):
            if not name.startswith(".") and posixpath.splitext(name)[1].lower() in suffixes:
                full = files[name]["name"]
                place = full[len(top) :].lstrip("/") if full.startswith(top) else name
                yield _source(named(full), place, files[name])


def _info(fs: Any, path: str, url: str) -> dict[str, Any]:
    try:
        info: dict[str, Any] = fs.info(path)
    except FileNotFoundError:
        raise AeiError(f"{shown(url)}: no such file or folder") from None
    if info["type"] == "file" and url.endswith("/"):  # a page that lists a folder, of http
        info = {**info, "type": "directory"}
    return info


def _named(fs: Any, url: str) -> Callable[[str], str]:
    """How a path of a file system is written: as a path where the user wrote one."""
    if is_local(fs) and "://" not in url:
        return str
    return lambda path: str(fs.unstrip_protocol(path))


def _source(url: str, place: str, info: dict[str, Any]) -> Source:
    version = next((str(info[key]) for key in VERSIONS if info.get(key) is not None), "")
    return Source(url, place, int(info.get("size") or 0), version.strip('"'))


def source_at(path: Path, place: str) -> Source:
    """A file of this machine, as `find` has it. Raises OSError."""
    fs, full = file_system(str(path))
    info = fs.info(full)
    return _source(_named(fs, str(path))(info["name"]), place, info)


def read(url: str) -> bytes:
    """The bytes of an object."""
    fs, path = file_system(url)
    data: bytes = patient(lambda: fs.cat_file(path), url)
    return data


def write(url: str, data: bytes) -> None:
    """Write an object whole; one of this name is replaced. Of several writers the last one wins,
    and no reader sees a half."""
    fs, path = file_system(url)
    if is_local(fs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(Path(path), data, overwrite=True)
    else:
        patient(lambda: fs.pipe_file(path, data), url)


def upload(file: Path, url: str) -> None:
    """Write a local file to a URL, whole."""
    fs, path = file_system(url)
    if is_local(fs):
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        fs.put_file(str(file), str(part))
        part.replace(target)
    else:
        patient(lambda: fs.put_file(str(file), path), url)


def remove(url: str) -> None:
    """Delete an object, if it is there."""
    fs, path = file_system(url)
    if patient(lambda: fs.exists(path), url):
        patient(lambda: fs.rm_file(path), url)


def joined(folder: str, place: str) -> str:
    """The URL of a place below a folder."""
    return f"{folder.rstrip('/')}/{place}"

"""Reading inputs and writing outputs for the commands: `-`, --force, and never half a file."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ..formats import AeiError, UnsupportedError

STREAM = "-"


class ByteCount(click.ParamType):
    """A size in bytes: 200000, 200k, 200KB, 1.5 MB, 64KiB."""

    name = "size"

    def convert(self, value, param, ctx) -> int:
        if isinstance(value, int):
            return value
        number = r"([0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})"
        match = re.fullmatch(rf"\s*{number}\s*(?:([kmg])(i?))?b?\s*", value, re.IGNORECASE)
        if match is not None:
            number, prefix, binary = match.groups()
            power = " kmg".index(prefix.lower()) if prefix else 0
            size = math.floor(float(number) * (1024 if binary else 1000) ** power)
            if size > 0:
                return size
        self.fail(f"{value!r}: give a size like 30000, 200KB, 1.5M or 64KiB", param, ctx)


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Put the file's name in front of our errors."""
    try:
        yield
    except AeiError as error:
        name = "stdin" if source == STREAM else source
        if str(error).startswith(f"{name}: "):
            raise
        raise type(error)(f"{name}: {error}", reason=error.reason) from None


def read_input(source: str) -> bytes:
    """All bytes of a file, or of stdin for `-`. Raises AeiError for what is no regular file."""
    if source == STREAM:
        if sys.stdin is None:
            raise AeiError("stdin is closed")
        return sys.stdin.buffer.read()
    from ..codec.reading import read_regular

    return read_regular(source)


def output_path(source: str, output: str | None, suffix: str) -> str:
    """Where to write: as told, or beside the source with another suffix, or stdout for stdin."""
    if not source or "\0" in source:
        raise AeiError(f"{source!r} is no name of a file")
    if output is not None:
        return output
    if source == STREAM:
        return STREAM
    return str(Path(source).with_suffix(suffix))


def check_output(output: str, source: str, force: bool) -> None:
    """Refuse early to overwrite, or to write binary data to a terminal."""
    if output == STREAM:
        if sys.stdout is None:
            raise UnsupportedError("stdout is closed: name an output with -o")
        if sys.stdout.isatty():
            raise UnsupportedError("not writing binary data to a terminal: name an output with -o")
        return
    from ..codec.files.storage import OutputError, is_stream

    if not output or "\0" in output:
        raise OutputError(f"{output!r} is no name of a file: name another output with -o")
    path = Path(output)
    if is_stream(path):
        return
    if path.is_dir():
        raise OutputError(f"{output} is a directory: name a file with -o")
    if source != STREAM and path.exists() and path.resolve() == Path(source).resolve():
        raise OutputError(f"{output} is the input itself: name another output with -o")
    if os.path.lexists(path) and not force:
        raise OutputError(f"{output} exists", reason="exists")


def write_output(output: str, data: bytes, force: bool = True) -> None:
    """Write completely or not at all, or to stdout for `-`."""
    if output == STREAM:
        from ..codec.files.storage import write_all

        write_all(sys.stdout.buffer, data)
    else:
        from ..codec.files.storage import write_atomic

        write_atomic(Path(output), data, overwrite=force)


def region_of(context, parameter, value: str | None) -> tuple[int, int, int, int] | None:
    """The value of a --region option."""
    if value is None:
        return None
    try:
        left, top, width, height = (int(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter("four numbers with commas: left,top,width,height") from None
    return left, top, width, height

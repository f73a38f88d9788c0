"""Codecs that are not ours: two commands, or a Python file that defines them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from .base import CodecError, PeerCodec
from .plugins import list_of_file


def command_codec(
    name: str, encode: str, decode: str, qualities: tuple[float, ...] = (10, 30, 50, 70, 90)
) -> PeerCodec:
    """A codec that is two commands, such as "cjpeg -quality {q} -outfile {out} {in}".

    encode: reads the PNG file {in} at quality {q} and writes {out}; decode: reads the coded file
    {in} and writes the PNG file {out}. Run without a shell. Raises CodecError where a placeholder
    is missing; the codec raises it where a command fails.
    """
    for template, wanted in ((encode, ("{in}", "{out}", "{q}")), (decode, ("{in}", "{out}"))):
        for placeholder in wanted:
            if placeholder not in template:
                raise CodecError(f"{name}: no {placeholder} in the command {template!r}")

    def run(template: str, source: Path, target: Path, quality: float = 0) -> None:
        values = {"{in}": str(source), "{out}": str(target), "{q}": f"{quality:g}"}
        words = shlex.split(template)
        for placeholder, value in values.items():
            words = [word.replace(placeholder, value) for word in words]
        try:
            result = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise CodecError(f"{name}: {words[0]} cannot be run ({error.strerror})") from None
        if result.returncode or not target.is_file():
            said = result.stderr.decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else f"exit code {result.returncode}, no output file"
            raise CodecError(f"{name}: {shlex.join(words)} failed: {reason}")

    def do_encode(image: np.ndarray, quality: float) -> bytes:
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "image.png"), Path(folder, "image.coded")
            Image.fromarray(image).save(source, compress_level=1)
            run(encode, source, target, quality)
            return target.read_bytes()

    def do_decode(data: bytes) -> np.ndarray:
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "image.coded"), Path(folder, "image.png")
            source.write_bytes(data)
            run(decode, source, target)
            with Image.open(target) as image:
                return np.asarray(image.convert("RGB"))

    return PeerCodec(
        name, f"{encode} | {decode}", qualities, do_encode, do_decode,
        version=_program_version(encode), family=name,
    )  # fmt: skip


def _program_version(template: str) -> str:
    """First line that a command prints for --version, or the date of the program's file."""
    program = shutil.which(shlex.split(template)[0])
    if program is None:
        return ""
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=10
        )
        lines = (said.stdout or said.stderr).decode(errors="replace").strip().splitlines()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    return lines[0][:100] if lines else f"{program} of {Path(program).stat().st_mtime_ns}"


def plugin_codecs(path: Path) -> list[PeerCodec]:
    """The list `CODECS` of PeerCodec that a Python file defines. Raises CodecError without one."""
    found, digest = list_of_file(path, "CODECS", PeerCodec, CodecError)
    for codec in found:
        codec.build = codec.build or digest
    return found

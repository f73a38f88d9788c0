"""The files of a bundle, read and hashed on a thread while a command loads NumPy and all else.

Only who asks for it with `begin` has it; without, a Bundle reads its files when it needs them.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from ...formats import AeiError
from ...formats.container import HEAD_BYTES, Header, parse_header
from ..reading import read_start
from .parts import MANIFEST, read_json
from .stored import Stored, read_stored

PROGRAMS = ("prior", "synthesis")  # what decoding takes, in the order in which it does


class _Reading(threading.Thread):
    """Reads the programs of a bundle."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self._folder = folder
        self.ended = {name: threading.Event() for name in PROGRAMS}
        self.found: dict[str, Stored] = {}

    def run(self) -> None:
        for name in PROGRAMS:
            # who needs what cannot be read will meet the error again
            with contextlib.suppress(AeiError, OSError, MemoryError):
                self.found[name] = read_stored(self._folder, name)
            self.ended[name].set()


_begun: dict[Path, _Reading] = {}


def begin(source: str, folder: str | Path | None) -> Header | None:
    """Begin to read what decoding an .aei file takes. folder: of its bundle, if it is not one that
    ships. The file's header; None where nothing was begun, which whoever decodes the file will have
    an error for."""
    with contextlib.suppress(AeiError, OSError, MemoryError):
        header, _ = parse_header(read_start(source, HEAD_BYTES))
        found = _folder_of(header.model) if folder is None else Path(folder)
        if found is not None:
            reading = _Reading(found)
            with contextlib.suppress(RuntimeError):  # no more threads
                reading.start()
                _begun[found] = reading
            return header
    return None


def _folder_of(model: bytes) -> Path | None:
    """The folder of the bundle that ships and has this fingerprint."""
    for manifest in sorted(Path(__file__).parent.glob(f"*/{MANIFEST}")):
        if read_json(manifest).get("fingerprint") == model.hex():
            return manifest.parent
    return None


def taken(folder: Path, name: str) -> Stored | None:
    """What was begun and is not taken yet, once it is there."""
    reading = _begun.get(folder)
    if reading is None or name not in PROGRAMS:
        return None
    reading.ended[name].wait()
    return reading.found.pop(name, None)

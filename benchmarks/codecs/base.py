"""A codec under test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...formats import AeiError


class CodecError(AeiError):
    """A codec of the benchmark is unknown, cannot be used here, or failed."""


@dataclass
class PeerCodec:
    """A codec under test.

    encode: (uint8 (H, W, 3), quality) -> bytes of a whole file. decode: those bytes -> uint8 (H,
    W, 3). settings: what a reader needs to reproduce it; version: of the library. Both, with
    `build`, say what cached results belong to, so change one of them whenever the bytes change.
    qualities: the points of the curve. scale: every setting worth trying where a file has to meet a
    size, in order of rising size; empty for `qualities`. payload: bytes of a file that are not
    headers; None where they cannot be told apart. family: variants of one codec share it. mime:
    what a browser calls the files, where browsers show them. slow: seconds per photograph.
    continuous: `encode` takes any quality between those of the scale, and files follow it.
    lossless: for reference. build: anything else that the bytes depend on. tuned_for: the measure
    of quality that its encoder aims at with these settings, as far as is known.
    """

    name: str
    settings: str
    qualities: tuple[float, ...]
    encode: Callable[[np.ndarray, float], bytes]
    decode: Callable[[bytes], np.ndarray]
    payload: Callable[[bytes], int] | None = None
    version: str = ""
    scale: tuple[float, ...] = ()
    family: str = ""
    mime: str = ""
    slow: bool = False
    continuous: bool = False
    lossless: bool = False
    build: str = ""
    tuned_for: str = ""

    @property
    def identity(self) -> str:
        """Hash of what the files of this codec depend on, besides the image and the quality."""
        text = "\n".join((self.settings, self.version, self.build))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

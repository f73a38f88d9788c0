"""Entropy coding of symbols under 24-bit integer frequency tables: one interface, two coders.

The bytes are those of constriction's range coder (words of 32 bits, state of 64), written
big-endian and cut to the shortest string that still decodes the same when zeros follow it. Where
constriction has no wheel, or with AEI_CODER=plain in the environment, `plain_coder` makes and reads
the same bytes.
"""

from __future__ import annotations

import os

import numpy as np

from ....formats import DamagedFileError
from .plain_coder import PlainDecoder, PlainEncoder, shortest_bytes
from .tables import Table


class ConstrictionEncoder:
    """Encoder on constriction; see PlainEncoder for the meaning of the methods."""

    def __init__(self) -> None:
        import constriction

        self._encoder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: np.ndarray, table: Table) -> None:
        self._encoder.encode(np.ascontiguousarray(symbols, np.int32), table.model)

    def finish(self) -> bytes:
        position, (low, width) = self._encoder.pos()
        words = self._encoder.get_compressed()
        sealed = np.zeros(position + 2, ">u4")
        sealed[: len(words)] = words
        # The sealed point lies in [low, low + width), `low` counted modulo 2^64 at `position`.
        point = int.from_bytes(sealed.tobytes(), "big")
        low_full = point - ((point - low) & (1 << 64) - 1)
        return shortest_bytes(low_full, width, 4 * len(sealed))


class ConstrictionDecoder:
    """Decoder on constriction; see PlainDecoder."""

    def __init__(self, data: bytes):
        import constriction

        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, count: int, table: Table) -> np.ndarray:
        try:
            return self._decoder.decode(table.model, count)
        except MemoryError:
            raise
        except BaseException as error:
            # Rust panics arrive as BaseException; anything but an interrupt means bad data.
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise DamagedFileError("the image data does not decode") from None


def _use_plain() -> bool:
    choice = os.environ.get("AEI_CODER", "")
    if choice == "plain":
        return True
    try:
        import constriction  # noqa: F401
    except ImportError:
        return True
    return False


def make_encoder() -> ConstrictionEncoder | PlainEncoder:
    """The faster of the two coders that is installed."""
    return PlainEncoder() if _use_plain() else ConstrictionEncoder()


def make_decoder(data: bytes) -> ConstrictionDecoder | PlainDecoder:
    """The faster of the two coders that is installed."""
    return PlainDecoder(data) if _use_plain() else ConstrictionDecoder(data)

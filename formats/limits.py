"""How much a decoder is willing to spend on a file, checked before anything is allocated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .errors import LimitError

# Work is counted in pixels. What else costs time, measured with the shipped model on one core: a
# tile by itself as much as so many pixels, whatever its size, and a byte of a payload that is all
# escapes.
TILE_WORK = 4096
BYTE_WORK = 1


@dataclass(frozen=True)
class Limits:
    """Bounds that a caller may set; a file beyond one of them raises LimitError.

    pixels: width times height of the decoded image. memory: bytes that decoding may take, as
    a Codec estimates them. metadata: bytes of one piece of metadata, inflated. work: what
    decoding may do, in pixels; a tile counts as TILE_WORK more, a byte of image data as BYTE_WORK;
    by default twice `pixels`, and a megapixel. cancel: asked every few tenths of a second of work:
    a function that says True, or a moment of time.monotonic() that has passed, ends decoding.
    The defaults suit an interactive machine; a server that reads uploads wants less.
    """

    pixels: int = 1 << 28
    memory: int = 3 << 30
    metadata: int = 16 << 20
    work: int | None = None
    cancel: Callable[[], bool] | float | None = None

    def check_pixels(self, width: int, height: int) -> None:
        """Raise LimitError for an image of too many pixels."""
        if width * height > self.pixels:
            raise LimitError(
                f"image of {width}x{height} pixels: over the limit of {self.pixels}; "
                "raise Limits.pixels if you trust it"
            )

    def check_memory(self, needed: int) -> None:
        """Raise LimitError where decoding would take too many bytes."""
        if needed > self.memory:
            raise LimitError(
                f"decoding would take about {needed >> 20} MiB, over the limit of "
                f"{self.memory >> 20}; raise Limits.memory, or decode a region of it"
            )

    def check_work(self, pixels: int, tiles: int, payload: int) -> None:
        """Raise LimitError where decoding so many pixels of so many tiles, from so many bytes,
        would be too much work."""
        most = 2 * self.pixels + (1 << 20) if self.work is None else self.work
        needed = pixels + TILE_WORK * tiles + BYTE_WORK * payload
        if needed > most:
            raise LimitError(
                f"decoding {tiles} tiles and {payload} bytes would be as much work as "
                f"{needed} pixels: over the limit of {most}; raise Limits.work if you trust the "
                "file"
            )

    @property
    def checker(self) -> Callable[[], None] | None:
        """`check_cancelled` where there is something to ask, else None."""
        return None if self.cancel is None else self.check_cancelled

    def check_cancelled(self) -> None:
        """Raise LimitError where `cancel` says so."""
        if self.cancel is None:
            return
        over = self.cancel() if callable(self.cancel) else time.monotonic() > self.cancel
        if over:
            raise LimitError("decoding was cancelled, or has taken longer than it may")


DEFAULT_LIMITS = Limits()

"""How much a decoder is willing to spend on a file, checked before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LimitError


@dataclass(frozen=True)
class Limits:
    """Bounds that a caller may set; a file beyond one of them raises LimitError.

    pixels: width times height of the decoded image. memory: bytes that decoding may take, as
    a Codec estimates them. metadata: bytes of one piece of metadata, inflated.
    The defaults suit an interactive machine; a server that reads uploads wants less.
    """

    pixels: int = 1 << 28
    memory: int = 3 << 30
    metadata: int = 16 << 20

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


DEFAULT_LIMITS = Limits()

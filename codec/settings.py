"""What an image can be encoded with: the values that every face of the library and every command
takes."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass

from ..formats import UnsupportedError

GAIN_LEVELS = 256
DEFAULT_QUALITY = 75
EFFORTS = 10  # what each does: docs/guide/effort.md
# What files can be tuned for, and the effort that is then the default. The first is what a model is
# used for that says what errors are worth.
TUNES = {"ssimulacra2": 1, "psnr": 1, "ms-ssim": 5}
# What images can be restored and enhanced by before they are coded (restore/); auto measures which.
AUTO = "auto"
RESTORING = ("denoise", "deblock", "deblur")
ENHANCING = ("low-light", "contrast", "colour", "haze")


def install(extra: str) -> str:
    """What to run for an extra of the package, from an index or from a clone of the sources."""
    return f"pip install 'aei-codec[{extra}]' (in a clone of the sources: pip install '.[{extra}]')"


@dataclass(frozen=True)
class EncodeSettings:
    """How to encode an image: the keywords of Codec.encode, as one object.

    quality: 1..100, about the SSIMULACRA 2 to expect; gain_index, 0..255, overrides it. metadata:
    keep the ICC profile, Exif and XMP of a Pillow image; without, Exif's orientation is applied
    instead. tile_side: side of tiles in pixels; None: 1024 for images over 2048 pixels on a side,
    else none. effort: 0..9; tune: one of TUNES; None each for the default. restore, enhance: what
    is done before coding. convert: take images of more than 8 bits, and of inks, as 8-bit RGB or
    grey. preview: put a small picture into the file (codec/preview.py); None: into those of over
    two megapixels, where it fits. verify: decode each tile's payload, and compare its latents with
    those that were coded. Nothing is checked here: the encoder knows what its model can do.
    """

    quality: float = DEFAULT_QUALITY
    gain_index: int | None = None
    metadata: bool = True
    tile_side: int | None = None
    effort: int | None = None
    tune: str | None = None
    restore: str | None = None
    enhance: str | None = None
    convert: bool = False
    preview: bool | None = None
    verify: bool = False

    @property
    def restores(self) -> bool:
        """Whether anything is done before coding."""
        return self.restore is not None or self.enhance is not None


def gain_index_of_quality(quality: float, scores: Sequence[Sequence[float]] = ()) -> int:
    """Quality 1..100 (best) to the gain index 0..255 that files carry. Raises UnsupportedError.

    scores: (gain index, SSIMULACRA 2) of a model, rising in both, so that quality N is a score of
    N, as a median over photographs; between them, and to the ends, straight lines.
    """
    if not is_number(quality) or not 1 <= quality <= 100:
        raise UnsupportedError(f"quality {quality!r}: choose a number from 1 to 100")
    points = [(1.0, 0.0), *((score, index) for index, score in scores), (100.0, GAIN_LEVELS - 1.0)]
    above = next(i for i, (score, _) in enumerate(points) if i and quality <= score)
    (low, first), (high, last) = points[above - 1], points[above]
    return round(first + (last - first) * (quality - low) / (high - low))


def is_number(value: object) -> bool:
    """Whether a value is a number that can be compared: Python's or NumPy's, no text, no truth."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def settle_effort(effort: int | None, tune: str | None = None) -> int:
    """The effort to encode with; None asks for the default. Raises UnsupportedError."""
    tune = tune or next(iter(TUNES))
    if tune not in TUNES:
        raise UnsupportedError(
            f"tune {tune!r}: choose {', '.join([*TUNES][:-1])} or {[*TUNES][-1]}"
        )
    if effort is None:
        return TUNES[tune]
    if not is_number(effort) or not 0 <= effort < EFFORTS:
        raise UnsupportedError(f"effort {effort!r}: choose a number from 0 to {EFFORTS - 1}")
    if effort < 2 and TUNES[tune] >= 2:
        raise UnsupportedError(f"effort {effort}: tuning for {tune} needs an effort of 2 or more")
    return int(effort)

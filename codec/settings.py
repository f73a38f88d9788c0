"""What an image can be encoded with: the values that every face of the library and every command takes."""

from __future__ import annotations

from ..formats import UnsupportedError

GAIN_LEVELS = 256
EFFORTS = 10  # what each does: docs/guide/effort.md
# What files can be tuned for, and the effort that is then the default. The first is what a model is
# used for that says what errors are worth.
TUNES = {"ssimulacra2": 1, "psnr": 1, "ms-ssim": 5}
# What images can be restored and enhanced by before they are coded (restore/); auto measures which.
AUTO = "auto"
RESTORING = ("denoise", "deblock", "deblur")
ENHANCING = ("low-light", "contrast", "colour", "haze")


def gain_index_of_quality(quality: float) -> int:
    """Quality 1..100 (best) to the gain index 0..255 that files carry. Raises UnsupportedError."""
    if not 1 <= quality <= 100:
        raise UnsupportedError(f"quality {quality}: choose a number from 1 to 100")
    return round((quality - 1) * (GAIN_LEVELS - 1) / 99)


def settle_effort(effort: int | None, tune: str | None = None) -> int:
    """The effort to encode with; None asks for the default. Raises UnsupportedError."""
    tune = tune or next(iter(TUNES))
    if tune not in TUNES:
        raise UnsupportedError(
            f"tune {tune!r}: choose {', '.join([*TUNES][:-1])} or {[*TUNES][-1]}"
        )
    if effort is None:
        return TUNES[tune]
    if not 0 <= effort < EFFORTS:
        raise UnsupportedError(f"effort {effort}: choose a number from 0 to {EFFORTS - 1}")
    if effort < 2 and TUNES[tune] >= 2:
        raise UnsupportedError(f"effort {effort}: tuning for {tune} needs an effort of 2 or more")
    return int(effort)

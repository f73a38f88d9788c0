"""What Exif says of a photograph, in words: when, with what, how it was exposed, and where."""

from __future__ import annotations

import re
import warnings
from typing import Any

from ..pixels.metadata import EXIF_PREFIX

MAKE, MODEL, ORIENTATION, DATE, SUB_IFD, GPS_IFD = 0x010F, 0x0110, 0x0112, 0x0132, 0x8769, 0x8825
TAKEN, EXPOSURE, APERTURE, ISO, FOCAL, FOCAL_35, LENS = (
    0x9003, 0x829A, 0x829D, 0x8827, 0x920A, 0xA405, 0xA434,
)  # fmt: skip
MOST_TEXT = 100  # characters of a name


def in_words(exif: bytes) -> dict[str, Any]:
    """What there is of: `date` (2024-07-14 10:11:12), `camera`, `lens`, `exposure` (1/250 s),
    `aperture` (f/2.8), `iso`, `focal_length` (50 mm), `orientation` (2 to 8), `place` ([latitude,
    longitude] in degrees). Nothing of Exif that cannot be read."""
    from PIL import Image

    loaded = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage
            loaded.load(EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX))
            main, own = dict(loaded), dict(loaded.get_ifd(SUB_IFD))
            gps = dict(loaded.get_ifd(GPS_IFD))
    except Exception:  # readers raise nearly everything on damaged data
        return {}
    found = {
        "date": _date(own.get(TAKEN)) or _date(main.get(DATE)),
        "camera": _camera(_text(main.get(MAKE)), _text(main.get(MODEL))),
        "lens": _text(own.get(LENS)),
        "exposure": _seconds(_number(own.get(EXPOSURE))),
        "aperture": _with("f/{:.2g}", _number(own.get(APERTURE))),
        "iso": _iso(own.get(ISO)),
        "focal_length": _with("{:.4g} mm", _number(own.get(FOCAL))),
        "orientation": _orientation(main.get(ORIENTATION)),
        "place": _place(gps),
    }
    return {name: value for name, value in found.items() if value is not None}


def sentence(facts: dict[str, Any]) -> str:
    """The exposure in one line: 1/250 s, f/2.8, ISO 200, 50 mm."""
    parts = [facts.get("exposure"), facts.get("aperture")]
    parts += [f"ISO {facts['iso']}" if "iso" in facts else None, facts.get("focal_length")]
    return ", ".join(part for part in parts if part)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    text = "".join(c if c.isprintable() else " " for c in value)
    return " ".join(text.split())[:MOST_TEXT] or None


def _date(value: Any) -> str | None:
    match = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)", _text(value) or "")
    if match is None or not (match[1] >= "0001" and "01" <= match[2] <= "12"):
        return None
    year, month, day, *time = match.groups()
    if not "01" <= day <= "31" or time[0] > "23" or time[1] > "59" or time[2] > "60":
        return None
    return f"{year}-{month}-{day} {':'.join(time)}"


def _camera(make: str | None, model: str | None) -> str | None:
    if make is None or model is None:
        return model or make
    # most makers say their name twice
    first = make.split()[0]
    return model if model.lower().startswith(first.lower()) else f"{make} {model}"


def _number(value: Any) -> float | None:
    """A finite, positive number."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if 0 < number < 1e9 else None


def _with(form: str, number: float | None) -> str | None:
    return None if number is None else form.format(number)


def _seconds(number: float | None) -> str | None:
    if number is None:
        return None
    return f"1/{round(1 / number)} s" if number < 0.3 else f"{number:.3g} s"


def _iso(value: Any) -> int | None:
    number = _number(value[0] if isinstance(value, tuple) and value else value)
    return None if number is None else int(number)


def _orientation(value: Any) -> int | None:
    return value if isinstance(value, int) and 2 <= value <= 8 else None


def _place(gps: dict[int, Any]) -> list[float] | None:
    sides = []
    for name, negative, most in ((1, "S", 90), (3, "W", 180)):
        try:
            degrees, minutes, seconds = (float(v) for v in gps[name + 1])
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None
        value = degrees + minutes / 60 + seconds / 3600
        if not 0 <= value <= most:
            return None
        sides.append(round(-value if _text(gps.get(name)) == negative else value, 6))
    return sides

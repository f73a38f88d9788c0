"""ICC profiles that say the same in fewer bytes, or in bytes at all: known ones as a number, and
what PNG files say about their colours in gAMA, cHRM, cICP and sRGB chunks.

Nothing but sRGB's own values needs no profile: an image without one is taken to be sRGB. Profiles
are of version 4 (ICC.1:2010), with a matrix and parametric curves.
"""

from __future__ import annotations

import functools
import logging
import struct
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

# x and y of white, red, green and blue (ITU-T H.273)
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
PRIMARIES = {
    1: SRGB,
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # DCI-P3
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
SRGB_CURVE = (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
BT709_CURVE = (3, (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081))
CURVES = {1: BT709_CURVE, 4: (0, (2.2,)), 5: (0, (2.8,)), 6: BT709_CURVE, 8: (0, (1.0,)),
          13: SRGB_CURVE, 14: BT709_CURVE, 15: BT709_CURVE}  # fmt: skip
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def profile_of_png(info: dict[Any, Any], grey: bool) -> bytes:
    """A profile of what a PNG file's chunks say, or b"" where that is sRGB, or nothing.

    info: of Pillow, with `cicp`, four numbers, where the file has such a chunk; it counts before
    sRGB, and that before gAMA and cHRM, as PNG's third edition has it.
    """
    cicp = info.get("cicp")
    if cicp is not None:
        primaries, curve = PRIMARIES.get(cicp[0]), CURVES.get(cicp[1])
        if primaries is None or curve is None or cicp[2] != 0:
            log.warning("the image's colours (cICP %s) are not kept: it is taken as sRGB", cicp)
            return b""
    elif "srgb" in info or ("gamma" not in info and "chromaticity" not in info):
        return b""
    else:
        primaries = tuple(info.get("chromaticity", SRGB))
        gamma = info.get("gamma", 0)
        if gamma and not 0.1 <= gamma <= 10:
            return b""
        # 1/2.2 is what writers call sRGB's own curve
        same = not gamma or abs(gamma - 0.45455) < 0.005
        curve = SRGB_CURVE if same else (0, (1 / gamma,))
    if grey:
        primaries = SRGB
    if curve == SRGB_CURVE and np.allclose(primaries, SRGB, atol=0.002):
        return b""
    try:
        return make_profile(primaries, curve, grey)
    except (ValueError, np.linalg.LinAlgError, struct.error):
        log.warning("the image's primaries make no colours: it is taken as sRGB")
        return b""


def make_profile(
    primaries: tuple[float, ...],
    curve: tuple[int, tuple[float, ...]],
    grey: bool = False,
    name: str = "",
) -> bytes:
    """An ICC profile. primaries: x and y of white, red, green and blue; curve: function type and
    parameters of a parametric curve; name: shown to people. Raises ValueError, LinAlgError,
    struct.error."""
    columns, adapt = _matrix(primaries)
    name = name or ("Grey of a PNG file" if grey else "Colours of a PNG file")
    tags = {b"desc": _text(name), b"cprt": _text("None"), b"wtpt": _xyz(D50)}
    if grey:
        tags[b"kTRC"] = _curve(curve)
    else:
        tags[b"chad"] = b"sf32\0\0\0\0" + _fixed(adapt.ravel())
        for letter, column in zip("rgb", columns.T):
            tags[f"{letter}XYZ".encode()] = _xyz(column)
            tags[f"{letter}TRC".encode()] = _curve(curve)
    table, body, seen = b"", b"", {}
    start = 128 + 4 + 12 * len(tags)
    for kind, content in tags.items():
        if content not in seen:  # equal curves are one
            seen[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += kind + struct.pack(">II", seen[content], len(content))
    head = struct.pack(
        ">I4sI4s4s4s12s4s4sI4s4sQI12s4s44s",
        start + len(body),
        b"\0\0\0\0",
        0x04200000,
        b"mntr",
        b"GRAY" if grey else b"RGB ",
        b"XYZ ",
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0),
        b"acsp",
        b"\0\0\0\0",
        0,
        b"\0\0\0\0",
        b"\0\0\0\0",
        0,
        0,
        _fixed(D50),
        b"\0\0\0\0",
        bytes(44),
    )
    return head + struct.pack(">I", len(tags)) + table + body


def _matrix(primaries: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """XYZ of red, green and blue, as columns, adapted to D50; and the adaptation."""
    x, y = np.array(primaries[0::2], float), np.array(primaries[1::2], float)
    if not (np.isfinite(x).all() and (y > 0.001).all()):
        raise ValueError
    points = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    white, colours = points[:, 0], points[:, 1:]
    weights = np.linalg.solve(colours, white)
    adapt = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD
    columns = adapt @ (colours * weights)
    if not np.isfinite(columns).all() or np.abs(columns).max() > 10:
        raise ValueError
    return columns, adapt


def _fixed(values: Any) -> bytes:
    return b"".join(struct.pack(">i", round(float(v) * 65536)) for v in values)


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _curve(curve: tuple[int, tuple[float, ...]]) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", curve[0], 0) + _fixed(curve[1])


def _text(text: str) -> bytes:
    content = text.encode("utf-16-be")
    return (
        b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(content), 28) + content
    )


# What the one byte of a file stands for (docs/format/specification.md): primaries, curve, grey.
ADOBE_RGB = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
ADOBE_CURVE = (0, (563 / 256,))
KNOWN: dict[int, tuple[tuple[float, ...], tuple[int, tuple[float, ...]], bool]] = {
    1: (SRGB, SRGB_CURVE, False),
    2: (PRIMARIES[12], SRGB_CURVE, False),
    3: (ADOBE_RGB, ADOBE_CURVE, False),
    4: (SRGB, SRGB_CURVE, True),
    5: (SRGB, (0, (2.2,)), True),
}
NAMES = {1: "sRGB", 2: "Display P3", 3: "Adobe RGB (1998)", 4: "sRGB grey", 5: "Grey, gamma 2.2"}
SAMPLES = np.linspace(0, 1, 256)
# How far two profiles may be apart and be the same: colorants of sRGB's usual profiles differ by up
# to 0.0006, their curves, tables of 16 bits, by less than a third of a level of 255.
SAME_COLORANT, SAME_CURVE = 0.001, 0.0013
# Tags that say more than a matrix and curves: tables of colours, by rendering intent.
MORE = {b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1", b"D2B2", b"D2B3"}


@functools.cache
def known_profile(number: int) -> bytes | None:
    """The profile that a number of a file stands for."""
    return make_profile(*KNOWN[number], NAMES[number]) if number in KNOWN else None


def number_of_profile(profile: bytes) -> int | None:
    """The number of the known profile that describes the same colours, if there is one."""
    try:
        space, columns, curves = _read(profile)
    except (ValueError, IndexError, struct.error):
        return None
    for number, (primaries, curve, grey) in KNOWN.items():
        if grey != (space == b"GRAY"):
            continue
        if not grey and np.abs(columns - _matrix(primaries)[0]).max() > SAME_COLORANT:
            continue
        wanted = _values(curve)
        if all(np.abs(values - wanted).max() <= SAME_CURVE for values in curves):
            return number
    return None


def _read(profile: bytes) -> tuple[bytes, np.ndarray, list[np.ndarray]]:
    """Space, colorants as columns, and curves at SAMPLES of a profile of a matrix and curves, or of
    a grey one. Raises ValueError, IndexError or struct.error for any other."""
    space, size = profile[16:20], int.from_bytes(profile[:4], "big")
    if profile[36:40] != b"acsp" or profile[20:24] != b"XYZ " or size != len(profile):
        raise ValueError
    if profile[12:16] not in (b"mntr", b"scnr", b"spac") or space not in (b"RGB ", b"GRAY"):
        raise ValueError
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 100:
        raise ValueError
    tags = {}
    for i in range(count):
        kind, start, length = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        tags[kind] = profile[start : start + length]
    if MORE & set(tags):
        raise ValueError
    if space == b"GRAY":
        return space, np.zeros((3, 3)), [_read_curve(tags.get(b"kTRC", b""))]
    columns = np.zeros((3, 3))
    curves = []
    for i, letter in enumerate("rgb"):
        content = tags.get(f"{letter}XYZ".encode(), b"")
        if content[:4] != b"XYZ ":
            raise ValueError
        columns[:, i] = np.array(struct.unpack_from(">3i", content, 8)) / 65536
        curves.append(_read_curve(tags.get(f"{letter}TRC".encode(), b"")))
    return space, columns, curves


def _read_curve(content: bytes) -> np.ndarray:
    """A curve at SAMPLES. Raises ValueError or struct.error."""
    if content[:4] == b"curv":
        (count,) = struct.unpack_from(">I", content, 8)
        if count == 0:
            return SAMPLES
        values = np.frombuffer(content, ">u2", count, 12).astype(float)
        if count == 1:
            return SAMPLES ** (values[0] / 256)
        return np.interp(SAMPLES, np.linspace(0, 1, count), values / 65535)
    if content[:4] != b"para":
        raise ValueError
    kind = int.from_bytes(content[8:10], "big")
    count = {0: 1, 3: 5}.get(kind)
    if count is None:
        raise ValueError
    numbers = np.array(struct.unpack_from(f">{count}i", content, 12)) / 65536
    return _values((kind, tuple(numbers)))


def _values(curve: tuple[int, tuple[float, ...]]) -> np.ndarray:
    """A parametric curve of type 0 or 3 at SAMPLES."""
    kind, numbers = curve
    if kind == 0:
        return SAMPLES ** numbers[0]
    g, a, b, c, d = numbers
    return np.where(d <= SAMPLES, np.maximum(a * SAMPLES + b, 0) ** g, c * SAMPLES)

"""ICC profiles made of what PNG files say about their colours: gAMA, cHRM, cICP and sRGB chunks.

Nothing but sRGB's own values needs no profile: an image without one is taken to be sRGB. Profiles
are of version 4 (ICC.1:2010), with a matrix and parametric curves.
"""

from __future__ import annotations

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
    primaries: tuple[float, ...], curve: tuple[int, tuple[float, ...]], grey: bool = False
) -> bytes:
    """An ICC profile. primaries: x and y of white, red, green and blue; curve: function type and
    parameters of a parametric curve. Raises ValueError, LinAlgError, struct.error."""
    columns, adapt = _matrix(primaries)
    name = "Grey of a PNG file" if grey else "Colours of a PNG file"
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
        start + len(body), b"\0\0\0\0", 0x04200000, b"mntr", b"GRAY" if grey else b"RGB ", b"XYZ ",
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp", b"\0\0\0\0", 0, b"\0\0\0\0", b"\0\0\0\0", 0,
        0, _fixed(D50), b"\0\0\0\0", bytes(44),
    )  # fmt: skip
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

"""Colours and line styles of codecs, the same in plots and pages: a colour for a family, a dash for
a variant, so that curves can be told apart without colour too."""

from __future__ import annotations

FAMILIES = {
    "aei": "#d1495b", "JPEG": "#7d8896", "WebP": "#2a9d8f", "AVIF": "#3a80c9", "HEIC": "#8f6fc9",
    "JPEG XL": "#d98718", "JPEG 2000": "#94704a", "PNG": "#999999",
}  # fmt: skip
SPARE = ("#c25599", "#5c9a3f", "#b8a000", "#4aa3b8", "#a05a5a")
DASHES = ((), (6, 3), (2, 3), (9, 3, 2, 3), (1, 2), (12, 4))


def styles(families: dict[str, str]) -> dict[str, dict]:
    """{codec: {colour, dash}} of {codec: family}."""
    seen: dict[str, int] = {}
    spare = dict(zip((f for f in dict.fromkeys(families.values()) if f not in FAMILIES), SPARE * 9))
    result = {}
    for name, family in families.items():
        variant = seen[family] = seen.get(family, -1) + 1
        colour = FAMILIES.get(family) or spare[family]
        result[name] = {"colour": colour, "dash": list(DASHES[variant % len(DASHES)])}
    return result

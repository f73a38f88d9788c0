"""Which format a client gets: what its Accept header says, against what is smallest."""

from __future__ import annotations

AEI, AVIF, WEBP, JPEG, PNG = "image/x-aei", "image/avif", "image/webp", "image/jpeg", "image/png"
BY_NAME = {"aei": AEI, "avif": AVIF, "webp": WEBP, "jpeg": JPEG, "png": PNG}
# Smallest first. Only the last two go to clients that name no format: all of them show those.
ORDER = (AEI, AVIF, WEBP, JPEG, PNG)
PLAIN = (JPEG, PNG)
MOST_RANGES = 64


def chosen(accept: str | None, alpha: bool) -> str | None:
    """The media type to answer with, of those with the highest q the one that makes the smallest
    files; None where the client takes none. alpha: the picture has transparency, which JPEG has
    not.
    """
    wanted = _ranges(accept or "*/*")
    best: tuple[float, int] | None = None
    for place, kind in enumerate(ORDER):
        if alpha and kind == JPEG:
            continue
        q = _q(kind, wanted)
        if q > 0 and (best is None or q > best[0]):
            best = q, place
    return None if best is None else ORDER[best[1]]


def _q(kind: str, wanted: dict[str, float]) -> float:
    """How much a client wants a type: its own range counts before `image/*` and `*/*`, which stand
    for the plain formats alone."""
    if kind in wanted:
        return wanted[kind]
    if kind not in PLAIN:
        return 0.0
    return wanted.get("image/*", wanted.get("*/*", 0.0))


def _ranges(accept: str) -> dict[str, float]:
    """The ranges of an Accept header with their q; what cannot be read is left out."""
    found: dict[str, float] = {}
    for item in accept.split(",")[:MOST_RANGES]:
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        q = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    q = min(max(float(value), 0.0), 1.0)
                except ValueError:
                    q = 0.0
        if "/" in kind:
            found[kind] = q if q == q else 0.0  # nan is no number
    return found

"""Which codecs to compare: aei, the peers, a third party's."""

from __future__ import annotations

from .aei import AEI_VARIANTS, SHIPPED, aei_codecs
from .base import CodecError, PeerCodec
from .peers import peer_codecs


def choose(
    names: str, added: list[PeerCodec], models: tuple[str, ...] = (SHIPPED,), threads: int = 1
) -> tuple[list[PeerCodec], dict[str, str]]:
    """The codecs to run, and why each of the others that were asked for is left out.

    names: `default` (all but the slow ones), `all`, or names with commas between them; `added`, a
    third party's, always run. threads: of aei. Raises CodecError for a name that no codec has, or
    for a named one that is not installed.
    """
    peers, missing = peer_codecs()
    if names in ("default", "all"):
        left_out = dict(missing)
        if names == "default":
            left_out |= {c.name: "slow: run it with --codecs all" for c in peers if c.slow}
        chosen = [c for c in peers if c.name not in left_out]
        return [*aei_codecs(models, threads=threads), *chosen, *added], left_out
    by_name = {c.name.lower(): c for c in peers}
    absent = {name.lower(): reason for name, reason in missing.items()}
    chosen = []
    for name in (n.strip() for n in names.split(",")):
        if name.lower() in AEI_VARIANTS:
            chosen += aei_codecs(models, name.lower(), threads)
        elif name.lower() in by_name:
            chosen.append(by_name[name.lower()])
        elif name.lower() in absent:
            raise CodecError(f"{name}: {absent[name.lower()]}")
        elif name.lower() not in {c.name.lower() for c in added}:
            known = ", ".join([*AEI_VARIANTS, *(c.name for c in peers)])
            raise CodecError(f"{name!r}: no such codec; there are {known}")
    return [*chosen, *added], {}

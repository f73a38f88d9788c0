"""The golden files, for the tests: names, facts, bytes, and a Codec of each tiny bundle."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from aei.codec import Codec
from aei.codec.exact.native import instruction_sets

# What does the exact arithmetic, by the environment: NumPy with each range coder, the native core
# with each instruction set that is at hand.
CORES: dict[str, dict[str, str]] = {
    "numpy": {"AEI_CORE": "numpy"},
    "numpy and the plain coder": {"AEI_CORE": "numpy", "AEI_CODER": "plain"},
    **{isa: {"AEI_CORE": "native", "AEI_CORE_ISA": isa} for isa in instruction_sets()},
}
GOLDEN = Path(__file__).parents[1] / "golden"
FACTS: dict[str, dict] = json.loads((GOLDEN / "manifest.json").read_text())


def read(name: str) -> bytes:
    return (GOLDEN / f"{name}.aei").read_bytes()


@cache
def codec_of(bundle: str) -> Codec:
    """bundle: "tiny", "offset", "trellis", "context" or "factorized"."""
    return Codec(GOLDEN / f"{bundle}.bundle", threads=1)

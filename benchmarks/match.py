"""Codecs brought to the same size of file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .codecs import CodecError, PeerCodec

Rule = Literal["nearest", "at_most", "at_least"]


@dataclass
class Match:
    """A file of about the size asked for, and the quality that gave it."""

    codec: str
    quality: float
    data: bytes


def match_bytes(
    codec: PeerCodec,
    image: np.ndarray,
    target: int,
    rule: Rule = "nearest",
    step: Callable[[], None] = lambda: None,
) -> Match:
    """The file of `image` that is nearest to `target` bytes, by bisection over the codec's scale.

    at_most: the largest that fits; at_least: the smallest that is no smaller; where there is no
    such file, the smallest or the largest that the codec makes. Takes a file's size to rise with
    the scale. `step` is called once per file made. Raises CodecError for a codec without settings
    to choose from.
    """
    scale = codec.scale or codec.qualities
    if len(scale) < 2:
        raise CodecError(f"{codec.name}: its size cannot be chosen")
    made: dict[int, bytes] = {}

    def file(index: int) -> bytes:
        if index not in made:
            made[index] = codec.encode(image, scale[index])
            step()
        return made[index]

    low, high = 0, len(scale)  # the first setting that reaches the target lies in low..high
    while low < high:
        middle = (low + high) // 2
        if len(file(middle)) < target:
            low = middle + 1
        else:
            high = middle
    above, below = min(low, len(scale) - 1), max(low - 1, 0)
    chosen = {
        "at_least": above,
        "at_most": above if len(file(above)) <= target else below,
        "nearest": min(below, above, key=lambda i: abs(len(file(i)) - target)),
    }[rule]
    return Match(codec.name, scale[chosen], file(chosen))

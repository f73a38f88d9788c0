"""Codecs brought to the same size of file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .codecs import CodecError, PeerCodec

Rule = Literal["nearest", "at_most", "at_least"]
CLOSE = 0.004  # of the bytes: near enough
HALVINGS = 7  # of the gap between two settings of a scale


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


def match_closely(
    codec: PeerCodec, image: np.ndarray, target: int, most: int | None = None
) -> Match:
    """The file of `image` nearest to `target` bytes, between the settings of the codec's scale too
    where it is continuous. most: bytes that are not to be passed, if the codec can keep to it."""
    least = match_bytes(codec, image, target, "at_least")
    best = match_bytes(codec, image, target, "at_most")

    def far(match: Match) -> float:
        size = len(match.data)
        return abs(size - target) + (1e12 if most is not None and size > most else 0)

    low, high = best.quality, least.quality
    best = min(best, least, key=far)
    for _ in range(HALVINGS if codec.continuous and low < high else 0):
        if far(best) <= CLOSE * target:
            break
        middle = (low + high) / 2
        found = Match(codec.name, middle, codec.encode(image, middle))
        best = min(best, found, key=far)
        low, high = (middle, high) if len(found.data) < target else (low, middle)
    return best


def meet(
    codecs: list[PeerCodec], image: np.ndarray, first: Match, most: int | None = None
) -> list[Match]:
    """Files of `image` by several codecs, all as near to each other in bytes as they can be.

    first: the file that codecs[0] would have; it moves to where the first codec with coarse
    settings can be, by no more than a step of these, and the rest follow. most: bytes that
    codecs[0] is not to pass.
    """
    own, *others = codecs
    target = len(first.data)
    coarse = [codec for codec in others if not codec.continuous and not codec.lossless]
    if coarse and own.continuous:
        rule: Rule = "nearest" if most is None else "at_most"
        there = len(match_bytes(coarse[0], image, target, rule).data)
        if abs(there - target) > CLOSE * target and 0.8 < there / target < 1.25:
            first = match_closely(own, image, there, most)
            target = len(first.data)
    return [first, *(match_closely(codec, image, target) for codec in others)]

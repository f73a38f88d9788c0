"""Parts of one image's search that do not need each other, on threads of this call alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..exact.native.team import core_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`work` of each item, in the items' order, on as many threads as a call of the native core may
    use here (codec_threads). What the first of those that failed has raised is raised. The results
    are the same with any number of threads."""
    threads = min(core_threads(), len(items))
    if threads < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))

"""Which graphs a bundle holds, and how it is written: a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from ...models.parts import FILES, MANIFEST, hashes_of
from ...models.transforms import FINISH

GRAPHS = ("g_a", "h_a", "g_s", FINISH)  # those with weights, by the names of their files
ANALYSIS_GRAPHS = ("g_a", "h_a")  # which a bundle with an integer analysis goes without
PROGRAMS = ("synthesis", "analysis")  # of integers, each NAME.json and NAME.safetensors
GRADIENT = "g_s_gradient"  # whose weights are those of g_s


@contextlib.contextmanager
def new_bundle(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which takes its place at the end, or goes where something
    fails.

    A bundle in `folder` is replaced.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary)
        raise
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)


def write_manifest(folder: Path, manifest: dict) -> None:
    """Write the manifest of a bundle whose other files are in place: their hashes go into it."""
    text = json.dumps(manifest | {FILES: hashes_of(folder)}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")

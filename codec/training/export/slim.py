"""Smaller bundles out of a bundle: the transforms change, what defines latents stays.

A slim bundle keeps the prior, hence the fingerprint: files written with it decode with the bundle
that it was made from, and the other way round.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx

from ....formats import UnsupportedError
from ...models.bundle import Bundle
from ...models.transforms import FINISH
from .bundle_folder import ANALYSIS_GRAPHS, GRADIENT, GRAPHS, PROGRAMS, new_bundle, write_manifest
from .gradients import write_gradient
from .weights import KINDS, kind_of, read_graph, store


def quantise_bundle(bundle: Bundle, out: Path, kind: str, name: str) -> dict:
    """Write a copy of a bundle whose float transforms hold their weights as fp16 or int8; return
    its manifest.

    Raises UnsupportedError for the cae and for a bundle whose weights are as small already.
    """
    refuse_cae(bundle)
    graphs = {
        graph: read_graph(bundle.path / f"{graph}.onnx")
        for graph in GRAPHS
        if (graph != FINISH or bundle.margin)
        and (graph not in ANALYSIS_GRAPHS or bundle.manifest.get("analysis") is None)
    }
    if "g_a" not in graphs:
        raise UnsupportedError(
            f"{bundle.path}: its transforms are integers already, {kind} would not make it smaller"
        )
    has = kind_of(graphs["g_a"])  # export may have made g_s smaller, which makes no pixels
    if KINDS.index(has) >= KINDS.index(kind):
        raise UnsupportedError(
            f"{bundle.path}: its weights are {has} already, {kind} would not make it smaller"
        )
    stored = {
        graph: store(model, kind)
        for graph, model in graphs.items()
        if KINDS.index(kind_of(model)) < KINDS.index(kind)
    }
    return write_like(bundle, out, stored, name, {"weights": kind})


def write_like(
    bundle: Bundle,
    out: Path,
    graphs: dict[str, onnx.ModelProto],
    name: str,
    change: dict | None,
    more: Path | None = None,
    without: tuple[str, ...] = (),
    **facts,
) -> dict:
    """Write a bundle that differs from another by some of its graphs, whole or not at all; return
    its manifest.

    The integer synthesis, which makes the pixels, stays as it is, and so does the integer analysis:
    where g_s or g_a become others, the caller takes them out with `synthesis=None`,
    `analysis=None`. change: what was done, added to the manifest's list `slimmed`. more: a folder
    of further files; without: files that are left out. facts: replace those of the manifest. A
    bundle in `out` is replaced.
    """
    with new_bundle(out) as temporary:
        for source in (*bundle.path.iterdir(), *(more.iterdir() if more else ())):
            if source.is_file():
                shutil.copyfile(source, temporary / source.name)
        for graph, model in graphs.items():
            onnx.save(model, temporary / f"{graph}.onnx")
        if (temporary / f"{GRADIENT}.onnx").exists():
            write_gradient(temporary)
        left_out = list(without)
        for program in PROGRAMS:
            if facts.get(program, "") is None:
                left_out += [f"{program}.json", f"{program}.safetensors"]
        for part in left_out:
            (temporary / part).unlink(missing_ok=True)
        manifest = bundle.manifest | facts | {"name": name}
        if change is not None:
            step = {"from": bundle.name} | change
            manifest["slimmed"] = [*bundle.manifest.get("slimmed", []), step]
        write_manifest(temporary, manifest)
    return manifest


def refuse_cae(bundle: Bundle) -> None:
    """Raise UnsupportedError for the convolutional autoencoder."""
    if bundle.manifest.get("arch", "aei") != "aei":
        raise UnsupportedError(
            f"{bundle.path}: a model of --arch cae, which is small as it is; train it with a "
            "smaller --width"
        )

"""A restoring network written as a bundle, and training that starts from one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from ....formats import ModelError
from ...restore.restorers import GRAPH
from ..networks.restorer import Restorer, RestoringCodec
from .bundle_folder import new_bundle, write_manifest
from .graphs import restoring_graph
from .weights import read_graph, read_weights, store

PREFIX = "restore."  # of the weights' names in the graph


def export_restorer(model: RestoringCodec, folder: Path, name: str, state: dict) -> dict:
    """Write a restoring bundle, manifest and one graph, and return its manifest. state: of the
    checkpoint."""
    weights = {
        k: v.detach().cpu().float().numpy() for k, v in model.net.state_dict(prefix=PREFIX).items()
    }
    # int8 halves the download and cost 0.01 to 0.03 dB on Kodak (docs/guide/restoration.md)
    graph = store(restoring_graph(weights), "int8")
    manifest = {
        "name": name,
        "restores": state["config"]["restore"],
        "for": state["config"]["coder"],
        "margin": model.config.margin,
        "network": {
            key: getattr(model.config, key)
            for key in ("restorer_width", "restorer_depth", "enhance")
        },
        "parameters": sum(p.numel() for p in model.net.parameters()),
        "training": {key: state[key] for key in ("step", "pixels", "hours", "config")},
    }
    with new_bundle(folder) as temporary:
        onnx.save(graph, temporary / GRAPH)
        write_manifest(temporary, manifest)
    return manifest


def start_from(network: Restorer, folder: Path) -> None:
    """Give a network the weights of a restoring bundle, of whatever kind: what makes pictures look
    like pictures is the same for all. What only one of the two has, because it enhances, stays
    untrained.

    Raises ValueError where the folder holds no such bundle, or one of another width or depth.
    """
    try:
        graph = read_graph(folder / GRAPH)
    except ModelError as error:
        raise ValueError(f"{folder}: not a restoring bundle ({error})") from None
    held = {name.removeprefix(PREFIX): a for name, a in read_weights(graph).items()}
    state = network.state_dict()
    for name, tensor in state.items():
        if name not in held and name.startswith("look"):
            continue
        if name not in held or held[name].size != tensor.numel():
            raise ValueError(f"{folder}: a restoring network of another --width or --depth")
        # initialisers may be reshaped (see graphs.py)
        weights = np.array(held[name], np.float32, order="C").reshape(tuple(tensor.shape))
        state[name] = torch.from_numpy(weights)
    network.load_state_dict(state)

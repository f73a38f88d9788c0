"""Reading and writing training checkpoints: tensors and plain values, and nothing that could
run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch


def load_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """A checkpoint of `aei train`, on the CPU. mmap: leave its tensors on disk until they are used.

    Only tensors and plain values are read: a checkpoint is a pickle, and could name any function to
    be called. Raises ValueError for what is no checkpoint or holds more, and OSError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} is no checkpoint of tensors and plain values: it is not read, since that "
            "could "
            "run a stranger's code"
        ) from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever the reader makes of other bytes
        raise ValueError(f"{path} is no checkpoint that can be read ({error})") from None
    if not isinstance(state, dict) or "network" not in state:
        raise ValueError(f"{path} is no checkpoint of `aei train`")
    return state


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint whole or not at all. state: tensors and plain values."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)

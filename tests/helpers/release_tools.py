"""The scripts of release/, which are no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "release"


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"release_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks for its annotations' names
    spec.loader.exec_module(module)
    return module

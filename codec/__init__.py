"""A learned image codec: photographs in, small .aei files out, and back.

>>> from aei import codec
>>> import numpy as np
>>> data = codec.encode(np.full((48, 64, 3), 128, np.uint8), quality=50)
>>> codec.decode(data).size
(64, 48)
"""

from typing import TYPE_CHECKING

from ..formats import (
    AeiError,
    DamagedFileError,
    LimitError,
    Limits,
    ModelError,
    NotAnAeiFileError,
    UnknownModelError,
    UnsupportedError,
)

if TYPE_CHECKING:
    __version__: str

    from .api import Codec, Salvaged, decode, encode
    from .restore.restorers import Restorers
    from .streams import decode_many, encode_many
    from .targets import Target, encode_to_target

# Loaded when first asked for, so that commands can settle threads before NumPy starts any.
_LATER = {
    "Codec": "api",
    "Salvaged": "api",
    "decode": "api",
    "encode": "api",
    "decode_many": "streams",
    "encode_many": "streams",
    "Restorers": "restore",
    "Target": "targets",
    "encode_to_target": "targets",
}


def __getattr__(name: str):
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("aei-codec")
        except PackageNotFoundError:  # run from its folder
            return "(not installed)"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


__all__ = [
    "AeiError",
    "Codec",
    "DamagedFileError",
    "LimitError",
    "Limits",
    "ModelError",
    "NotAnAeiFileError",
    "Restorers",
    "Salvaged",
    "Target",
    "UnknownModelError",
    "UnsupportedError",
    "decode",
    "decode_many",
    "encode",
    "encode_many",
    "encode_to_target",
]

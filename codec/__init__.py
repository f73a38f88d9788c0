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
    from .api import Codec, Salvaged, decode, encode
    from .restore.restorers import Restorers
    from .streams import decode_many, encode_many
    from .targets import Target, encode_to_target

# Loaded when first asked for: the command line sets up NumPy's threads before NumPy is loaded, and
# a single encode or decode needs few of them.
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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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

"""A learned image codec: photographs in, small .aei files out, and back.

>>> from aei import codec
>>> import numpy as np
>>> data = codec.encode(np.full((48, 64, 3), 128, np.uint8), quality=50)
>>> codec.decode(data).size
(64, 48)
"""

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
from .api import Codec, Salvaged, decode, encode

__all__ = [
    "AeiError",
    "Codec",
    "DamagedFileError",
    "LimitError",
    "Limits",
    "ModelError",
    "NotAnAeiFileError",
    "Salvaged",
    "UnknownModelError",
    "UnsupportedError",
    "decode",
    "encode",
]

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
    ModelError,
    NotAnAeiFileError,
    UnknownModelError,
    UnsupportedError,
)
from .api import Codec, decode, encode
from .streams import decode_many, encode_many
from .targets import Target, encode_to_target

__all__ = [
    "AeiError",
    "Codec",
    "DamagedFileError",
    "ModelError",
    "NotAnAeiFileError",
    "Target",
    "UnknownModelError",
    "UnsupportedError",
    "decode",
    "decode_many",
    "encode",
    "encode_many",
    "encode_to_target",
]

"""The bytes of .aei files. Knows nothing of networks; docs/format/specification.md is its
specification."""

from .container import Contents, Header, pack, parse, parse_header
from .errors import (
    AeiError,
    DamagedFileError,
    LimitError,
    ModelError,
    NotAnAeiFileError,
    UnknownModelError,
    UnsupportedError,
)
from .limits import DEFAULT_LIMITS, Limits

__all__ = [
    "DEFAULT_LIMITS",
    "AeiError",
    "Contents",
    "DamagedFileError",
    "Header",
    "LimitError",
    "Limits",
    "ModelError",
    "NotAnAeiFileError",
    "UnknownModelError",
    "UnsupportedError",
    "pack",
    "parse",
    "parse_header",
]

"""The bytes of .aei files. Knows nothing of networks; docs/FORMAT.md is its specification."""

from .container import Contents, Header, pack, parse, parse_header
from .errors import (
    AeiError,
    DamagedFileError,
    ModelError,
    NotAnAeiFileError,
    UnknownModelError,
    UnsupportedError,
)

__all__ = [
    "AeiError",
    "Contents",
    "DamagedFileError",
    "Header",
    "ModelError",
    "NotAnAeiFileError",
    "UnknownModelError",
    "UnsupportedError",
    "pack",
    "parse",
    "parse_header",
]

"""What a server may do and spend, as one object that worker processes are handed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

from ..formats import AeiError, Limits

VARIABLE = "AEI_SERVE"  # of the environment, in which worker processes find the settings


@dataclass(frozen=True)
class ServeSettings:
    """folder: of the pictures. uploads: whether POST /convert is there. pixels: of a picture that
    is read, at most. upload_bytes, file_bytes: of a body, and of a file of the folder. width: of
    answers, in pixels, at most. seconds: for one request, waiting included. waiting: requests that
    may wait for a processor before others are sent away. jobs: pictures worked on at a time in each
    process. max_age: seconds that caches may keep answers. quality: 1 to 100, of .aei files that
    are made. lossy: quality of JPEG and WebP; AVIF takes 20 less.
    """

    folder: str
    uploads: bool = False
    pixels: int = 1 << 26
    upload_bytes: int = 32 << 20
    file_bytes: int = 256 << 20
    width: int = 8192
    seconds: float = 20
    waiting: int = 64
    jobs: int = 1
    max_age: int = 3600
    quality: float = 75
    lossy: int = 80

    def limits(self, cancel: Callable[[], bool] | float | None = None) -> Limits:
        """What decoding one picture may cost. cancel: as in Limits."""
        return Limits(self.pixels, memory=1 << 30, metadata=4 << 20, cancel=cancel)

    def to_environment(self) -> None:
        """Leave the settings where processes started from here find them."""
        os.environ[VARIABLE] = json.dumps(asdict(self))

    @classmethod
    def from_environment(cls) -> ServeSettings:
        """The settings that a parent process left. Raises AeiError where there are none."""
        try:
            given = json.loads(os.environ[VARIABLE])
            return cls(**{f.name: given[f.name] for f in fields(cls) if f.name in given})
        except (KeyError, TypeError, ValueError):
            raise AeiError(
                f"{VARIABLE} holds no settings: it is JSON with a folder at least"
            ) from None

"""Results on disk by content, so that a benchmark goes on where it stopped and only new codecs
run."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from pathlib import Path

import numpy as np


def default_path() -> Path:
    """`aei/bench.sqlite` in $XDG_CACHE_HOME or ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "aei" / "bench.sqlite"


def image_hash(image: np.ndarray) -> str:
    """Hash of a picture's shape and pixels."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:16]


class Cache:
    """A table from (image, codec, quality) to what was measured. Safe to use from several threads.

    path: the file, made where it is missing; None keeps everything in memory.
    """

    def __init__(self, path: Path | None):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._table = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=60)
        # A point is kept when the process dies. Waiting for the disk, so that it is when the power
        # goes, takes longer than coding a small picture.
        self._table.execute("PRAGMA journal_mode = WAL")
        self._table.execute("PRAGMA synchronous = NORMAL")
        self._table.execute(
            "CREATE TABLE IF NOT EXISTS points (image TEXT, codec TEXT, quality REAL, value TEXT, "
            "PRIMARY KEY (image, codec, quality)) WITHOUT ROWID"
        )

    def get(self, image: str, codec: str, quality: float) -> dict:
        """What is known of a point; empty where nothing is."""
        query = "SELECT value FROM points WHERE image = ? AND codec = ? AND quality = ?"
        with self._lock:
            row = self._table.execute(query, (image, codec, quality)).fetchone()
        return json.loads(row[0]) if row else {}

    def put(self, image: str, codec: str, quality: float, value: dict) -> None:
        """Keep a point at once, so that nothing is lost when the run is stopped."""
        with self._lock, self._table:
            self._table.execute(
                "INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)",
                (image, codec, quality, json.dumps(value)),
            )

    def close(self) -> None:
        self._table.close()

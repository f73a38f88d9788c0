"""Scores of the reference programs, shared/data/perceptual_reference.csv, and the images they are
of."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def rows() -> list[dict[str, str]]:
    """All rows; skips the test where the table or the Kodak images are not there."""
    folder = Path(os.environ.get("AEI_DATA", "../shared/data"))
    table = folder / "perceptual_reference.csv"
    if not table.is_file() or not (folder / "kodak").is_dir():
        pytest.skip("no perceptual_reference.csv or no kodak/ in AEI_DATA")
    with table.open(newline="") as file:
        return [{**row, "folder": str(folder)} for row in csv.DictReader(file)]


def pair(row: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Original and distorted image, uint8 (H, W, 3); skips where this machine's pixels are
    others."""
    with Image.open(Path(row["folder"]) / "kodak" / f"{row['image']}.png") as image:
        original = np.asarray(image.convert("RGB"))
    distorted = np.ascontiguousarray(_distort(original, row["distortion"]))
    if hashlib.sha256(distorted.tobytes()).hexdigest() != row["sha256_of_pixels"]:
        pytest.skip(f"{row['distortion']} has other pixels with this Pillow or NumPy")
    return original, distorted


def _distort(x: np.ndarray, name: str) -> np.ndarray:
    if name.startswith("jpeg-"):
        out = io.BytesIO()
        Image.fromarray(x).save(out, "JPEG", quality=int(name[5:]))
        return np.asarray(Image.open(out).convert("RGB"))
    if name == "levels-8":
        return x // 8 * 8 + 4
    if name == "box-3x3":
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.int32)
        h, w = x.shape[:2]
        total = sum(padded[i : i + h, j : j + w] for i in range(3) for j in range(3))
        return ((total + 4) // 9).astype(np.uint8)
    if name == "noise-8":
        noise = np.random.default_rng(0).integers(-8, 9, x.shape)
        return np.clip(x + noise, 0, 255).astype(np.uint8)
    assert name == "darker-4"
    return (x.astype(np.int32) * 4 // 5).astype(np.uint8)

"""The images a benchmark runs on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..formats import AeiError

SUFFIXES = {".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".jpg", ".jpeg"}
HINTS = {
    "kodak": "kodak/kodim01.png to kodim24.png, the Kodak Lossless True Color Image Suite",
    "cifar10": "cifar10/eval_1000.npy and train_3000.npy, uint8 (N, 32, 32, 3), or the official "
    "cifar10/cifar-10-python.tar.gz",
}


class DataMissingError(AeiError):
    """The images a benchmark needs are not on this machine."""


@dataclass
class Dataset:
    """Images on disk, read one at a time, or in an array (N, H, W, 3)."""

    name: str
    paths: list[Path]
    array: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths) if self.array is None else len(self.array)

    def image(self, i: int) -> tuple[str, np.ndarray]:
        """Name and pixels, uint8 (H, W, 3), of image i."""
        if self.array is not None:
            return f"{i:04d}", self.array[i]
        from PIL import Image

        with Image.open(self.paths[i]) as image:
            return self.paths[i].stem, np.asarray(image.convert("RGB"))


def data_root() -> Path | None:
    """The folder that holds `kodak/` and `cifar10/`: $AEI_DATA, ./data, or ../shared/data."""
    places = [os.environ.get("AEI_DATA"), "data", "../shared/data"]
    for place in places:
        if place and any((Path(place) / name).is_dir() for name in HINTS):
            return Path(place)
    return None


def load_dataset(name: str, limit: int | None = None) -> Dataset:
    """`kodak`, `cifar10`, or a folder of images; the first `limit` images.

    Raises DataMissingError that says what to put where.
    """
    if name in HINTS and not Path(name).is_dir():
        root = data_root()
        missing = DataMissingError(
            f"{name}: not found; set AEI_DATA to a folder that holds {HINTS[name]}"
        )
        if root is None:
            raise missing
        if name == "cifar10":
            from ..codec.training.data.cifar_files import load_cifar

            return Dataset(name, [], load_cifar(root / "cifar10").held_out[:limit])
        folder = root / name
    else:
        folder = Path(name)
        missing = DataMissingError(
            f"{name}: no images found there; name kodak, cifar10 or a folder"
        )
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())[
        :limit
    ]
    if not paths:
        raise missing
    return Dataset(name if name in HINTS else folder.resolve().name, paths)

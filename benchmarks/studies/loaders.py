"""How fast a torch DataLoader gives training data from .aei files, and from JPEG and PNG files of
the same pictures; and whether memory stays flat: python -m aei.benchmarks.studies.loaders kodak/"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...codec import encode_many
from ...codec.api import Codec
from ...codec.loaders import AeiDataset, Latents, Pixels, RandomCrop

BATCH = 8
CROP = 256
TILE = 256  # side of tiles, of the files made for crops
AEI_QUALITY, JPEG_QUALITY = 75, 85


class PillowPixels:
    """What Pixels is, by Pillow: a file of any format to uint8 (3, H, W), whole or a crop."""

    def __init__(self, crop: Callable[[int, int], tuple[int, int, int, int]] | None = None):
        self.crop = crop

    def __call__(self, codec: Codec, data: bytes | memoryview) -> np.ndarray:
        from PIL import Image

        image: Image.Image = Image.open(io.BytesIO(data)).convert("RGB")
        if self.crop is not None:
            left, top, width, height = self.crop(*image.size)
            image = image.crop((left, top, left + width, top + height))
        return np.array(image).transpose(2, 0, 1)


def resident(pids: list[int]) -> int:
    """Megabytes of memory that processes do not share with others."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Dirty:", "Private_Clean:")):
                total += int(line.split()[1])
    return total >> 10


def cpu_seconds(pids: list[int]) -> float:
    """Processor time that processes have taken: what counts on a machine with other work."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(dataset: Any, workers: int, epochs: int, seconds: float) -> dict[str, Any]:
    """Images a second of a loader after a first epoch, and megabytes after each epoch."""
    import torch

    torch.set_num_threads(1)
    loader: Any = torch.utils.data.DataLoader(
        dataset, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0
    )
    memory, images, spent, used = [], 0, 0.0, 0.0
    epoch = 0
    pids = [os.getpid()]
    while epoch < epochs or (spent < seconds and epoch < 50):
        start, before = time.perf_counter(), cpu_seconds(pids)
        count = sum(len(batch) for batch in loader)
        if epoch:  # in the first one workers start and read the model
            images, spent = images + count, spent + time.perf_counter() - start
            used += cpu_seconds(pids) - before
        kept = getattr(loader, "_iterator", None)
        pids = [os.getpid(), *(w.pid for w in getattr(kept, "_workers", []))]
        memory.append(resident(pids))
        epoch += 1
    return {
        "images_per_second": round(images / spent, 1),
        "per_cpu_second": round(images / used, 1),
        "megabytes": memory[:epochs],
    }


def sets(folder: Path, most: int) -> dict[str, list[bytes]]:
    """The pictures of a folder that are 768 pixels wide and 512 high, as files of each format."""
    from PIL import Image

    pictures: list[Image.Image] = []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            if image.size == (768, 512) and len(pictures) < most:
                pictures.append(image.convert("RGB"))

    def saved(image: Image.Image, **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, **options)
        return file.getvalue()

    return {
        "aei": list(encode_many(pictures, AEI_QUALITY, jobs=1)),
        "aei, tiles": [Codec().encode(p, AEI_QUALITY, tile_side=TILE) for p in pictures],
        "jpeg": [saved(p, format="JPEG", quality=JPEG_QUALITY) for p in pictures],
        "png": [saved(p, format="PNG") for p in pictures],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    files = sets(arguments.folder, arguments.images)
    for what, name, read in readers(list(files)):
        size = sum(map(len, files[name])) // len(files[name])
        for workers in arguments.workers:
            dataset = AeiDataset(files[name], read)
            found = measure(dataset, workers, arguments.epochs, arguments.seconds)
            facts = {"what": what, "format": name, "bytes": size, "workers": workers, **found}
            print(json.dumps(facts), flush=True)


def readers(names: list[str]) -> list[tuple[str, str, Any]]:
    """What is measured: its name, the format, and what reads a file."""
    crop = RandomCrop(CROP, CROP)
    found: list[tuple[str, str, Any]] = []
    for name in names:
        for what, region in ((f"crop {CROP}", crop), ("whole", None)):
            own = name.startswith("aei")
            found.append((what, name, Pixels(region=region) if own else PillowPixels(region)))
    found += [("scale 4", "aei", Pixels(scale=4)), ("latents", "aei", Latents())]
    return found


if __name__ == "__main__":
    main()

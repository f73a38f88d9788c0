"""Photographs of 12 megapixels for the archive study, where no camera's are at hand: mosaics of
twelve enlarged pictures each, as JPEG of quality 92 with Exif.

python -m aei.benchmarks.studies.mosaics ../shared/data/train -o photos/ --count 300
"""

from __future__ import annotations

import random
from pathlib import Path

import click
from PIL import Image, ImageOps

from ..datasets import load_dataset

SIDE, COLUMNS, ROWS = 1000, 4, 3
MAKER, MODEL, DATE, OWN, TAKEN = 271, 272, 306, 0x8769, 36867  # Exif tags


def mosaic(pictures: list[Path]) -> Image.Image:
    """COLUMNS x ROWS pictures, each enlarged and cut to a square of SIDE pixels."""
    whole = Image.new("RGB", (SIDE * COLUMNS, SIDE * ROWS))
    for k, path in enumerate(pictures):
        with Image.open(path) as image:
            square = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
        whole.paste(square, (k % COLUMNS * SIDE, k // COLUMNS * SIDE))
    return whole


def exif_of(i: int) -> Image.Exif:
    """Camera and a date in July."""
    exif = Image.Exif()
    exif[MAKER], exif[MODEL] = "Maker", "Model 12"
    exif[DATE] = f"2025:07:{1 + i % 28:02d} 10:{i % 60:02d}:00"
    exif.get_ifd(OWN)[TAKEN] = exif[DATE]
    return exif


@click.command()
@click.argument("folder")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--count", type=click.IntRange(1), default=300, show_default=True)
def main(folder: str, output: Path, count: int) -> None:
    """Make photographs of the pictures in FOLDER, the same ones each time."""
    paths = load_dataset(folder).paths
    output.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        drawn = random.Random(i).choices(paths, k=COLUMNS * ROWS)
        mosaic(drawn).save(output / f"IMG_{i:04d}.jpg", quality=92, exif=exif_of(i))


if __name__ == "__main__":
    main()

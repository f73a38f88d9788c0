"""What SSIMULACRA 2 a model's gain indexes give, so that `-q N` can mean a score of N.

Measured on whole files of training photographs at effort 1: as a median, since scores of one gain
index differ by ten points between a wall and a lawn. An export does with a few; over more, anew:

    python -m aei.codec.training.export.calibrate BUNDLE --data ../shared/data/train --limit 60
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from PIL import Image

from ...api import Codec
from ...metrics.ssimulacra2 import ssimulacra2
from .bundle_folder import write_manifest

INDEXES = (12, 32, 56, 80, 104, 128, 152, 176, 200, 220, 240, 252)
LEAST, MOST = 3.0, 98.0  # scores outside are left to the ends of the scale
APART = 0.5  # of two scores that are kept
LEAST_SIDE = 256  # pixels of an image whose scores count


def calibrate(folder: Path, images: list[np.ndarray]) -> dict:
    """Write into a bundle's manifest, and return, `scores`: [gain index, median score], rising in
    both, and `scores_spread`: their 10th and 90th percentiles.

    images: uint8 (H, W, 3), photographs; those below LEAST_SIDE do not count, since what they score
    says little of whole ones. A model whose scores do not rise gets none.
    """
    codec = Codec(folder, threads=1)
    images = [image for image in images if min(image.shape[:2]) >= LEAST_SIDE]
    if codec.bundle.bits_per_error(0) is None or not images:
        return {}
    scores: list[list[float]] = []
    spread: list[list[float]] = []
    for index in INDEXES:
        values = []
        for image in images:
            data = codec.encode(image, gain_index=index, effort=1)
            values.append(ssimulacra2(image, np.asarray(codec.decode(data))))
        low, middle, high = np.percentile(values, [10, 50, 90]).round(2).tolist()
        above = scores[-1][1] + APART if scores else LEAST
        if above < middle < MOST:
            scores.append([index, middle])
            spread.append([low, high])
    facts = {"scores": scores, "scores_spread": spread}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    write_manifest(folder, manifest | facts)
    return facts


@click.command("calibrate")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True,
              help="The training folder; what is held out of it is left out here.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=60, show_default=True,
              help="So many of its photographs, evenly spread.")  # fmt: skip
def main(bundle: Path, data: Path, limit: int) -> None:
    """Measure the quality scale of BUNDLE anew, in place."""
    from ..data.photographs import HOLD_OUT_EVERY, list_images

    files = [f for i, f in enumerate(list_images(data)) if i % HOLD_OUT_EVERY]
    images = []
    for file in files[len(files) // (2 * limit) :: max(1, len(files) // limit)][:limit]:
        with Image.open(file) as image:
            images.append(np.array(image.convert("RGB")))
    facts = calibrate(bundle, images)
    if not facts:
        raise click.ClickException(f"{bundle}: its scores do not rise, or it is not tuned for them")
    for (index, score), (low, high) in zip(facts["scores"], facts["scores_spread"]):
        click.echo(f"gain index {index}: {score} ({low} to {high})")


if __name__ == "__main__":
    main()

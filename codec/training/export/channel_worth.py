"""How much an error shows in each channel of a bundle's latents, measured for its encoder.

Latents of training photographs are rounded, and how the gradient of what shows has changed on the
way says what a squared error costs: by each channel at a few gain indexes, over all photographs.
Rounding weighs errors by that, to a power (docs/research/channel-worth.md). Prior and synthesis
stay: files mean what they meant. It belongs before `calibrate`, which measures what it changes:

    python -m aei.codec.training.export.channel_worth BUNDLE --data ../shared/data/train --limit 60
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from PIL import Image
from safetensors.numpy import save

from ....formats.tiles import Box
from ...exact.quantise import quantise
from ...models.bundle import Bundle
from ...models.channel_worth import CHANNEL_WORTH, steps_of
from ...models.model import Model, own_threads
from ...search.tile import Choices, TileView, analysed, distortion_of
from ...settings import GAIN_LEVELS
from .bundle_folder import write_manifest

ANCHORS = 8
SIDE = 256  # pixels of what is looked at of a photograph
# With which power a channel's curvature counts, from a gain index on; below with less, down to none
# at index 0: there it brings nothing. With 0.7 as much is won, and other metrics lose more.
POWER, FULL_INDEX = 0.35, 146
LEAST = 0.1  # of a channel's curvature beside the mean one


def add_channel_worth(folder: Path, images: list[np.ndarray]) -> np.ndarray:
    """Write into a bundle, and return, what errors are worth in each channel, int8 (ANCHORS, M):
    see models/channel_worth.py.

    images: uint8 (H, W, 3), photographs; smaller ones than SIDE do not count. Raises ValueError
    where none is left, and for a bundle that cannot refine latents.
    """
    bundle = Bundle(folder)
    images = [middle for image in images if (middle := middle_of(image)) is not None]
    if not images or bundle.bits_per_error(0) is None:
        raise ValueError(f"{folder}: no photographs of {SIDE} pixels, or a bundle without gradient")
    model = Model(bundle, threads=1)
    with own_threads(1):
        indexes = np.rint(np.linspace(0, GAIN_LEVELS - 1, ANCHORS)).astype(int).tolist()
        table = np.stack([worth_at(model, images, index) for index in indexes])
    steps = steps_of(table)
    (folder / f"{CHANNEL_WORTH}.safetensors").write_bytes(save({CHANNEL_WORTH: steps}))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    write_manifest(folder, manifest)
    return steps


def worth_at(model: Model, images: list[np.ndarray], gain_index: int) -> np.ndarray:
    """What errors are worth in each channel at a gain index, beside others: float64 (M,), of
    geometric mean 1 where each channel counts by how many of its symbols are not zero, so that
    about as many bits are spent as without. images: uint8 (H, W, 3), sides multiples of SIDE."""
    slopes, squares, symbols = np.sum(
        [_changes(model, image, gain_index) for image in images], axis=0
    )
    found = np.log2(np.maximum(slopes / np.maximum(squares, 1e-3), LEAST))
    found -= np.average(found, weights=symbols + 1)
    return np.exp2(POWER * min(1.0, gain_index / FULL_INDEX) * found)


def _changes(model: Model, image: np.ndarray, gain_index: int) -> np.ndarray:
    """Of each channel, float64 (3, M): the change of the gradient times that of the latents, summed
    over cells, in such a unit that all photographs count alike; the change of the latents, squared;
    symbols that are not zero."""
    side = SIDE // model.prior.stride
    tile = TileView(image, Box(0, 0, side, side), SIDE, SIDE)
    bits_per_error = model.bundle.bits_per_error(gain_index)
    assert bits_per_error is not None  # of a bundle with a gradient
    choices = Choices(gain_index, 2, "ssimulacra2", bits_per_error)
    y, z_hat = analysed(model, tile, gain_index)
    distortion = distortion_of(model, tile, choices, bits_per_error)
    error_bits = np.float32(model.prior.rounding_bits) * distortion.worth
    made = quantise(model.prior, gain_index, y, z_hat, error_bits)
    y_hat = (made.y_hat / model.prior.unit).astype(np.float32)
    change = distortion.slope(y_hat)[1] - distortion.slope(y)[1]
    moved = y_hat - y
    slopes, squares, symbols = (
        part.sum((0, 1), dtype=np.float64) for part in (change * moved, moved * moved, y_hat != 0)
    )
    # a photograph where the same error costs more would outvote others
    mean = max(slopes.sum() / max(squares.sum(), 1e-3), 1e-3)
    return np.stack([slopes / mean, squares, symbols])


def middle_of(image: np.ndarray) -> np.ndarray | None:
    """The middle of an image, uint8 (SIDE, SIDE, 3), in memory of its own; None of a smaller
    one."""
    if min(image.shape[:2]) < SIDE:
        return None
    top, left = ((n - SIDE) // 2 for n in image.shape[:2])
    return image[top : top + SIDE, left : left + SIDE].copy()


@click.command("channel_worth")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True,
              help="The training folder; what is held out of it is left out here.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=60, show_default=True,
              help="So many of its photographs, evenly spread.")  # fmt: skip
def main(bundle: Path, data: Path, limit: int) -> None:
    """Measure how much errors show in each channel of BUNDLE's latents, and write it there."""
    from ..data.photographs import HOLD_OUT_EVERY, list_images

    files = [f for i, f in enumerate(list_images(data)) if i % HOLD_OUT_EVERY]
    images = []
    for file in files[len(files) // (2 * limit) :: max(1, len(files) // limit)][:limit]:
        with Image.open(file) as image:
            middle = middle_of(np.array(image.convert("RGB")))
        if middle is not None:
            images.append(middle)
    try:
        table = add_channel_worth(bundle, images)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    for row in 2.0 ** (table / 8):
        low, high = np.percentile(row, [5, 95])
        click.echo(f"channels of 5 and 95 %: {low:.2f}, {high:.2f}; largest {row.max():.2f}")


if __name__ == "__main__":
    main()

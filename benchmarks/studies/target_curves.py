"""How rate and quality run with the gain index: the constants of codec/targets.py, measured.

    python -m aei.benchmarks.target_curves DIR [--model BUNDLE] [--limit N] [--effort E]

Codes every image of DIR at the indexes `targets.KNOTS` and prints, for each quantity, the mean over
images and the first principal component of their differences, its sign such that better or larger
is positive. Run it after a change of the model; a target's first probe hangs on these figures,
nothing else does.
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np

from ...codec.api import Codec
from ...codec.pixels.quality import psnr, ssim
from ...codec.targets import KNOTS, PSNR, SIZE, SSIM, SSIMULACRA2, quality_in_db
from ..datasets import Dataset, load_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("images", help="a folder of photographs")
    parser.add_argument("--model", help="bundle to use instead of the one shipped")
    parser.add_argument("--limit", type=int, help="only so many of the images, evenly spread")
    parser.add_argument("--effort", type=int)
    arguments = parser.parse_args()
    data = load_dataset(arguments.images)
    codec = Codec(arguments.model)
    count = min(arguments.limit or len(data), len(data))
    chosen = [round(i * len(data) / count) for i in range(count)]
    found = measured(codec, data, chosen, arguments.effort)
    for kind, curves in found.items():
        mean, component = mean_and_component(curves)
        print(f"    {kind}: (\n        {_shown(mean)},\n        {_shown(component)},\n    ),")


def measured(codec: Codec, data: Dataset, chosen: list[int], effort: int | None) -> dict:
    """kind -> float64 (images, knots) in the units of `targets.CURVES`."""
    from ...codec.metrics.ssimulacra2 import ssimulacra2

    found: dict[str, list[list[float]]] = {k: [] for k in (SIZE, PSNR, SSIM, SSIMULACRA2)}
    for i in chosen:
        name, image = data.image(i)
        rows: dict[str, list[float]] = {kind: [] for kind in found}
        for index in KNOTS:
            coded = codec.encode(image, gain_index=index, effort=effort, metadata=False)
            back = np.asarray(codec.decode(coded))
            rows[SIZE].append(math.log(8 * len(coded) / (image.shape[0] * image.shape[1])))
            rows[PSNR].append(psnr(image, back))
            rows[SSIM].append(quality_in_db(ssim(image, back)))
            rows[SSIMULACRA2].append(ssimulacra2(image, back))
        for kind, values in rows.items():
            found[kind].append(values)
        print(f"{name}", file=sys.stderr)
    return {kind: np.array(values) for kind, values in found.items()}


def mean_and_component(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (images, knots): the mean, and the direction in which they differ most, of length 1."""
    mean = curves.mean(axis=0)
    component = np.linalg.svd(curves - mean, full_matrices=False)[2][0]
    return mean, component * (1 if component.sum() > 0 else -1)


def _shown(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:.3g}" for v in values) + ")"


if __name__ == "__main__":
    main()

"""Writes encodings.json and refined.json: the hash of the file that this release makes of an image:
`python tests/golden/pinned.py`.

Not for ever, as the golden files are: an encoder may learn to choose better. But a release makes
the same bytes of `encodings.json` on every machine, and what changes them says so in the changelog.
Those of `refined.json` pass through float graphs (gradients, from effort 2 on, and the analysis of
bundles that have none in integers), which another processor or another ONNX Runtime may round
otherwise: they are pinned together with a hash of what the graphs compute (`graphs_sha256`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from aei.codec import Codec
from PIL import Image

HERE = Path(__file__).parent
# bundle, image (of this folder), options of Codec.encode
CASES = {
    "look": ("finish", "finish-rgb-150x120", {"gain_index": 120}),
    "look-low": ("context", "context-rgb-130x200-tiles", {"gain_index": 10}),
    "look-high": ("context", "context-rgb-100x60", {"gain_index": 250}),
    "fastest": ("finish", "finish-rgb-150x120", {"gain_index": 160, "effort": 0}),
    "filtered": ("context", "filter-rgb-150x120", {"gain_index": 128, "tune": "psnr"}),
    "filtered-tiles": (
        "finish", "context-rgb-130x200-tiles", {"gain_index": 90, "tune": "psnr", "tile_side": 64}),
    "tiles": ("finish", "context-rgb-130x200-tiles", {"gain_index": 180, "tile_side": 64}),
    "grey": ("finish", "context-grey-210x330", {"gain_index": 140}),
    "noise": ("finish", "context-noise-148x132", {"gain_index": 255}),
    "alpha": ("finish", "rgb-alpha-130x100-tiles", {"gain_index": 100, "tile_side": 64}),
    "small": ("finish", "finish-rgb-17x3", {"gain_index": 200}),
    "fastest-tiles": (
        "context", "rgb-130x200-tiles", {"gain_index": 70, "tile_side": 128, "effort": 0}),
    "grey-alpha": ("context", "grey-alpha-33x40", {"quality": 60}),
    "grey-filtered": ("finish", "context-grey-210x330", {"quality": 30, "tune": "psnr"}),
}  # fmt: skip
REFINED = {
    "refined": ("finish", "finish-rgb-150x120", {"gain_index": 120, "effort": 5}),
    "refined-low": ("context", "context-rgb-100x60", {"gain_index": 20, "effort": 2}),
    "refined-tiles": (
        "finish", "context-rgb-130x200-tiles", {"gain_index": 90, "tile_side": 64, "effort": 2}),
    "refined-squares": (
        "context", "filter-rgb-150x120", {"gain_index": 128, "effort": 5, "tune": "psnr"}),
    "refined-structure": (
        "finish", "context-grey-210x330", {"gain_index": 140, "effort": 2, "tune": "ms-ssim"}),
    "refined-alpha": ("finish", "rgb-alpha-50x40", {"gain_index": 180, "effort": 5}),
    "refined-trellis": ("trellis", "trellis-rgb-100x60", {"gain_index": 160, "effort": 3}),
    "refined-offset": (
        "offset", "offset-rgb-100x60", {"gain_index": 160, "effort": 3, "tune": "psnr"}),
    "floats": ("tiny", "rgb-130x200-tiles", {"gain_index": 100, "tile_side": 64}),
    "floats-grey": ("tiny", "grey-130x70-tiles", {"gain_index": 200, "effort": 0}),
    "floats-factorized": ("factorized", "factorized-rgb", {"gain_index": 130}),
}  # fmt: skip


def graphs_sha256(codec: Codec) -> str:
    """SHA-256 of what a bundle's float graphs make of noise on this machine."""
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    transforms = codec.transforms
    if codec.bundle.analysis is None:
        x = rng.uniform(-0.5, 0.5, (1, 3, 192, 192)).astype(np.float32)
        y = transforms.analysis(x, 100)
        digest.update(y.tobytes())
        digest.update(transforms.hyper_analysis(y, 100).tobytes())
    y = rng.laplace(0, 2, (12, 12, codec.bundle.prior.program["latents"])).astype(np.float32)
    digest.update(transforms.synthesis(np.rint(64 * y).astype(np.int32), 100, 6).tobytes())
    if transforms.has_gradient:
        x = rng.uniform(-0.5, 0.5, (1, 3, 192, 192)).astype(np.float32)
        weight = np.ones((1, 1, 192, 192), np.float32)
        digest.update(transforms.error_gradient(y, 100, x, weight)[1].tobytes())
    return digest.hexdigest()


def encoded(codec: Codec, image: str, options: dict) -> bytes:
    with Image.open(HERE / f"{image}.png") as picture:
        return codec.encode(picture, **options)


if __name__ == "__main__":
    for file, cases in (("encodings", CASES), ("refined", REFINED)):
        facts = {}
        for name, (bundle, image, options) in cases.items():
            codec = Codec(HERE / f"{bundle}.bundle")
            data = encoded(codec, image, options)
            facts[name] = {
                "bundle": bundle, "image": image, "options": options, "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }  # fmt: skip
            if cases is REFINED:
                facts[name]["graphs_sha256"] = graphs_sha256(codec)
        (HERE / f"{file}.json").write_text(json.dumps(facts, indent=1) + "\n")

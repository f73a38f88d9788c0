"""Writes encodings.json: the hash of the file that this release makes of an image:
`python tests/golden/encodings.py`.

Not for ever, as the golden files are: an encoder may learn to choose better. But a release makes
the same bytes on every machine, and what changes them says so in the changelog.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

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
}  # fmt: skip

if __name__ == "__main__":
    facts = {}
    for name, (bundle, image, options) in CASES.items():
        with Image.open(HERE / f"{image}.png") as picture:
            data = Codec(HERE / f"{bundle}.bundle").encode(picture, **options)
        facts[name] = {
            "bundle": bundle, "image": image, "options": options, "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }  # fmt: skip
    (HERE / "encodings.json").write_text(json.dumps(facts, indent=1) + "\n")

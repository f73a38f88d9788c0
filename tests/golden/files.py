"""Makes the golden files of this folder from its bundles: `python tests/golden/files.py`.

To be run once: the committed files pin version 1 of the format. Files may be added (give names on
the command line to make only those); one that is there already is never changed.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
from aei.codec import Codec
from aei.formats import parse
from aei.formats.container import pack
from PIL import Image, ImageCms, ImageDraw

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from conftest import synthetic_photo


def photo(width: int, height: int, mode: str = "RGB", seed: int = 1) -> Image.Image:
    return Image.fromarray(synthetic_photo(height, width, seed)).convert(mode)


def with_alpha(image: Image.Image, opaque: tuple[int, int, int, int] | None) -> Image.Image:
    """A soft disc as alpha, and a rectangle of full opacity; None: opaque everywhere."""
    alpha = Image.new("L", image.size, 255)
    if opaque:
        alpha = Image.radial_gradient("L").resize(image.size).point(lambda v: 255 - v)
        alpha.paste(255, opaque)
    image.putalpha(alpha)
    return image


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(5).integers(0, 2, (height, width, 3), np.uint8) * 255
    )


def text(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for y in range(0, height, 9):
        draw.text((2, y), "golden file no. " + str(y), fill=(20 * (y % 12), 0, 90))
    return image


def described(width: int, height: int) -> Image.Image:
    image = photo(width, height)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    buffer = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(buffer, "PNG", icc_profile=profile, exif=exif)
    image = Image.open(buffer)
    image.info["xmp"] = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    return image


# name: (bundle, image, options of Codec.encode)
FILES = {
    "rgb-1x1": ("tiny", photo(1, 1), {"gain_index": 128}),
    "rgb-17x3": ("tiny", photo(17, 3), {"gain_index": 90}),
    "rgb-100x60-low": ("tiny", photo(100, 60), {"gain_index": 0}),
    "rgb-100x60-middle": ("tiny", photo(100, 60), {"gain_index": 128}),
    "rgb-100x60-high": ("tiny", photo(100, 60), {"gain_index": 255}),
    "rgb-130x200-tiles": ("tiny", photo(130, 200), {"gain_index": 150, "tile_side": 64}),
    "rgb-64x64-one-tile": ("tiny", photo(64, 64), {"gain_index": 60, "tile_side": 64}),
    "grey-33x40": ("tiny", photo(33, 40, "L"), {"gain_index": 170}),
    "grey-130x70-tiles": ("tiny", photo(130, 70, "L"), {"gain_index": 100, "tile_side": 64}),
    "grey-alpha-33x40": (
        "tiny", with_alpha(photo(33, 40, "L"), (0, 0, 9, 9)), {"gain_index": 120}),
    "rgb-alpha-opaque-20x20": ("tiny", with_alpha(photo(20, 20), None), {"gain_index": 120}),
    "rgb-alpha-50x40": ("tiny", with_alpha(photo(50, 40), (9, 9, 30, 30)), {"gain_index": 120}),
    "rgb-alpha-130x100-tiles": (
        "tiny", with_alpha(photo(130, 100), (0, 0, 64, 100)), {"gain_index": 120, "tile_side": 64}),
    "rgb-24x24-metadata": ("tiny", described(24, 24), {"gain_index": 120}),
    "noise-48x32-high": ("tiny", noise(48, 32), {"gain_index": 255}),
    "noise-48x32-low": ("tiny", noise(48, 32), {"gain_index": 20}),
    "noise-100x70-tiles-low": ("tiny", noise(100, 70), {"gain_index": 20, "tile_side": 64}),
    "text-70x50-low": ("tiny", text(70, 50), {"gain_index": 30}),
    "text-96x80-tiles": ("tiny", text(96, 80), {"gain_index": 40, "tile_side": 64}),
    "offset-rgb-100x60": ("offset", photo(100, 60), {"gain_index": 128}),
    "offset-grey-130x70-tiles": (
        "offset", photo(130, 70, "L"), {"gain_index": 220, "tile_side": 64}),
    "offset-noise-48x32": ("offset", noise(48, 32), {"gain_index": 20}),
    "trellis-rgb-100x60": ("trellis", photo(100, 60), {"gain_index": 128}),
    "trellis-rgb-17x3": ("trellis", photo(17, 3), {"gain_index": 200}),
    "trellis-grey-130x70-tiles": (
        "trellis", photo(130, 70, "L"), {"gain_index": 220, "tile_side": 64}),
    "trellis-noise-48x32": ("trellis", noise(48, 32), {"gain_index": 255}),
    "context-rgb-100x60": ("context", photo(100, 60), {"gain_index": 128}),
    "context-rgb-17x3": ("context", photo(17, 3), {"gain_index": 200}),
    "context-grey-210x330": ("context", photo(210, 330, "L"), {"gain_index": 60}),
    "context-rgb-130x200-tiles": ("context", photo(130, 200), {"gain_index": 220, "tile_side": 64}),
    "context-noise-148x132": ("context", noise(148, 132), {"gain_index": 255}),
    "filter-rgb-150x120": ("context", photo(150, 120), {"gain_index": 128}),
    "filter-grey-170x100-tiles": (
        "context", photo(170, 100, "L"), {"gain_index": 90, "tile_side": 64}),
    "finish-rgb-150x120": ("finish", photo(150, 120), {"gain_index": 100}),
    "finish-rgb-17x3": ("finish", photo(17, 3), {"gain_index": 200}),
    "finish-noise-48x32": ("finish", noise(48, 32), {"gain_index": 255}),
    "finish-grey-170x100-tiles": (
        "finish", photo(170, 100, "L"), {"gain_index": 0, "tile_side": 64}),
    "finish-rgb-alpha-70x90-tiles": (
        "finish", with_alpha(photo(70, 90), (0, 0, 64, 64)), {"gain_index": 150, "tile_side": 64}),
    "preview-grey-330x40": ("context", photo(330, 40, "L"), {"gain_index": 200, "preview": True}),
    "preview-rgb-alpha-48x340-tiles": (
        "finish", with_alpha(photo(48, 340), (0, 0, 48, 64)),
        {"gain_index": 150, "tile_side": 64, "preview": True}),
    "factorized-rgb": ("factorized", photo(32, 32), {}),
    "factorized-grey-alpha": ("factorized", with_alpha(photo(32, 32, "L"), (4, 4, 9, 9)), {}),
}  # fmt: skip


def with_unknown_section(data: bytes) -> bytes:
    """The same file with a section of a type that may be skipped."""
    contents = parse(data)
    tile = contents.tile(0), contents.entries[0].code_all
    return pack(contents.header, [tile], {100: b"from a later release"})


def make(name: str) -> bytes:
    bundle, image, options = FILES[name]
    return Codec(HERE / f"{bundle}.bundle").encode(image, **options)


def describe(name: str, bundle: str, data: bytes) -> dict:
    codec = Codec(HERE / f"{bundle}.bundle")
    image = codec.decode(data)
    exact = {} if codec.bundle.synthesis is None else {"pixels_sha256": codec.pixels_sha256(data)}
    return exact | {
        "bundle": bundle,
        "mode": image.mode,
        "size": image.size,
        "sha256": hashlib.sha256(data).hexdigest(),
        "latents_sha256": codec.latents_sha256(data),
        "metadata": {
            name: hashlib.sha256(image.info[name]).hexdigest()
            for name in ("icc_profile", "exif", "xmp")
            if name in image.info
        },
    }


if __name__ == "__main__":
    manifest = HERE / "manifest.json"
    facts = json.loads(manifest.read_text()) if manifest.exists() else {}
    for name in sys.argv[1:] or [*FILES, "unknown-section-16x16"]:
        if (HERE / f"{name}.aei").exists():
            continue  # for ever
        if name in FILES:
            bundle, data = FILES[name][0], make(name)
        else:
            bundle = "tiny"
            data = with_unknown_section(Codec(HERE / "tiny.bundle").encode(photo(16, 16)))
        (HERE / f"{name}.aei").write_bytes(data)
        Codec(HERE / f"{bundle}.bundle").decode(data).save(HERE / f"{name}.png", optimize=True)
        facts[name] = describe(name, bundle, data)
    manifest.write_text(json.dumps(facts, indent=1) + "\n")

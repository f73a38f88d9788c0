"""Makes the golden files of the models that ship: `python tests/golden/shipped.py [MODEL...]`.

For each model a folder `shipped/FINGERPRINT` with files and a manifest, made once. A folder that is
there is never changed: a later model has another fingerprint, and gets a folder beside the others.
The photographs come with scikit-image (shipped/README.md); what counts is the files made of them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from aei.codec import Codec
from aei.codec.models.bundle import Bundle, installed_bundles
from aei.formats import parse
from aei.formats.container import pack
from files import noise, text, with_alpha
from PIL import Image, ImageCms

SHIPPED = Path(__file__).parent / "shipped"
QUALITIES = (25, 75, 95)
# What decides what a file decodes to; the rest of a bundle is for encoding.
DECODING = ("prior.json", "prior.safetensors", "synthesis.json", "synthesis.safetensors")
MANIFEST_FACTS = ("arch", "halo", "margin")  # that a decoder reads beside them

# name: (file of scikit-image, box in it, longer side in pixels)
PHOTOGRAPHS = {
    "face": ("astronaut.png", (150, 0, 310, 160), 96),
    "suit": ("astronaut.png", (0, 0, 512, 512), 144),
    "cat": ("chelsea.png", (0, 0, 451, 300), 150),
    "fur": ("chelsea.png", (180, 20, 340, 110), 128),
    "cup": ("coffee.png", (0, 0, 600, 400), 150),
    "wood": ("coffee.png", (0, 240, 200, 400), 100),
    "dusk": ("rocket.jpg", (0, 0, 640, 427), 160),
    "lights": ("rocket.jpg", (60, 200, 380, 427), 112),
    "stars": ("hubble_deep_field.jpg", (0, 0, 480, 360), 120),
    "retina": ("retina.jpg", (0, 0, 1411, 1411), 110),
    "field": ("camera.png", (0, 0, 512, 512), 133),
    "grass": ("grass.png", (0, 0, 320, 240), 97),
}


def photograph(name: str) -> Image.Image:
    import skimage

    file, box, side = PHOTOGRAPHS[name]
    with Image.open(Path(skimage.__path__[0]) / "data" / file) as image:
        part = image.crop(box)
    part.thumbnail((side, side), Image.Resampling.LANCZOS)
    return part


def described(image: Image.Image) -> Image.Image:
    """With metadata: a colour profile that has no number in the format, Exif, XMP."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "golden"  # orientation, make
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tag = profile.index(b"rXYZ")
    red = int.from_bytes(profile[tag + 4 : tag + 8], "big") + 10
    profile[red] ^= 0x20  # another red than sRGB's
    image.info["icc_profile"] = bytes(profile)
    image.info |= {"exif": exif.tobytes(), "xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}
    return image


def pictures() -> dict[str, tuple[Image.Image, dict]]:
    """What is encoded, and the options of Codec.encode, by the name of the file."""
    made: dict[str, tuple[Image.Image, dict]] = {
        f"{name}-{quality}": (photograph(name), {"quality": quality})
        for name in PHOTOGRAPHS
        for quality in QUALITIES
    }
    soft = with_alpha(photograph("cat"), (0, 0, 64, 64))
    return made | {
        "cat-tiles": (photograph("cat"), {"quality": 60, "tile_side": 64}),
        "cat-alpha": (soft, {"quality": 60}),
        "cat-alpha-tiles": (soft, {"quality": 40, "tile_side": 64}),
        "field-tiles": (photograph("field"), {"quality": 60, "tile_side": 64}),
        "field-alpha": (with_alpha(photograph("field"), (9, 9, 50, 50)), {"quality": 60}),
        "face-metadata": (described(photograph("face")), {"quality": 60}),
        "face-preview": (photograph("face").resize((352, 64)), {"quality": 20, "preview": True}),
        "lights-lowest": (photograph("lights"), {"gain_index": 0}),
        "lights-highest": (photograph("lights"), {"gain_index": 255}),
        "noise-highest": (noise(48, 32), {"gain_index": 255}),
        "noise-lowest": (noise(48, 32), {"gain_index": 0}),
        "text": (text(96, 80), {"quality": 50}),
        "wood-1x1": (photograph("wood").resize((1, 1)), {"quality": 75}),
        "wood-17x3": (photograph("wood").crop((0, 0, 17, 3)), {"quality": 75}),
    }


def with_filter(data: bytes) -> bytes:
    """A file with the post-filter of another one: seldom does a small picture get one."""
    filtered = parse((SHIPPED.parent / "filter-rgb-150x120.aei").read_bytes()).sections
    contents = parse(data)
    tile = contents.tile(0), contents.entries[0].code_all
    return pack(contents.header, [tile], {**contents.sections, 6: filtered[6]})


def facts_of(codec: Codec, data: bytes) -> dict:
    image = codec.decode(data)
    info = {k: image.info[k] for k in ("icc_profile", "exif", "xmp") if k in image.info}
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "mode": image.mode,
        "size": list(image.size),
        "latents_sha256": codec.latents_sha256(data),
        "pixels_sha256": codec.pixels_sha256(data),
        "metadata": {k: hashlib.sha256(v).hexdigest() for k, v in info.items()},
    }


def decoding_of(bundle: Bundle) -> dict:
    """What a model's files decode by: hashes of files, facts of the manifest."""
    facts = {name: bundle.manifest[name] for name in MANIFEST_FACTS if name in bundle.manifest}
    parts = {n: hashlib.sha256((bundle.path / n).read_bytes()).hexdigest() for n in DECODING}
    return {"model": bundle.name, "fingerprint": bundle.fingerprint.hex(), **facts, "parts": parts}


def freeze(model: str) -> None:
    codec = Codec(model, threads=1)
    folder = SHIPPED / codec.bundle.fingerprint.hex()
    if folder.exists():
        print(f"{codec.bundle.name}: {folder} is there, and stays as it is")
        return
    folder.mkdir(parents=True)
    made, files = {}, {}
    for name, (image, options) in pictures().items():
        made[name] = codec.encode(image, **options)
    made["suit-filter"] = with_filter(made["suit-75"])
    for name, data in made.items():
        (folder / f"{name}.aei").write_bytes(data)
        files[name] = facts_of(codec, data)
    manifest = decoding_of(codec.bundle) | {"files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def frozen() -> dict[str, str]:
    """SHA-256 of each manifest, by the model's fingerprint."""
    return {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(SHIPPED.glob("*/manifest.json"))
    }


if __name__ == "__main__":
    for model in sys.argv[1:] or [path.name for path in installed_bundles()]:
        freeze(model)
    print("FROZEN in tests/conformance/test_shipped.py:")
    for fingerprint, digest in frozen().items():
        print(f'    "{fingerprint}": "{digest}",')

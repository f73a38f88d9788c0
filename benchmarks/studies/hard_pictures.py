"""Pictures of the kinds that metrics and learned codecs find hard, coded at equal bytes.

    python -m aei.benchmarks.studies.hard_pictures ../shared/data/train -o hard/ --crops crops/

Draws 45 pictures (`pictures`): dark scenes, faint texture, skin and fur, foliage, lettering,
screens, drawings. They come from the held-out photographs of a training folder (every 50th of its
manifest), from scikit-image's freely licensed samples where that package is installed, and from
generators. Nothing of it is trained on; pages come from seeds that training does not use.

Every picture is coded by AVIF at three qualities, and by the others at those bytes, each by
bisection over its own scale; scores are SSIMULACRA 2 and Butteraugli's 3-norm and largest error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ...codec.training.data.degrade import add_noise
from ..codecs import PeerCodec
from ..match import match_bytes

AVIF_QUALITIES = (40, 60, 80)
AGAINST = ("AVIF", "JPEG XL", "JPEG")
SEED = 20261128  # of everything that is drawn here
SIDE = 512

# Held-out photographs by their place in the list, by kind.
HELD_OUT = {
    "skin": (12, 20),
    "foliage": (5, 8, 10, 16, 17),
    "texture": (0, 2, 13, 21),
    "dark": (6, 9, 14, 18),
}
DARKENED = (1, 12, 19, 20)  # made three stops darker, with the noise of a small sensor
FADED = (2, 10, 19, 21)  # a fifth of the contrast around their means
SAMPLES = {
    "skin": ("astronaut", "chelsea"),
    "faint": ("moon", "brick", "gravel"),
    "texture": ("grass", "motorcycle_left"),
    "dark": ("hubble_deep_field", "rocket"),
    "lettering": ("page",),
    "drawing": ("ihc",),
}
PAGES = {"lettering": ("text", "code", "table"), "screen": ("interface",) * 3,
         "drawing": ("plot", "gradient", "pattern")}  # fmt: skip


def pictures(folder: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """(kind, name, uint8 (H, W, 3)), the same on every machine but for fonts and samples."""
    from ...codec.training.data.graphics.pages import draw_page
    from ...codec.training.data.photographs import HOLD_OUT_EVERY, list_images

    rng = np.random.default_rng(SEED)
    files = list_images(folder)[::HOLD_OUT_EVERY]
    for kind, places in HELD_OUT.items():
        for i in places:
            yield kind, files[i].stem, _read(files[i])
    for i in DARKENED:
        yield "dark", f"{files[i].stem}-3EV", darkened(_read(files[i]), rng)
    for i in FADED:
        yield "faint", f"{files[i].stem}-faded", faded(_read(files[i]), rng)
    for k in range(2):
        yield "dark", f"stars-{k}", stars(rng, faint=bool(k))
    for kind, names in PAGES.items():
        for k, page in enumerate(names):
            generator = np.random.default_rng([SEED, k, *page.encode()])
            yield kind, f"{page}-{k}", draw_page(generator, SIDE, kind=page)
    yield from samples()


def samples() -> Iterator[tuple[str, str, np.ndarray]]:
    """Pictures that come with scikit-image, where it is installed, at most 576 pixels a side."""
    try:
        import skimage
    except ImportError:
        return
    root = Path(skimage.__file__).parent / "data"
    for kind, names in SAMPLES.items():
        for name in names:
            found = sorted(root.glob(f"{name}.*"))
            if found:
                yield kind, name, _read(found[0])[:576, :576]


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def darkened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An eighth of the light, and what noise a small sensor has then, mostly of photons."""
    linear = (image / np.float32(255)) ** np.float32(2.2) / 8
    dark = np.rint(255 * linear ** np.float32(1 / 2.2)).astype(np.uint8)
    return add_noise(dark, 1.5, rng, shot=0.7)


def faded(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fifth of the contrast, as fog and thin haze leave, with noise of less than a level."""
    x = image.astype(np.float32)
    mean = x.mean((0, 1))
    return add_noise(np.rint(mean + (x - mean) / 5).astype(np.uint8), 0.7, rng)


def stars(rng: np.random.Generator, faint: bool) -> np.ndarray:
    """A night sky: a gradient, 1,500 stars whose number grows as they get fainter, noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    sky = np.stack([8 + 10 * y, 10 + 9 * y, 20 + 14 * y + 4 * x], -1)
    for _ in range(1500):
        top, left = rng.integers(2, SIDE - 3, 2)
        light = min(220.0, (6 if faint else 14) * rng.pareto(1.4) + 4)
        colour = 1 + 0.15 * rng.standard_normal(3)
        width = rng.uniform(0.5, 0.9)
        near = np.exp(-((np.arange(-2, 3) - rng.uniform(-0.5, 0.5)) ** 2) / (2 * width**2))
        spot = np.outer(near, near)[..., None] * (light * colour)
        sky[top - 2 : top + 3, left - 2 : left + 3] += spot
    return add_noise(np.clip(np.rint(sky), 0, 255).astype(np.uint8), 1.0, rng)


def compare(
    image: np.ndarray, aei: PeerCodec, peers: dict[str, PeerCodec]
) -> Iterator[tuple[dict, dict[str, np.ndarray]]]:
    """For each AVIF quality, (bytes and scores by codec, pixels by codec). `peers` holds AVIF."""
    codecs = {"aei": aei, **peers}
    for quality in AVIF_QUALITIES:
        anchor = peers["AVIF"].encode(image, quality)
        files = {"AVIF": anchor}
        for name, codec in codecs.items():
            if name != "AVIF":
                files[name] = match_bytes(codec, image, len(anchor)).data
        pixels = {name: codecs[name].decode(data) for name, data in files.items()}
        scores = {name: _scores(image, pixels[name], len(files[name])) for name in files}
        yield {"avif_quality": quality, "codecs": scores}, pixels


def _scores(image: np.ndarray, back: np.ndarray, size: int) -> dict:
    from ...codec.metrics.butteraugli import butteraugli
    from ...codec.metrics.ssimulacra2 import ssimulacra2

    largest, norm = butteraugli(image, back)
    return {
        "bytes": size,
        "ssimulacra2": round(ssimulacra2(image, back), 3),
        "butteraugli": round(norm, 4),
        "butteraugli_max": round(largest, 4),
    }


def _leads(points: list[dict], peer: str, measure: str) -> list[float]:
    """Of each file, aei's value less a peer's."""
    return [p["codecs"]["aei"][measure] - p["codecs"][peer][measure] for p in points]


def summary(rows: list[dict]) -> str:
    """Per kind, of how many of its files aei is at least as good as each peer, and by how much."""
    lines = [f"{'kind':10} {'files':>5}  " + "  ".join(f"{n:>22}" for n in AGAINST)]
    for kind in sorted({r["kind"] for r in rows}):
        mine = [p for r in rows if r["kind"] == kind for p in r["points"]]
        cells = []
        for peer in AGAINST:
            lead, errors = _leads(mine, peer, "ssimulacra2"), _leads(mine, peer, "butteraugli")
            wins = sum(d >= 0 for d in lead), sum(d <= 0 for d in errors)
            cells.append(f"{wins[0]:3d} {np.mean(lead):+6.2f} {wins[1]:3d}")
        lines.append(f"{kind:10} {len(mine):5d}  " + "  ".join(f"{c:>22}" for c in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("images", type=Path, help="a training folder, whose held-out ones are used")
    parser.add_argument("--model", help="bundle to use instead of the one shipped")
    parser.add_argument("--kinds", help="only these, separated by commas")
    parser.add_argument("--pictures", type=Path, help="write the pictures to this folder")
    parser.add_argument("--crops", type=Path, help="write originals and decodes side by side here")
    parser.add_argument("-o", "--output", type=Path, required=True, help="results, JSON")
    arguments = parser.parse_args()

    from ..codecs.aei import aei_codec
    from ..codecs.peers import peer_codecs

    found, missing = peer_codecs()
    peers = {c.name: c for c in found if c.name in AGAINST}
    for name in AGAINST:
        if name not in peers:
            sys.exit(f"{name}: {missing[name]}")
    aei = aei_codec(arguments.model)
    wanted = arguments.kinds.split(",") if arguments.kinds else None
    rows = []
    for kind, name, image in pictures(arguments.images):
        if wanted and kind not in wanted:
            continue
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(arguments.pictures / f"{kind}-{name}.png")
        points = []
        for point, pixels in compare(image, aei, peers):
            points.append(point)
            if arguments.crops:
                _save_crops(arguments.crops, f"{kind}-{name}", point["avif_quality"], image, pixels)
        rows.append({"kind": kind, "name": name, "size": image.shape[:2], "points": points})
        lead = _leads(points, "AVIF", "ssimulacra2")
        print(f"{kind:10} {name:40} " + " ".join(f"{d:+6.2f}" for d in lead), file=sys.stderr)
        arguments.output.write_text(json.dumps({"pictures": rows}, indent=1) + "\n")
    print("at least as good by SSIMULACRA 2, its mean lead, at least as good by Butteraugli")
    print(summary(rows))


def _save_crops(folder: Path, name: str, quality: int, image: np.ndarray, pixels: dict) -> None:
    """Original, aei, AVIF and JPEG XL side by side: the middle 256 pixels, twice enlarged."""
    folder.mkdir(parents=True, exist_ok=True)
    top, left = ((n - 256) // 2 if n > 256 else 0 for n in image.shape[:2])
    parts = [p[top : top + 256, left : left + 256]
             for p in (image, pixels["aei"], pixels["AVIF"], pixels["JPEG XL"])]  # fmt: skip
    strip = Image.fromarray(np.concatenate(parts, 1))
    strip = strip.resize((2 * strip.width, 2 * strip.height), Image.Resampling.NEAREST)
    strip.save(folder / f"{name}-q{quality}.png")


if __name__ == "__main__":
    main()

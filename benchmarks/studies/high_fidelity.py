"""The best that aei can do, image by image, and what AVIF takes for the same SSIMULACRA 2.

python -m aei.benchmarks.studies.high_fidelity kodak -o fidelity.json

AVIF is Pillow's at its defaults and with full-size chroma, each at the lowest quality of its scale
that scores as high; where none does, its best is given, and said to fall short.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

import click
import numpy as np

from ...formats import AeiError
from ..codecs import PeerCodec
from ..codecs.aei import aei_codec
from ..codecs.peers import peer_codecs
from ..datasets import load_dataset
from ..metrics import psnr, ssimulacra2

PEERS = ("AVIF", "AVIF 4:4:4")


def point(codec: PeerCodec, image: np.ndarray, quality: float) -> dict[str, float]:
    """Quality, bytes, PSNR in dB and SSIMULACRA 2 of an image, uint8 (H, W, 3)."""
    data = codec.encode(image, quality)
    made = codec.decode(data)
    return {"quality": quality, "bytes": len(data), "psnr": psnr(image, made),
            "ssimulacra2": ssimulacra2(image, made)}  # fmt: skip


def as_good(codec: PeerCodec, image: np.ndarray, score: float) -> dict[str, float]:
    """The point of least quality that scores at least so much; the best where there is none. Takes
    scores to rise with the scale."""
    scale = codec.scale or codec.qualities
    low, high = len(scale) * 4 // 5, len(scale) - 1
    best = point(codec, image, scale[high])
    if best["ssimulacra2"] < score:
        return best
    while low < high:
        middle = (low + high) // 2
        found = point(codec, image, scale[middle])
        if found["ssimulacra2"] < score:
            low = middle + 1
        else:
            high, best = middle, found
    return best


@click.command()
@click.argument("dataset")
@click.option("-q", "--quality", default=100.0, show_default=True, help="Of aei.")
@click.option("--limit", type=click.IntRange(1))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(dataset: str, quality: float, limit: int | None, output: Path) -> None:
    """Measure, and write what is there after each image."""
    images = load_dataset(dataset, limit)
    ours, peers = aei_codec(), [codec for codec in peer_codecs()[0] if codec.name in PEERS]
    if not peers:
        raise AeiError("this Pillow has no AVIF to compare with")
    rows: list[dict] = []
    for i in range(len(images)):
        name, image = images.image(i)
        own = point(ours, image, quality)
        row = {"image": name, "aei": own}
        for codec in peers:
            found = as_good(codec, image, own["ssimulacra2"])
            found["reached"] = found["ssimulacra2"] >= own["ssimulacra2"]
            row[codec.name] = found
        rows.append(row)
        facts = {"settings": ours.settings, "images": len(rows), "summary": summary(rows),
                 "rows": rows}  # fmt: skip
        output.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        click.echo(json.dumps(row))
    click.echo(json.dumps(summary(rows), indent=1))


def summary(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Means over images by codec, and of the peers the change of bytes from them to aei, in per
    cent, geometrically over the images where they score as high."""
    found: dict[str, dict[str, float]] = {}
    for name in rows[0]:
        if name == "image":
            continue
        points = [row[name] for row in rows]
        found[name] = {
            key: mean(p[key] for p in points) for key in ("bytes", "psnr", "ssimulacra2")
        }
        if name != "aei":
            logs = [np.log(row["aei"]["bytes"] / row[name]["bytes"])
                    for row in rows if row[name]["reached"]]  # fmt: skip
            found[name] |= {"reached": len(logs), "least": min(p["ssimulacra2"] for p in points)}
            if logs:
                found[name]["aei_bytes_percent"] = 100 * float(np.exp(mean(logs)) - 1)
    return found


if __name__ == "__main__":
    main()

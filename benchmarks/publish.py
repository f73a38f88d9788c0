"""Rerun the benchmarks that the project shows, and put their figures where they are shown.

    python -m aei.benchmarks.publish [--model BUNDLE] [--only NAME] [--time] [ROOT]

Measures Kodak and CIFAR-10 (what is in the cache, or in the committed results with the same
settings and versions, is not measured again), writes docs/results/*.json and *.png below ROOT, the
project's folder, and replaces the tables of README.md that stand between `<!-- bench NAME -->` and
`<!-- bench end -->`.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from . import results as results_
from .bench import Job, bench
from .cache import Cache, default_path, image_hash
from .codecs.aei import SHIPPED
from .datasets import load_dataset
from .measures.bdrate import bd_rate, rate_at
from .metrics import DEFAULT, MEASURES
from .plots import plot
from .run import Point

KODAK = (
    "aei,aei psnr,aei effort 5,aei ms-ssim,JPEG,JPEG optimised,JPEG 4:4:4,JPEG mozjpeg,"
    "JPEG jpegli,JPEG 2000,"
    "WebP,AVIF,AVIF tune=psnr,AVIF tune=ssim,AVIF 4:4:4,HEIC,JPEG XL"
)
CIFAR10 = "aei,aei psnr,JPEG,JPEG optimised,WebP,AVIF"
IN_README = (
    "aei",
    "aei psnr",
    "aei effort 5",
    "aei ms-ssim",
    "HEIC",
    "AVIF",
    "AVIF tune=psnr",
    "WebP",
    "JPEG XL",
    "JPEG jpegli",
    "JPEG 2000",
    "JPEG optimised",
    "JPEG",
)
REPORTED = {  # published curve -> what the table calls it
    "mlicplusplus": "MLIC++",
    "cool-chic v5.0": "Cool-Chic 5",
    "paper-elic2022_mse": "ELIC",
    "vtm": "VTM (VVC's test model)",
    "cheng2020-anchor_mse": "Cheng 2020, anchor",
    "mbt2018-mean_mse": "Minnen 2018, mean and scale",
}
# Small pictures have few scales, and there are a thousand of them.
CIFAR10_METRICS = "psnr,psnr-yuv"
BY_EYE = {  # metric -> what the table calls it
    "ssimulacra2": "SSIMULACRA 2",
    "butteraugli": "Butteraugli 3-norm",
    "cvvdp": "CVVDP",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("root", type=Path, nargs="?", default=Path(), help="folder of README.md")
    parser.add_argument("--model", default=SHIPPED, help="bundle to use instead of the one shipped")
    parser.add_argument(
        "--time", action="store_true", help="time the codecs too: on an idle machine"
    )
    parser.add_argument("--only", choices=("kodak", "cifar10"), help="one data set")
    parser.add_argument("--kodak", default=KODAK, help="codecs on Kodak")
    parser.add_argument("--metrics", default=DEFAULT, help="on Kodak, as for aei bench")
    arguments = parser.parse_args()
    folder = arguments.root / "docs" / "results"
    readme = arguments.root / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, codecs in (("kodak", arguments.kodak), ("cifar10", CIFAR10)):
        if arguments.only not in (None, name):
            continue
        path = folder / f"{name}.json"
        seed(path, name)
        metrics = arguments.metrics if name == "kodak" else CIFAR10_METRICS
        job = Job(codecs, (arguments.model,), metrics=metrics)
        if arguments.time and name == "kodak":
            job.timed, job.learned = 3, True
        results = bench(name, job, None)
        if name == "cifar10":  # by image and point it would be megabytes; the curves are kept
            results |= {"bd_rate_per_image": {"images": []}}
            path.write_text(results_.to_json({**results, "points": means(results["points"])}))
        else:
            path.write_text(results_.to_json(results))
        plot(path, path.with_suffix(".png"))
        if name == "kodak":
            plot(path, folder / "kodak-images.png", "images", ("aei", "AVIF", "WebP"))
            if results["timings"]:
                plot(path, folder / "kodak-time.png", "time")
        table = kodak_table(results) if name == "kodak" else cifar10_table(results)
        text = put(text, name, table)
    readme.write_text(text, encoding="utf-8")


def seed(path: Path, dataset: str) -> None:
    """Put the points of committed results into the cache, so that codecs that did not change since
    are not run again."""
    try:
        facts, points = results_.load(path)
    except (OSError, ValueError):
        return
    images = load_dataset(dataset)
    pictures = (images.image(i) for i in range(len(images)))
    hashes = {name: image_hash(pixels) for name, pixels in pictures}
    cache = Cache(default_path())
    keys = {metric.name: m.key(metric) for m in MEASURES for metric in m.metrics}
    if facts["format"] < results_.FORMAT:  # by another implementation
        keys.pop("ssimulacra2")
    for p in points:
        identity = facts["codecs"][p.codec]["identity"]
        if p.image in hashes and not cache.get(hashes[p.image], identity, p.quality):
            values = {keys[name]: value for name, value in p.values.items() if name in keys}
            size = {"bytes": p.bytes, "payload_bytes": p.payload_bytes}
            cache.put(hashes[p.image], identity, p.quality, size | values)
    cache.close()


def means(points: list[Point]) -> list[Point]:
    """One point per codec and quality: means over the images, under the image name `mean`."""
    grouped: dict[tuple[str, float], list[Point]] = {}
    for p in points:
        grouped.setdefault((p.codec, p.quality), []).append(p)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return [
        Point(
            codec, quality, "mean", group[0].width, group[0].height,
            mean([p.bytes for p in group]), mean([p.payload_bytes for p in group]),
            {name: mean([p.value(name) for p in group]) for name in group[0].values},
        )
        for (codec, quality), group in grouped.items()
    ]  # fmt: skip


def put(text: str, name: str, table: str, page: str = "README.md") -> str:
    """`text` with another table between its markers. Raises ValueError where they are missing."""
    pattern = rf"(<!-- bench {name} -->\n).*?(<!-- bench end -->)"
    new, count = re.subn(pattern, lambda m: m[1] + table + m[2], text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{page}: no table between <!-- bench {name} --> and <!-- bench end -->")
    return new


def kodak_table(results: dict) -> str:
    """BD-rates with their intervals, and the rate at three qualities, as Markdown."""
    rows = {row["codec"]: row for row in results["bd_rate"]}
    curves = results_.curves(results["points"])
    structural = results_.curves(results["points"], "ms_ssim")

    def cell(row: dict, key: str) -> str:
        if row["codec"] == results["anchor"]:
            return "0"
        if f"{key}_interval" not in row:
            return "-"
        low, high = row[f"{key}_interval"]
        return f"{row[key]:+.1f} % ({low:.1f} to {high:.1f})"

    lines = [
        "| codec | tuned for | BD-rate, PSNR (95 % interval) | BD-rate, MS-SSIM | BD-rate, "
        "SSIMULACRA 2 | bits per pixel at 30 dB | at 35 dB | at 39 dB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in (n for n in IN_README if n in rows):
        rates = [rate_at(*curves[name], quality) for quality in (30, 35, 39)]
        shown = ["-" if rate != rate else f"{rate:.3f}" for rate in rates]
        by_metric = [cell(rows[name], key) for key in ("psnr", "ms_ssim", "ssimulacra2")]
        cells = [name, results["codecs"][name].get("tuned_for", ""), *by_metric, *shown]
        lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines) + "\n"
    for name in (n for n in curves if n.startswith("aei") and "AVIF" in curves):
        by = [bd_rate(c["AVIF"], c[name])[0] for c in (curves, structural)]
        signs = [f"{value:+.1f} %" for value in by]
        table += (
            f"\nStraight against AVIF at Pillow's default speed, {name} changes the bytes\n"
            f"by {signs[0]} at equal PSNR and by {signs[1]} at equal MS-SSIM.\n"
        )
    return table + by_eye_table(results) + reported_table(results)


def reported_table(results: dict) -> str:
    """What others reported of slower codecs, at equal PSNR, as Markdown; empty where the curves
    were not at hand."""
    curves = {name: results["published"][key] for key, name in REPORTED.items()
              if key in results["published"]}  # fmt: skip
    if not curves:
        return ""
    lines = [
        "\nReported by others, not measured here; trained for or aiming at PSNR:\n",
        "| published curve | BD-rate, PSNR, against the same JPEG | from, dB | to, dB |",
        "|---|---|---|---|",
    ]
    for name, curve in curves.items():
        low, high = curve["bd_rate_window"]
        lines.append(f"| {name} | {curve['bd_rate']:+.1f} % | {low:.1f} | {high:.1f} |")
    return "\n".join(lines) + "\n"


def by_eye_table(results: dict) -> str:
    """Bytes of each aei against each peer at equal quality as people see it, as Markdown; empty
    where no such metric was measured. Intervals and worst images are in the JSON."""
    columns = [
        (metric, window) for metric in BY_EYE for window in results["windows"].get(metric, {})
    ]
    if not columns:
        return ""
    heads = [f"{BY_EYE[metric]} {window}" for metric, window in columns]
    text = ""
    for codec in (n for n in IN_README if n.startswith("aei") and n in results["codecs"]):
        lines = [
            f"\nBytes of {codec} against others at equal quality, each image's curve by itself, "
            "mean:\n",
            "| against | tuned for | " + " | ".join(heads) + " |",
            "|---" * (len(heads) + 2) + "|",
        ]
        for other in (n for n in IN_README if n in results["codecs"] and not n.startswith("aei")):
            cells = []
            for metric, window in columns:
                found = results["windows"][metric][window].get(codec, {}).get(other)
                cells.append("-" if found is None else f"{found[0]:+.1f} %")
            tuned = results["codecs"][other].get("tuned_for", "")
            lines.append(f"| {' | '.join([other, tuned, *cells])} |")
        text += "\n".join(lines) + "\n"
    return text


def cifar10_table(results: dict) -> str:
    """Mean bytes of whole files at four qualities, and what of them are headers, as Markdown."""
    curves = results_.curves(results["points"])
    qualities = (25, 28, 31, 34)
    lines = [
        "| codec | "
        + " | ".join(f"{q} dB" for q in qualities)
        + " | of them headers | a plain grey image |",
        "|---" * (len(qualities) + 3) + "|",
    ]
    for name in (n for n in IN_README if n in curves):
        facts = results["codecs"][name]
        sizes = [rate_at(*curves[name], quality) * 32 * 32 / 8 for quality in qualities]
        shown = ["-" if size != size else f"{size:.0f}" for size in sizes]
        cells = [name, *shown, f"{facts['header_bytes']:.0f}", str(facts["grey_bytes"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

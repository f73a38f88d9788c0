"""What restoration saves: noisy, blocky, blurred, dark or pale photographs coded as they are, after
a classical method, and after a restoring network, judged by real file bytes and by PSNR against the
clean original.

    python -m aei.benchmarks.studies.restoration --bundle denoise.bundle --images 4 -o
    restoration.json

Classical methods where their packages are installed (pip install opencv-python-headless
scikit-image PyWavelets): OpenCV's non-local means (Buades et al. 2005) and scikit-image's wavelets
(BayesShrink, Chang et al. 2000), and for blur scikit-image's Wiener filter, which is told the true
kernel. For light and colour Pillow's autocontrast, and OpenCV's CLAHE (contrast limited adaptive
histogram equalisation, Zuiderveld 1994) of the lightness. Every method is given the degraded image
alone, but non-local means and the wavelets, which are told sigma where there is one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ...codec import Codec
from ...codec.pixels.quality import psnr
from ...codec.restore import Restorers
from ...codec.settings import DEFAULT_QUALITY, RESTORING
from ...codec.training.data import degrade
from ..datasets import load_dataset
from ..environment import environment
from ..measures.bdrate import bd_rate, rate_at

QUALITIES = (1, 6, 12, 20, 28, 36, 50, 75, 95)
PLAIN, RESTORED = "plain", "aei restore"
# Strengths that were best on crops of two Kodak images: of non-local means h as a share of sigma
# (of 0.3 to 1.3), and for JPEG in levels (of 2 to 8); of the Wiener filter its balance (of 0.0005
# to 0.2).
NLM_SHARE = 0.7
NLM_JPEG_H = 5.0
CUTOFF = 0.5  # per cent of the pixels at either end that autocontrast clips
WIENER_BALANCE = 0.0005

Image = np.ndarray  # uint8 (H, W, 3)


@dataclass(frozen=True)
class Case:
    """A degradation: its name, the kind that mends it, and what does it: noise of `sigma` levels;
    JPEG of a `quality`; a blur `kernel`, with noise of `sigma`; or `other`."""

    name: str
    kind: str
    sigma: float = 0.0
    quality: int = 0
    kernel: np.ndarray | None = None
    other: Callable[[Image, np.random.Generator], Image] | None = None

    def spoil(self, image: Image, rng: np.random.Generator) -> Image:
        """The degraded image."""
        if self.other is not None:
            return self.other(image, rng)
        if self.kernel is not None:
            return degrade.blur(image, self.kernel, self.sigma, rng)
        if self.quality:
            return degrade.jpeg(image, self.quality)
        return degrade.add_noise(image, self.sigma, rng)


def cases() -> list[Case]:
    """Gaussian noise, JPEG as Pillow writes it (4:2:0), and Gaussian blur with noise of one level;
    a third of the light, deep shadows and noise; two fifths of the contrast; two fifths of the
    colour, with a tint; haze that halves what is seen."""
    return [
        *(Case(f"noise {sigma}", "denoise", sigma) for sigma in (15, 25, 50)),
        *(Case(f"JPEG q {q}", "deblock", quality=q) for q in (10, 20, 40)),
        *(
            Case(f"blur {width}", "deblur", 1.0, kernel=degrade.gaussian_kernel(width))
            for width in (1, 2)
        ),
        Case("low light", "low-light", other=_dark),
        Case("low contrast", "contrast", other=lambda image, rng: degrade.flatten(image, 0.4, 140)),
        Case("faded colour", "colour", other=_faded),
        Case("haze", "haze", other=_hazy),
    ]


def _dark(image: Image, rng: np.random.Generator) -> Image:
    return degrade.darken(image, 0.33, 1.4, 2.0, rng)


def _faded(image: Image, rng: np.random.Generator) -> Image:
    return degrade.fade(image, 0.4, np.array([1.0, 0.95, 0.87]), 25, 230)


def _hazy(image: Image, rng: np.random.Generator) -> Image:
    return degrade.add_haze(image, np.full(image.shape[:2], 0.5), np.array([215, 220, 225]))


def classical(case: Case) -> dict[str, Callable[[Image], Image]]:
    """The classical methods for a case whose packages are installed, by name."""
    methods: dict[str, Callable[[Image], Image]] = {}
    if case.kind not in RESTORING:
        methods["autocontrast"] = _autocontrast
        if find_spec("cv2"):
            methods["CLAHE"] = _clahe
        return methods
    if case.kernel is not None:
        if find_spec("skimage"):
            methods["Wiener"] = partial(_wiener, kernel=case.kernel)
        return methods
    if find_spec("cv2"):
        methods["non-local means"] = partial(_non_local_means, sigma=case.sigma)
    if find_spec("skimage") and find_spec("pywt"):
        methods["wavelets"] = partial(_wavelets, sigma=case.sigma)
    return methods


def _restored(image: Image, restorers: Restorers, kind: str) -> Image:
    if kind in RESTORING:
        return np.asarray(restorers.apply(image, restore=kind).image)
    return np.asarray(restorers.apply(image, enhance=kind).image)


def _as_it_is(image: Image) -> Image:
    return image


def _non_local_means(image: Image, sigma: float) -> Image:
    import cv2

    h = NLM_SHARE * sigma or NLM_JPEG_H
    swapped = np.ascontiguousarray(image[..., ::-1])  # OpenCV has blue first
    return cv2.fastNlMeansDenoisingColored(swapped, None, h, h, 7, 21)[..., ::-1]


def _autocontrast(image: Image) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageOps

    return np.asarray(ImageOps.autocontrast(Pillow.fromarray(image), CUTOFF))


def _clahe(image: Image) -> Image:
    import cv2

    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def _wavelets(image: Image, sigma: float) -> Image:
    from skimage.restoration import denoise_wavelet

    made = denoise_wavelet(
        image / 255, sigma=sigma / 255 if sigma else None, channel_axis=-1, convert2ycbcr=True,
        method="BayesShrink", rescale_sigma=True,
    )  # fmt: skip
    return np.clip(np.rint(made * 255), 0, 255).astype(np.uint8)


def _wiener(image: Image, kernel: np.ndarray) -> Image:
    from skimage.restoration import wiener

    reach = 2 * kernel.shape[0]  # mirrored edges, so that what wraps around is not seen
    padded = np.pad(image / 255, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    made = np.stack([wiener(padded[..., c], kernel, WIENER_BALANCE) for c in range(3)], -1)
    return np.clip(np.rint(made[reach:-reach, reach:-reach] * 255), 0, 255).astype(np.uint8)


def measure(
    images: list[Image],
    chosen: list[Case],
    codec: Codec,
    restorers: Restorers | None,
    qualities: tuple[float, ...] = QUALITIES,
    say: Callable[[str], None] = print,
    jobs: int = 1,
) -> dict:
    """Every case: by method the PSNR of the image before coding, and mean bits per pixel and PSNR
    of files per quality.

    restorers: of the kinds that are to be measured, or None. Kinds without a bundle are left out
    and said so. jobs: images at a time.
    """
    found = {}
    pool = ThreadPoolExecutor(jobs)
    for case in chosen:
        methods: dict[str, Callable[[Image], Image]] = {PLAIN: _as_it_is, **classical(case)}
        if restorers is not None and case.kind in restorers.kinds():
            methods[RESTORED] = partial(_restored, restorers=restorers, kind=case.kind)
        else:
            say(f"{case.name}: no restoring bundle for {case.kind}")

        def one(numbered: tuple[int, Image], case=case, methods=methods) -> dict:
            number, clean = numbered
            spoilt = case.spoil(clean, np.random.default_rng([2026, number]))
            return {
                name: _points(codec, clean, np.ascontiguousarray(method(spoilt)), qualities)
                for name, method in methods.items()
            }

        made = list(pool.map(one, enumerate(images)))
        before = {name: [of_image[name][0] for of_image in made] for name in methods}
        points = {name: [of_image[name][1] for of_image in made] for name in methods}
        curves = {name: np.mean(rows, axis=0).T.tolist() for name, rows in points.items()}
        found[case.name] = {
            "kind": case.kind,
            "image_psnr": {name: float(np.mean(values)) for name, values in before.items()},
            "curves": {name: {"bpp": c[0], "psnr": c[1]} for name, c in curves.items()},
            "summary": summary(curves, qualities),
        }
        for line in table({case.name: found[case.name]}).splitlines()[2:]:
            say(line)
    pool.shutdown()
    return found


def _points(
    codec: Codec, clean: Image, image: Image, qualities: tuple[float, ...]
) -> tuple[float, list[tuple[float, float]]]:
    """PSNR of an image against the clean one, and bits per pixel and PSNR of its files."""
    rows = []
    for quality in qualities:
        data = codec.encode(image, quality)
        back = np.asarray(codec.decode(data))
        rows.append((8 * len(data) / clean[..., 0].size, psnr(clean, back)))
    return psnr(clean, image), rows


def summary(
    curves: dict[str, list[list[float]]], qualities: tuple[float, ...] = QUALITIES
) -> dict[str, dict[str, float | None]]:
    """By method, against coding the degraded image plainly: bytes at the best PSNR that has, at
    half a decibel and a whole one below it, and at the PSNR it has at the default quality, each as
    a share; BD-rate in per cent over the common range; and the best PSNR of all.

    At the default quality the bytes are the fewest that reach that PSNR: where every file of a
    method is better, those of the smallest. None where a method does not reach a PSNR, or ranges do
    not overlap.
    """
    bpp, quality = curves[PLAIN]
    best = max(quality)
    result = {}
    for name, curve in curves.items():
        row: dict[str, float | None] = {"best_psnr": max(curve[1])}
        for below in (0.0, 0.5, 1.0):
            share = rate_at(curve[0], curve[1], best - below) / rate_at(bpp, quality, best - below)
            row[f"bytes_at_best_less_{below:g}"] = _number(share)
        usual = float("nan")
        if DEFAULT_QUALITY in qualities:
            at = list(qualities).index(DEFAULT_QUALITY)
            usual = rate_at(curve[0], curve[1], max(quality[at], curve[1][0])) / bpp[at]
        row["bytes_at_default_quality"] = None if name == PLAIN else _number(usual)
        row["bd_rate"] = _number(bd_rate((bpp, quality), (curve[0], curve[1]))[0])
        result[name] = row
    return result


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def table(found: dict) -> str:
    """A Markdown table of `measure`'s result."""
    lines = [
        "| degraded by | method | PSNR before coding | best PSNR of files | bytes at plain "
        "coding's best PSNR | 0.5 dB below | 1 dB below | at the PSNR of plain coding at quality "
        "50 | BD-rate |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.0f} %"

    for case, facts in found.items():
        for name, row in facts["summary"].items():
            shares = [share(row[f"bytes_at_best_less_{b}"]) for b in ("0", "0.5", "1")]
            shares.append(share(row["bytes_at_default_quality"]))
            rate = "-" if row["bd_rate"] is None else f"{row['bd_rate']:+.1f} %"
            cells = [case, name, f"{facts['image_psnr'][name]:.2f}", f"{row['best_psnr']:.2f}",
                     *shares, rate]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Bytes and PSNR of degraded photographs: coded plainly, after a classical "
        "method, and restored."
    )
    parser.add_argument("--bundle", help="restoring bundle, or a folder of several")
    parser.add_argument("--model", help="coding model instead of the one shipped")
    parser.add_argument("--data", default="kodak", help="kodak, or a folder of images")
    parser.add_argument("--images", type=int, help="the first so many only")
    parser.add_argument("--cases", help="degradations, with commas: 'noise 25,JPEG q 10'")
    parser.add_argument("--threads", type=int, help="of the networks")
    parser.add_argument("--jobs", type=int, default=1, help="images at a time")
    parser.add_argument(
        "-o", "--output", type=Path, help="JSON file; its table goes beside it as .md"
    )
    arguments = parser.parse_args()
    chosen = cases()
    if arguments.cases:
        wanted = [name.strip() for name in arguments.cases.split(",")]
        chosen = [case for case in chosen if case.name in wanted]
        if len(chosen) < len(wanted):
            parser.error(f"--cases: choose from {', '.join(case.name for case in cases())}")
    dataset = load_dataset(arguments.data, arguments.images)
    images = [dataset.image(i)[1] for i in range(len(dataset))]
    codec = Codec(arguments.model, arguments.threads)
    restorers = Restorers(arguments.bundle, arguments.threads)
    found = measure(images, chosen, codec, restorers, jobs=arguments.jobs)
    print(table(found))
    if arguments.output is not None:
        results = {
            "dataset": dataset.name, "images": len(images), "qualities": QUALITIES,
            "model": f"{codec.bundle.name} {codec.bundle.fingerprint.hex()}",
            "restorers": {kind: restorers[kind].name for kind in restorers.kinds()},
            "environment": environment(), "cases": found,
        }  # fmt: skip
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        arguments.output.with_suffix(".md").write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()

"""How alike two images are: the metrics of the benchmark, by name, and other people's.

LPIPS is not among them: no package found brings its AlexNet weights along, they are downloaded at
the first use. Nor is DSSIM, of which no package was found.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..codec.metrics.butteraugli import butteraugli
from ..codec.metrics.ssimulacra2 import ssimulacra2
from ..codec.pixels.quality import MAX_PSNR, psnr
from ..formats import AeiError
from .codecs.plugins import list_of_file

YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = 161  # five scales of an 11-pixel window: (11 - 1) * 2^4 < side


def psnr_yuv(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB over Y, Cb and Cr of JFIF (BT.601, full range, not rounded), weighted 6:1:1 as is
    the custom in video coding; 100 where the images are identical."""
    difference = a.astype(np.float32) - b.astype(np.float32)
    # The offsets cancel, so the matrix is applied to the difference.
    error = np.square(difference @ YCBCR.T).mean(axis=(0, 1), dtype=np.float64)
    channels = np.minimum(MAX_PSNR, 10 * np.log10(255.0**2 / np.maximum(error, 1e-9)))
    return float(channels @ np.array([6, 1, 1]) / 8)


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Multi-scale SSIM (Wang, Simoncelli and Bovik 2003) of two uint8 (H, W, 3) images, mean of the
    channels; 11-pixel Gaussian window of sigma 1.5, valid positions only. NaN below 161 pixels a
    side.
    """
    if min(a.shape[:2]) < MS_SSIM_MIN_SIDE:
        return float("nan")
    from scipy.ndimage import correlate1d

    t = np.arange(11) - 5
    window = np.exp(-(t**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def blur(x: np.ndarray) -> np.ndarray:
        x = correlate1d(x, window, axis=0, mode="constant")[5:-5]
        return correlate1d(x, window, axis=1, mode="constant")[:, 5:-5]

    x, y = a.astype(np.float32), b.astype(np.float32)
    result = np.ones(x.shape[2])
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        mx, my = blur(x), blur(y)
        sxx, syy, sxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
        contrast = (2 * sxy + c2) / (sxx + syy + c2)
        if scale == len(MS_SSIM_WEIGHTS) - 1:
            contrast = contrast * (2 * mx * my + c1) / (mx * mx + my * my + c1)
        mean = contrast.mean(axis=(0, 1), dtype=np.float64)
        result *= np.maximum(mean, 0) ** weight
        x, y = _halve(x), _halve(y)
    return float(result.mean())


def _halve(x: np.ndarray) -> np.ndarray:
    """2x2 means; an odd side is first padded with a zero row or column on both ends, as
    pytorch-msssim does, of which the mean counts the zeros."""
    h, w = x.shape[:2]
    x = np.pad(x, ((h % 2, 0), (w % 2, 0), (0, 0)))
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return x.reshape(h, 2, w, 2, -1).mean(axis=(1, 3), dtype=np.float32)


def ms_ssim_db(value):
    """-10 log10(1 - MS-SSIM), of a number or an array."""
    return -10 * np.log10(np.maximum(1 - value, 1e-10))


class MetricError(AeiError):
    """A metric is unknown, cannot be used here, or failed."""


@dataclass(frozen=True)
class Metric:
    """What one number says. name: of its column; label: what people read; windows: ranges of values
    as they are shown, low to high, within which codecs are compared; smaller_is_better: it counts
    errors.
    """

    name: str
    label: str
    windows: tuple[tuple[float, float], ...] = ()
    smaller_is_better: bool = False

    def shown(self, value):
        """A number or an array as people read it: dB for MS-SSIM, else as it is."""
        return ms_ssim_db(value) if self.name == "ms_ssim" else value

    def quality(self, value):
        """A number or an array as something that rises with quality: the negative of an error."""
        return -value if self.smaller_is_better else self.shown(value)

    def span(self, window: tuple[float, float]) -> tuple[float, float]:
        """A window as a range of `quality`."""
        low, high = window
        return (-high, -low) if self.smaller_is_better else (low, high)


@dataclass(frozen=True)
class Measure:
    """What is computed in one go.

    name: as `--metrics` takes it. function: (original, distorted), uint8 (H, W, 3) each, to one
    value for each of `metrics`; NaN where it is not defined. identity: says what cached values
    belong to; change it whenever the values change.
    """

    name: str
    metrics: tuple[Metric, ...]
    function: Callable[[np.ndarray, np.ndarray], Iterable[float]]
    identity: str = ""

    def __call__(self, original: np.ndarray, distorted: np.ndarray) -> dict[str, float]:
        """Its values by the names of the metrics."""
        values = self.function(original, distorted)
        return {metric.name: float(value) for metric, value in zip(self.metrics, values)}

    def key(self, metric: Metric) -> str:
        """What a value is kept under."""
        return f"{metric.name} {self.identity}".strip()


def _alone(function: Callable[[np.ndarray, np.ndarray], float]):
    return lambda original, distorted: (function(original, distorted),)


_CVVDP = threading.Lock()
_CVVDP_MADE: list = []


def cvvdp(original: np.ndarray, distorted: np.ndarray) -> float:
    """ColorVideoVDP (Mantiuk and others 2024) in JOD, 10 for no visible difference, by the cvvdp
    package on its standard display (standard_4k). Raises MetricError without the package."""
    with _CVVDP:  # one at a time: the package keeps what it computes in the object
        if not _CVVDP_MADE:
            try:
                import pycvvdp
                import torch
            except ImportError:
                raise MetricError("cvvdp: needs the cvvdp package (the [cvvdp] extra)") from None
            device = torch.device("cpu")
            _CVVDP_MADE.append(pycvvdp.cvvdp(display_name="standard_4k", device=device))
        return float(_CVVDP_MADE[0].predict(distorted, original, dim_order="HWC")[0])


MEASURES = (
    Measure("psnr", (Metric("psnr", "PSNR (dB)", ((29, 40),)),), _alone(psnr)),
    Measure("psnr-yuv", (Metric("psnr_yuv", "PSNR YCbCr 6:1:1 (dB)"),), _alone(psnr_yuv)),
    Measure("ms-ssim", (Metric("ms_ssim", "MS-SSIM (dB)", ((11, 14), (14, 18))),), _alone(ms_ssim)),
    Measure(
        "ssimulacra2",
        (Metric("ssimulacra2", "SSIMULACRA 2", ((30, 50), (50, 70), (70, 85), (50, 85))),),
        _alone(ssimulacra2),
        "2",  # 1 was the ssimulacra2 package's
    ),
    Measure(
        "butteraugli",
        (
            Metric("butteraugli", "Butteraugli, 3-norm", ((0.7, 1.2), (1.2, 2.0)), True),
            Metric("butteraugli_max", "Butteraugli, largest error", ((1.5, 3.0), (3.0, 6.0)), True),
        ),
        lambda original, distorted: butteraugli(original, distorted)[::-1],
    ),
    Measure("cvvdp", (Metric("cvvdp", "CVVDP (JOD)", ((9.0, 9.5), (9.5, 9.8))),), _alone(cvvdp)),
)
DEFAULT = "psnr,psnr-yuv,ms-ssim,ssimulacra2,butteraugli"
BUILT_IN = {metric.name: metric for measure in MEASURES for metric in measure.metrics}


def choose_measures(names: str, added: Iterable[Measure] = ()) -> list[Measure]:
    """The measures of a run: those named, with commas between them, PSNR whether named or not, and
    `added`. Raises MetricError for unknown names, or one that is there twice."""
    by_name = {measure.name: measure for measure in MEASURES}
    wanted = ["psnr", *(name.strip().lower().replace("_", "-") for name in names.split(","))]
    for name in wanted:
        if name not in by_name:
            raise MetricError(f"{name!r}: no such metric; there are {', '.join(by_name)}")
    chosen = [by_name[name] for name in dict.fromkeys(wanted)] + list(added)
    columns = [metric.name for measure in chosen for metric in measure.metrics]
    for column in columns:
        if columns.count(column) > 1:
            raise MetricError(f"{column}: two metrics of that name")
    return chosen


def command_measure(name: str, template: str, smaller_is_better: bool = False) -> Measure:
    """A metric that is a command such as "butteraugli_main {original} {distorted}", given two PNG
    files and run without a shell; its value is the first number that it prints. Raises MetricError
    where a placeholder is missing; the measure raises it where the command fails."""
    for placeholder in ("{original}", "{distorted}"):
        if placeholder not in template:
            raise MetricError(f"{name}: no {placeholder} in the command {template!r}")

    def run(original: np.ndarray, distorted: np.ndarray) -> tuple[float]:
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            words = shlex.split(template)
            for placeholder, pixels in (("{original}", original), ("{distorted}", distorted)):
                path = str(Path(folder, placeholder.strip("{}") + ".png"))
                Image.fromarray(pixels).save(path, compress_level=1)
                words = [word.replace(placeholder, path) for word in words]
            try:
                result = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL)
            except OSError as error:
                raise MetricError(f"{name}: {words[0]} cannot be run ({error.strerror})") from None
        if result.returncode:
            said = result.stderr.decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else f"exit code {result.returncode}"
            raise MetricError(f"{name}: {words[0]} failed: {reason}")
        return (_first_number(name, result.stdout.decode(errors="replace")),)

    return Measure(name, (Metric(name, name, (), smaller_is_better),), run, template)


def _first_number(name: str, text: str) -> float:
    for word in text.replace(":", " ").replace("=", " ").replace(",", " ").split():
        try:
            return float(word)
        except ValueError:
            continue
    raise MetricError(f"{name}: the command printed no number")


def plugin_measures(path: Path) -> list[Measure]:
    """The list `METRICS` of Measure that a Python file defines. Raises MetricError without one."""
    found, digest = list_of_file(path, "METRICS", Measure, MetricError)
    return [Measure(m.name, m.metrics, _checked(m, path), m.identity or digest[:16]) for m in found]


def _checked(measure: Measure, path: Path):
    """A stranger's function, whose mistakes become one sentence."""

    def function(original: np.ndarray, distorted: np.ndarray) -> list[float]:
        try:
            values = [float(value) for value in measure.function(original, distorted)]
        except Exception as error:
            raise MetricError(f"{path}: {measure.name}: {type(error).__name__}: {error}") from None
        if len(values) != len(measure.metrics):
            raise MetricError(
                f"{path}: {measure.name}: {len(values)} values for {len(measure.metrics)} metrics"
            )
        return values

    return function

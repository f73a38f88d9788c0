"""SSIMULACRA 2 with NumPy alone: how alike two images look, 100 where they are identical.

The metric is Jon Sneyers' (version 2.1, https://github.com/cloudinary/ssimulacra2; thresholds
there: 90 visually lossless, 70 high quality, 50 medium, 30 low). Both images are taken to XYB at
six scales, each half the one before. Per scale and channel three maps of errors are made: of
structure (1 - SSIM without its luminance denominator), of edges that only the distorted image has,
and of edges that only the original has. Their means and 4-norms, 108 numbers, are weighted, summed
and bent.

Everything runs in bands of rows, so that memory beside the images is that of a quarter of their
pixels in float32. Borders are as in the reference program: blurring takes what lies outside as
zero, halving repeats an odd last row or column. Held against scores of the reference program in
tests/codec/search/test_ssimulacra2.py.
"""

from __future__ import annotations

import numpy as np

from .recursive_gaussian import DELAY, ScanDown, scan_in_groups
from .xyb import linear_of_srgb, xyb

SCALES = 6
MIN_SIDE = 8  # a scale below it is the last
BAND, BAND_PIXELS = 128, 1 << 19  # at a time at most: rows, an even number; and pixels
C2 = 0.0009
FACTOR = 0.9562382616834844

X, Y, B = 0, 1, 2

# [channel][scale] -> weights of the means of (structure, new edges, lost edges), then of their
# 4-norms.
WEIGHTS = np.array(
    [
        [
            [0, 0.0007376606707406586, 0, 0, 0.0007793481682867309, 0],
            [0, 0.0004371155730107379, 0,
             1.1041726426657346, 0.00066284834129271, 0.00015231632783718752],
            [0, 0.0016406437456599754, 0, 1.8422455520539298, 11.441172603757666, 0],
            [0.0007989109436015163, 0.000176816438078653, 0,
             1.8787594979546387, 10.94906990605142, 0],
            [0.0007289346991508072, 0.9677937080626833, 0,
             0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053],
            [0.0004550992113792063, 0, 0, 0.0013648766163243398, 0, 0],
        ],
        [
            [0, 0, 0, 7.466890328078848, 0, 17.445833984131262],
            [0.0006235601634041466, 0, 0,
             6.683678146179332, 0.00037724407979611296, 1.027889937768264],
            [225.20515300849274, 0, 0,
             19.213238186143016, 0.0011401524586618361, 0.001237755635509985],
            [176.39317598450694, 0, 0,
             24.43300999870476, 0.28520802612117757, 0.0004485436923833408],
            [0, 0, 0, 34.77906344483772, 44.835625328877896, 0],
            [0, 0, 0, 0, 0, 0],
        ],
        [
            [0, 0.0008680556573291698, 0, 0, 0, 0],
            [0, 0.0005313191874358747, 0, 0.00016533814161379112, 0, 0],
            [0, 0, 0, 0.0004179171803251336, 0.0017290828234722833, 0],
            [0.0020827005846636437, 0, 0, 8.826982764996862, 23.19243343998926, 0],
            [95.1080498811086, 0.9863978034400682, 0.9834382792465353,
             0.0012286405048278493, 171.2667255897307, 0.9807858872435379],
            [0, 0, 0, 0.0005130064588990679, 0, 0.00010854057858411537],
        ],
    ]
)  # fmt: skip


def ssimulacra2(original: np.ndarray, distorted: np.ndarray) -> float:
    """The score of `distorted`, both sRGB uint8 (H, W, 3) or (H, W): at most 100, without lower
    bound.

    NaN for images with a side below 8 pixels, for which the metric is not defined.
    """
    if min(original.shape[:2]) < MIN_SIDE:
        return float("nan")
    return score(weighted_sum(original, distorted))


def score(total: float) -> float:
    """From the weighted sum of errors to the score."""
    s = FACTOR * total
    s = 2.326765642916932 * s - 0.020884521182843837 * s**2 + 6.248496625763138e-05 * s**3
    return 100 - 10 * s**0.6276336467831387 if s > 0 else 100.0


def weighted_sum(original: np.ndarray, distorted: np.ndarray) -> float:
    """The weighted sum of the 108 errors, 0 for equal images; arguments as for `ssimulacra2`."""
    p, q = original, distorted
    total = 0.0
    for scale in range(SCALES):
        if min(_sides(p)) < MIN_SIDE:
            break
        # Looked at before halving, as the reference does: the last scale may be below eight.
        if scale:
            p, q = _halve(p), _halve(q)
        total += _scale_sum(p, q, WEIGHTS[:, scale])
    return total


def _band(width: int) -> int:
    """How many rows to take at a time, an even number."""
    return max(2, min(BAND, BAND_PIXELS // width // 2 * 2))


def _sides(image: np.ndarray) -> tuple[int, int]:
    """Height and width of a uint8 image (H, W, 3) or (H, W), or of linear light (3, h, w)."""
    h, w = image.shape[:2] if image.dtype == np.uint8 else image.shape[1:]
    return h, w


def _linear(image: np.ndarray, top: int, bottom: int) -> np.ndarray:
    """Linear light of some rows, float32 (3, rows, W), of either kind of image."""
    if image.dtype != np.uint8:
        return image[:, top:bottom]
    rows = image[top:bottom]
    planes = (rows,) * 3 if rows.ndim == 2 else np.moveaxis(rows, 2, 0)
    return np.stack([linear_of_srgb()[plane] for plane in planes])


def _halve(image: np.ndarray) -> np.ndarray:
    """2x2 means in linear light, float32 (3, ceil(H / 2), ceil(W / 2)); an odd last row or column
    is repeated."""
    height, width = _sides(image)
    out = np.empty((3, (height + 1) // 2, (width + 1) // 2), np.float32)
    band = _band(width)
    for top in range(0, height, band):
        rows = _linear(image, top, min(top + band, height))
        if rows.shape[1] % 2 or width % 2:
            rows = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2), (0, width % 2)), mode="edge")
        half = out[:, top // 2 : top // 2 + rows.shape[1] // 2]
        np.add(rows[:, ::2, ::2], rows[:, ::2, 1::2], out=half)
        half += rows[:, 1::2, ::2]
        half += rows[:, 1::2, 1::2]
        half *= np.float32(0.25)
    return out


def _positive_xyb(linear: np.ndarray) -> np.ndarray:
    """XYB in this metric's ranges, about 0 to 1; linear: float32 (3, rows, W), so is the result."""
    out = xyb(linear)
    out[B] -= out[Y]
    out[B] += np.float32(0.55)
    out[X] *= np.float32(14)
    out[X] += np.float32(0.42)
    out[Y] += np.float32(0.01)
    return out


def _scale_sum(p: np.ndarray, q: np.ndarray, weights: np.ndarray) -> float:
    """The weighted sum of one scale; p, q: original and distorted; weights: (3, 6)."""
    height, width = _sides(p)
    channels = [_Channel(c, weights[c]) for c in (X, Y, B) if weights[c].any()]
    band = _band(width)
    for top in range(0, height, band):
        bottom = min(top + band, height)
        a, b = (_positive_xyb(_linear(image, top, bottom)) for image in (p, q))
        for channel in channels:
            channel.feed(a[channel.index], b[channel.index], bottom == height)
    return sum(channel.weighted(height * width) for channel in channels)


class _Channel:
    """One channel of one scale: fed with bands of rows, it adds up the errors."""

    def __init__(self, index: int, weights: np.ndarray) -> None:
        self.index = index
        self._weights = weights
        self._structural = bool(weights[[0, 3]].any())
        self._sums = np.zeros((2, 3))  # of power (1, 4), kind of error
        self._down = ScanDown()
        self._waiting: list[np.ndarray] = []  # rows of p and q whose blur is not known yet

    def feed(self, p: np.ndarray, q: np.ndarray, last: bool) -> None:
        """p, q: float32 (rows, W), the next rows of original and distorted."""
        planes = [p, q]
        if self._structural:
            planes += [p * p, q * q, p * q]
        rows, width = p.shape
        # The scan along rows runs over the first axis, so columns come first there.
        stack = np.stack(planes).transpose(2, 0, 1).reshape(width, -1)
        across = scan_in_groups(stack).reshape(width, len(planes), rows).transpose(2, 1, 0)
        across = across.reshape(rows, -1)
        if last:
            across = np.concatenate([across, np.zeros((DELAY, across.shape[1]), np.float32)])
        blurred = self._down.feed(across)
        if self._waiting:
            p, q = (np.concatenate(pair) for pair in zip(self._waiting, (p, q)))
        done = len(blurred)
        self._waiting = [p[done:], q[done:]]
        self._add(p[:done], q[:done], blurred.reshape(done, len(planes), width))

    def _add(self, p: np.ndarray, q: np.ndarray, blurred: np.ndarray) -> None:
        """p, q: float32 (rows, W); blurred: (rows, 2 or 5, W)."""
        mean_p, mean_q = blurred[:, 0], blurred[:, 1]
        if self._structural:
            self._sums[:, 0] += _powers(_structure(mean_p, mean_q, *blurred[:, 2:].swapaxes(0, 1)))
        edges = np.abs(q - mean_q)
        edges += 1
        there = np.abs(p - mean_p)
        there += 1
        edges /= there
        edges -= 1
        self._sums[:, 1] += _powers(np.maximum(edges, 0))
        self._sums[:, 2] += _powers(np.maximum(np.negative(edges, out=edges), 0))

    def weighted(self, pixels: int) -> float:
        """The channel's part of the sum."""
        means = self._sums / pixels
        means[1] **= 0.25
        return float(self._weights @ means.ravel())


def _structure(
    mean_p: np.ndarray, mean_q: np.ndarray, pp: np.ndarray, qq: np.ndarray, pq: np.ndarray
) -> np.ndarray:
    """Errors of structure, float32 (rows, W), at least 0, of blurred images and products."""
    covariance = pq - mean_p * mean_q
    covariance *= 2
    covariance += C2
    variance = pp - mean_p * mean_p
    variance += qq - mean_q * mean_q
    variance += C2
    d = mean_p - mean_q
    d *= d
    np.subtract(1, d, out=d)
    d *= covariance
    d /= variance
    np.subtract(1, d, out=d)
    return np.maximum(d, 0, out=d)


def _powers(x: np.ndarray) -> tuple[float, float]:
    """Sums of x and of its fourth power."""
    first = float(x.sum(dtype=np.float64))
    square = (x * x).ravel()
    return first, float(square @ square)

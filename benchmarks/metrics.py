"""Distortion metrics, torch-free. LPIPS is not among them: no package found brings its AlexNet weights
along, they are downloaded at the first use."""

from __future__ import annotations

import numpy as np

from ..codec.pixels.quality import MAX_PSNR, psnr

YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = 161  # five scales of an 11-pixel window: (11 - 1) * 2^4 < side


def psnr_yuv(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB over Y, Cb and Cr of JFIF (BT.601, full range, not rounded), weighted 6:1:1 as is the
    custom in video coding; 100 where the images are identical."""
    difference = a.astype(np.float32) - b.astype(np.float32)
    # The offsets cancel, so the matrix is applied to the difference.
    error = np.square(difference @ YCBCR.T).mean(axis=(0, 1), dtype=np.float64)
    channels = np.minimum(MAX_PSNR, 10 * np.log10(255.0**2 / np.maximum(error, 1e-9)))
    return float(channels @ np.array([6, 1, 1]) / 8)


def ssimulacra2(a: np.ndarray, b: np.ndarray) -> float:
    """SSIMULACRA 2 of two uint8 (H, W, 3) images, 100 where they are identical, by the ssimulacra2
    package; NaN below 8 pixels a side. Over a second for a photograph of 768x512."""
    if min(a.shape[:2]) < 8:
        return float("nan")
    from ssimulacra2 import compute_ssimulacra2

    return float(compute_ssimulacra2(_file(a), _file(b)))


def _file(image: np.ndarray):
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "BMP")
    out.seek(0)
    return out


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Multi-scale SSIM (Wang, Simoncelli and Bovik 2003) of two uint8 (H, W, 3) images, mean of the
    channels; 11-pixel Gaussian window of sigma 1.5, valid positions only. NaN below 161 pixels a side.
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


# Part of what cached points depend on: raise it with every change of their values.
VERSION = 1
# What is measured of every point, and what on demand: (original, decoded) -> number.
ALWAYS = {"psnr": psnr, "psnr_yuv": psnr_yuv, "ms_ssim": ms_ssim}
ON_DEMAND = {"ssimulacra2": ssimulacra2}

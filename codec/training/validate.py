"""Rate-distortion on the held-out photographs while training: code lengths, not files.

Code lengths come from the float model's likelihoods; the benchmark of record (`aei bench`) measures
real files.
"""

from __future__ import annotations

import io
import itertools

import numpy as np
import torch
from PIL import Image

from ..pixels.quality import psnr
from .data.tensors import tensor_of_image
from .networks.latent_codec import LatentCodec

INDEXES = (0, 50, 100, 150, 200, 250)
JPEG_QUALITIES = (5, 10, 15, 25, 40, 55, 70, 80, 88, 94)


def crop_to(image: np.ndarray, multiple: int = 64, most: int = 512) -> np.ndarray:
    h, w = (min(most, n) // multiple * multiple for n in image.shape[:2])
    return image[:h, :w]


def jpeg_curve(images: list[np.ndarray]) -> tuple[list[float], list[float]]:
    """Mean bits per pixel and mean PSNR of Pillow's default JPEG, real bytes."""
    bpp, quality = [], []
    for q in JPEG_QUALITIES:
        points = []
        for image in images:
            out = io.BytesIO()
            Image.fromarray(image).save(out, "JPEG", quality=q)
            back = np.asarray(Image.open(out))
            points.append((out.tell() * 8 / image[..., 0].size, psnr(image, back)))
        bpp.append(float(np.mean([p[0] for p in points])))
        quality.append(float(np.mean([p[1] for p in points])))
    return bpp, quality


@torch.no_grad()
def model_curve(
    model: LatentCodec,
    images: list[np.ndarray],
    indexes=INDEXES,
    device: str = "cpu",
    bf16: bool = False,
) -> tuple[list[float], list[float]]:
    """Mean bits per pixel (code length) and mean PSNR per gain index; rounding, no noise. bf16:
    compute in bfloat16, as training does where that is fast."""
    bpp, quality = [], []
    for i in indexes:
        points = []
        for image in images:
            x = tensor_of_image(image, device)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                out = model(x, torch.tensor([float(i)], device=device), noisy=False)
            back = ((out["x_hat"][0] + 0.5) * 255).round().clamp(0, 255)
            bits = float(out["y_bits"] + out["z_bits"])
            points.append(
                (bits / image[..., 0].size, psnr(image, back.permute(1, 2, 0).cpu().numpy()))
            )
        bpp.append(float(np.mean([p[0] for p in points])))
        quality.append(float(np.mean([p[1] for p in points])))
    return bpp, quality


def bd_rate_to_jpeg(jpeg: tuple[list, list], curve: tuple[list, list]) -> float:
    """BD-rate in per cent (PCHIP on log rate) over the common PSNR range; NaN where undefined."""
    from bjontegaard import bd_rate

    rate, quality = curve
    if any(b <= a for a, b in itertools.pairwise(quality)):  # early on, quality may saturate
        return float("nan")
    try:
        return float(
            bd_rate(
                *jpeg, rate, quality, method="pchip", require_matching_points=False, min_overlap=0
            )
        )
    except ValueError:
        return float("nan")

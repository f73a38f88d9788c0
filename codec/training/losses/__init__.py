"""Distortions that training can minimise, and weighted sums of them.

All take x_hat and x, float (B, 3, H, W) in -0.5..0.5, and return (B,), one value per image.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...search.ssimulacra2 import PER_SQUARED_ERROR
from .butteraugli import LINE_SHARE, butteraugli_squared, window
from .butteraugli import PER_SQUARED_ERROR as BUTTERAUGLI_PER_SQUARED_ERROR
from .ssimulacra2 import ssimulacra2_sum

Distortion = Callable[[Tensor, Tensor], Tensor]
MS_SSIM_SIDE = 161  # five scales of an 11-pixel window need more


def mse(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean squared error, the loss that PSNR measures."""
    return (x_hat - x).square().mean((1, 2, 3))


def rmse(x_hat: Tensor, x: Tensor) -> Tensor:
    """Root mean squared error per image: weighs good images more than `mse` does."""
    return (mse(x_hat, x) + 1e-8).sqrt()


def l1(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean absolute error: forgives outliers, keeps edges."""
    return (x_hat - x).abs().mean((1, 2, 3))


def bce(x_hat: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy of pixels as probabilities 0..1, less its least possible value (the
    target's own entropy), so that 0 is perfect. Only for networks that end in a sigmoid."""
    p, q = (x_hat + 0.5).clamp(1e-6, 1 - 1e-6), (x + 0.5).clamp(0, 1)
    own = F.binary_cross_entropy(q.clamp(1e-6, 1 - 1e-6), q, reduction="none")
    return (F.binary_cross_entropy(p, q, reduction="none") - own).mean((1, 2, 3))


def ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al. 2003); below 161 pixels a side, where its five scales do not fit,
    1 - SSIM."""
    import pytorch_msssim

    measure = pytorch_msssim.ms_ssim if min(x.shape[2:]) >= MS_SSIM_SIDE else pytorch_msssim.ssim
    return 1 - measure(x_hat.float() + 0.5, x.float() + 0.5, data_range=1.0, size_average=False)


def ssimulacra2(x_hat: Tensor, x: Tensor) -> Tensor:
    """SSIMULACRA 2's sum of errors over PER_SQUARED_ERROR, which is about the squared error of the
    same image."""
    return ssimulacra2_sum(x_hat, x) / PER_SQUARED_ERROR


def butteraugli(x_hat: Tensor, x: Tensor) -> Tensor:
    """The square of Butteraugli's 3-norm, of a window and of some lines of its filter, over
    PER_SQUARED_ERROR, which is about the squared error of the same image."""
    return butteraugli_squared(*window(x_hat, x), share=LINE_SHARE) / BUTTERAUGLI_PER_SQUARED_ERROR


DISTORTIONS: dict[str, Distortion] = {
    "mse": mse,
    "rmse": rmse,
    "l1": l1,
    "bce": bce,
    "ms-ssim": ms_ssim,
    "ssimulacra2": ssimulacra2,
    "butteraugli": butteraugli,
}


def parse_loss(text: str) -> list[tuple[float, str]]:
    """`mse`, or a weighted sum such as `0.8*mse + 0.2*ms-ssim`, as (weight, name) pairs.

    Raises ValueError that names what is wrong.
    """
    terms = []
    for term in text.split("+"):
        match = re.fullmatch(r"\s*(?:([0-9.eE-]+)\s*\*)?\s*([a-z0-9-]+)\s*", term)
        if match is None or match[2] not in DISTORTIONS:
            known = ", ".join(DISTORTIONS)
            raise ValueError(f"loss {text!r}: give {known}, or a sum such as 0.8*mse+0.2*l1")
        try:
            weight = float(match[1]) if match[1] else 1.0
        except ValueError:
            raise ValueError(f"loss {text!r}: {match[1]!r} is not a number") from None
        if weight <= 0:
            raise ValueError(f"loss {text!r}: weights must be positive")
        terms.append((weight, match[2]))
    return terms


def distortion(text: str) -> Distortion:
    """The function a loss text names."""
    terms = parse_loss(text)

    def total(x_hat: Tensor, x: Tensor) -> Tensor:
        return torch.stack([w * DISTORTIONS[name](x_hat, x) for w, name in terms]).sum(0)

    return total

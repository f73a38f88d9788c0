"""The convolutional autoencoder of the introductory text, as a codec for 32x32 images.

Encoder: 3x3 convolutions without padding of 32, 64 and 128 channels, ReLU, 2x2 max pooling after
the first two (32 -> 30 -> 15 -> 13 -> 6 -> 4). Decoder: 3x3 "same" convolutions of 128, 64, 32
channels with ReLU, each followed by 2x upsampling, then 3 channels and a sigmoid. The latents (128,
4, 4) are scaled, rounded and coded under a factorized prior (Balle et al. 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .bounds import FactorizedDensity, rounded

SIDE = 32
STRIDE = 8
INITIAL_GAIN = 8.0
INITIAL_SCALE = 3.0  # spread of the prior before training, in quantisation steps


@dataclass(frozen=True)
class CaeConfig:
    """width: channels of the first convolution (the text has 32; the others are 2 and 4 times it).
    depth: further 3x3 "same" convolutions before each of the text's (0 is the text's network).
    quantise: round and code the latents; without it the network is the text's own, and no codec."""

    width: int = 32
    depth: int = 0
    quantise: bool = True


def _more(width: int, depth: int) -> list[nn.Module]:
    return [m for _ in range(depth) for m in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]


class ConvAutoencoder(nn.Module):
    """See the module's docstring; the interface is that of networks.LatentCodec."""

    def __init__(self, config: CaeConfig):
        super().__init__()
        self.config = config
        w, d = config.width, config.depth
        self.g_a = nn.Sequential(
            nn.Conv2d(3, w, 3), nn.ReLU(), *_more(w, d), nn.MaxPool2d(2),
            nn.Conv2d(w, 2 * w, 3), nn.ReLU(), *_more(2 * w, d), nn.MaxPool2d(2),
            nn.Conv2d(2 * w, 4 * w, 3), nn.ReLU(), *_more(4 * w, d),
        )  # fmt: skip
        self.g_s = nn.Sequential(
            nn.Conv2d(4 * w, 4 * w, 3, padding=1),
            nn.ReLU(),
            *_more(4 * w, d),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(4 * w, 2 * w, 3, padding=1),
            nn.ReLU(),
            *_more(2 * w, d),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * w, w, 3, padding=1),
            nn.ReLU(),
            *_more(w, d),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(w, 3, 3, padding=1),
            nn.Sigmoid(),
        )
        self.log_gain = nn.Parameter(torch.full((1, 4 * w, 1, 1), math.log(INITIAL_GAIN)))
        self.prior = FactorizedDensity(4 * w, INITIAL_SCALE)

    def forward(self, x: Tensor, index: Tensor, noisy: bool = True) -> dict[str, Tensor]:
        """x: (B, 3, 32, 32) in -0.5..0.5; index is not used (one rate). Returns x_hat, y_bits,
        z_bits."""
        y = self.g_a(x + 0.5)
        nothing = torch.zeros(x.shape[0], device=x.device)
        if not self.config.quantise:
            return {"x_hat": self.g_s(y).float() - 0.5, "y_bits": nothing, "z_bits": nothing}
        with torch.autocast(x.device.type, enabled=False):
            gain = self.log_gain.exp()
            y = y.float() * gain
            y_hat = rounded(y)
            seen = y + torch.rand_like(y) - 0.5 if noisy else y_hat
            bits = -self.likelihood(seen).clamp(min=1e-9).log2().sum((1, 2, 3))
            y_hat = y_hat / gain
        return {"x_hat": self.g_s(y_hat).float() - 0.5, "y_bits": bits, "z_bits": nothing}

    def likelihood(self, y: Tensor) -> Tensor:
        """Mass of y +- 1/2 under the prior of its channel. y: (B, C, h, w)."""
        c = y.shape[1]
        mass = self.prior(y.transpose(0, 1).reshape(c, 1, -1))
        return mass.reshape(c, y.shape[0], *y.shape[2:]).transpose(0, 1)

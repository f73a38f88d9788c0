"""The restoring network: a degraded image in, a clean one out, in front of a codec that stays as it
is.

For squared error the best coder of a spoilt source estimates the clean image first, as its
conditional mean, and codes that estimate as if it were the source (Dobrushin and Tsybakov 1962;
Wolf and Ziv 1970). So the network works on pixels, knows nothing of rates, and one serves every
quality and every coding model; it is trained through g_a, the prior and g_s, which are frozen, on
what the user pays: bits, and squared error against the clean image.

The network is a U-Net (Ronneberger et al. 2015) of the blocks of g_a (depthwise 3x3, pointwise), at
1/4, 1/8 and 1/16 resolution. What it changes, it changes in a 4x4 cosine transform of opponent
colours: each coefficient is scaled and moved by amounts that the U-Net chooses, a learned form of
wavelet shrinkage. So the noise itself need not pass through the U-Net to be subtracted. Both
amounts start as zero, and the transforms are trained with the rest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...restore.restorers import QUANTILES
from ...settings import ENHANCING
from .latent_codec import LAMBDA_MIDDLE, Block, LatentCodec, NetworkConfig

MULTIPLE = 16  # sides of inputs
SAMPLE = 4  # in training, statistics are taken of every so many rows and columns


@dataclass(frozen=True)
class RestoreConfig(NetworkConfig):
    """The coding network, and of the restoring one: `restorer_width` channels at 1/4 resolution
    (twice and four times as many at 1/8 and 1/16), `restorer_depth` blocks in each of its five
    stages; `enhance`: it sees statistics of the whole image too, as changes of light and colour
    need."""

    restorer_width: int = 64
    restorer_depth: int = 4
    enhance: bool = False

    @property
    def codec(self) -> NetworkConfig:
        """The coding network alone."""
        return NetworkConfig(**{f.name: getattr(self, f.name) for f in fields(NetworkConfig)})

    @property
    def margin(self) -> int:
        """Pixels around a window that its output depends on, at most: 3x3 convolutions at 1/4, 1/8
        and 1/16, and what the grid of 16 adds."""
        d = self.restorer_depth
        reach = 4 * 2 * d + 8 * 2 * d + 16 * d + MULTIPLE
        return -(-reach // MULTIPLE) * MULTIPLE


def config_of(codec: NetworkConfig, kind: str) -> RestoreConfig:
    """The configuration that restores `kind` in front of a coding network."""
    return RestoreConfig(**asdict(codec), enhance=kind in ENHANCING)


class Restorer(nn.Module):
    """Image (B, 3, H, W), sides multiples of 16, range -0.5..0.5 -> the same, restored, not
    clipped.

    statistics: (B, S, 1, 1), see `statistics_of`, of networks that enhance.
    """

    def __init__(self, c: RestoreConfig):
        super().__init__()
        w, d = c.restorer_width, c.restorer_depth

        def stage(width: int) -> nn.Sequential:
            return nn.Sequential(*[Block(width, 2 * width) for _ in range(d)])

        self.stem = nn.Conv2d(3 * 16, w, 1)
        if c.enhance:
            self.look1 = nn.Conv2d(3 * len(QUANTILES), w, 1)
            self.look2 = nn.Conv2d(w, w, 1)
        self.enhance = c.enhance
        self.down4, self.shrink8 = stage(w), nn.Conv2d(4 * w, 2 * w, 1)
        self.down8, self.shrink16 = stage(2 * w), nn.Conv2d(8 * w, 4 * w, 1)
        self.middle = stage(4 * w)
        self.grow8, self.up8 = nn.Conv2d(4 * w, 8 * w, 1), stage(2 * w)
        self.grow4, self.up4 = nn.Conv2d(2 * w, 4 * w, 1), stage(w)
        basis = cosine_basis()
        self.analysis = nn.Conv2d(3 * 16, 3 * 16, 1, bias=False)
        self.analysis.weight.data.copy_(basis[:, :, None, None])
        self.synthesis = nn.Conv2d(3 * 16, 3 * 16, 1, bias=False)
        self.synthesis.weight.data.copy_(basis.T[:, :, None, None])
        self.scale, self.shift = nn.Conv2d(w, 3 * 16, 1), nn.Conv2d(w, 3 * 16, 1)
        for layer in (self.scale, self.shift):  # so that training starts from the plain codec
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, statistics: Tensor | None = None) -> Tensor:
        cells = F.pixel_unshuffle(x, 4)
        f = self.stem(cells)
        if self.enhance:
            assert statistics is not None
            f = f + self.look2(F.leaky_relu(self.look1(statistics), 0.1))
        a = self.down4(f)
        b = self.down8(self.shrink8(F.pixel_unshuffle(a, 2)))
        c = self.middle(self.shrink16(F.pixel_unshuffle(b, 2)))
        b = self.up8(b + F.pixel_shuffle(self.grow8(c), 2))
        a = self.up4(a + F.pixel_shuffle(self.grow4(b), 2))
        change = self.analysis(cells) * self.scale(a) + self.shift(a)
        return x + F.pixel_shuffle(self.synthesis(change), 4).float()


def cosine_basis() -> Tensor:
    """The orthonormal 4x4 cosine transform of three opponent colours: (48, 48), columns in
    pixel-unshuffle order."""
    t = torch.arange(4.0)
    cosine = torch.cos(torch.pi * (t[None] + 0.5) * t[:, None] / 4) * 0.5**0.5
    cosine[0] *= 0.5**0.5
    colour = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    return torch.kron(colour / colour.norm(dim=1, keepdim=True), torch.kron(cosine, cosine))


def statistics_of(x: Tensor) -> Tensor:
    """What `restore.statistics` gives, of a batch (B, 3, H, W): (B, 3 * quantiles, 1, 1), from a
    sample of its pixels."""
    values = x[:, :, ::SAMPLE, ::SAMPLE].flatten(2).float().sort(dim=2).values
    last = values.shape[2] - 1
    places = torch.tensor([round(q * last) for q in QUANTILES], device=x.device)
    return values[:, :, places].flatten(1)[:, :, None, None]


class RestoringCodec(nn.Module):
    """The restoring network in front of a frozen codec: only the former learns."""

    def __init__(self, config: RestoreConfig, codec: LatentCodec):
        super().__init__()
        self.config = config
        self.net = Restorer(config)
        self.codec = codec.requires_grad_(False)

    def restore(self, x: Tensor) -> Tensor:
        """The restored images of a batch."""
        return self.net(x, statistics_of(x) if self.config.enhance else None)

    def forward(
        self, x: Tensor, index: Tensor, noisy: bool = True, coded: bool = True
    ) -> dict[str, Tensor]:
        """As LatentCodec.forward, with `restored` beside it; without `coded`, `restored` alone."""
        restored = self.restore(x)
        if not coded:
            return {"restored": restored}
        return {"restored": restored, **self.codec(restored, index, noisy)}


def image_cost(error: Tensor) -> Tensor:
    """Squared error of the restored image itself, at the weight that the middle quality gives it,
    in bits per pixel."""
    return LAMBDA_MIDDLE * 255.0**2 * error

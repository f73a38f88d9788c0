"""What a restoring network trains on: degraded crops beside the clean ones, and how held-out images
judge it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..pixels.quality import psnr
from . import validate
from .config import TrainConfig
from .data import photographs as data
from .data.degrade import degrade
from .data.graphics import pages as graphics
from .data.tensors import planes_of_images, tensor_of_image
from .networks.latent_codec import GAIN_LEVELS, lagrangian, lambda_of_index, loss_weight
from .networks.restorer import RestoringCodec, image_cost

INDEXES = (50, 150, 250)
CLEAN = float(GAIN_LEVELS - 1)  # the gain index whose crops are without losses of their own
HELD_OUT = 7  # in the seeds of held-out degradations, which stay the same


@dataclass
class RestoreTask:
    """A kind of degradation on crops of photographs, judged by the loss on held-out ones."""

    config: TrainConfig
    photos: data.Photographs

    def __post_init__(self) -> None:
        c = self.config
        self.held_out = [validate.crop_to(image, most=384) for image in self.photos.held_out[:8]]
        self.spoilt = [
            degrade(c.restore, image, np.random.default_rng([HELD_OUT, i]))
            for i, image in enumerate(self.held_out)
        ]
        self.pages = graphics.PagePool(c.seed, max(graphics.PAGE, c.patch), self.photos.train)
        self._plain: dict[str, float] = {}

    def describe(self) -> str:
        seen = np.mean([psnr(a, b) for a, b in zip(self.held_out, self.spoilt)])
        return (
            f"{self.config.restore}: {len(self.photos.train)} images to train on, "
            f"{len(self.held_out)} held out, {seen:.2f} dB when degraded"
        )

    def build(self, network) -> RestoringCodec:
        raise ValueError("a restoring network trains in front of a model: name it with --init-from")

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of one step, a pure function of (seed, step): degraded crops, uint8 (B, 3, H, W), gain
        indexes, and the clean crops. Those come from sources without losses, or scaled down. NumPy
        and Pillow only, see data.batch_of."""
        c = self.config
        rng = np.random.default_rng([c.seed, step])
        index = (rng.permutation(c.batch) + rng.random(c.batch)) / c.batch * (GAIN_LEVELS - 1)
        clean = [
            self.pages.crop(c.patch, step, rng, c.augment)
            if rng.random() < c.graphics
            else data.random_crop(self.photos, CLEAN, c.patch, rng, c.augment)
            for _ in index
        ]
        spoilt = [degrade(c.restore, crop, rng) for crop in clean]
        return (
            planes_of_images(spoilt),
            torch.from_numpy(index.astype(np.float32)),
            planes_of_images(clean),
        )

    @torch.no_grad()
    def validate(self, model: nn.Module) -> tuple[dict, str]:
        assert isinstance(model, RestoringCodec)
        ours = self._judge(model, model.restore)
        if not self._plain:
            self._plain = self._judge(model, lambda x: x)
        text = (
            f"  held-out loss {ours['loss']:.4f} (coded as it is {self._plain['loss']:.4f}), "
            "restored image "
            f"{ours['psnr']:.2f} dB (as it is {self._plain['psnr']:.2f}), {ours['bpp']:.3f} bpp "
            f"({self._plain['bpp']:.3f})"
        )
        return ours, text

    def _judge(self, model: RestoringCodec, restore) -> dict[str, float]:
        """Means over the held-out images and INDEXES: the loss of training with rounding instead of
        noise, the PSNR of the image before coding, bits per pixel, and the squared error of the
        image."""
        c = self.config
        rows = []
        for clean, spoilt in zip(self.held_out, self.spoilt):
            x, target = tensor_of_image(spoilt, c.device), tensor_of_image(clean, c.device)
            with torch.autocast(c.device, torch.bfloat16, enabled=bool(c.bf16)):
                restored = restore(x).float()
            error = (restored - target).square().mean()
            for i in INDEXES:
                with torch.autocast(c.device, torch.bfloat16, enabled=bool(c.bf16)):
                    out = model.codec(restored, torch.tensor([float(i)], device=c.device), False)
                lam = lambda_of_index(float(i))
                weight = loss_weight(lam, c.balance)
                bpp = float(out["y_bits"] + out["z_bits"]) / (x.shape[2] * x.shape[3])
                decoded = float((out["x_hat"] - target).square().mean())
                loss = weight * lagrangian(lam, decoded, bpp) + float(image_cost(error))
                rows.append((loss, -10 * np.log10(max(float(error), 1e-10)), bpp, float(error)))
        return dict(zip(("loss", "psnr", "bpp", "mse"), np.mean(rows, axis=0).tolist()))

"""How much around a window g_s has to see: measured when a bundle is exported."""

import numpy as np
import pytest
from conftest import synthetic_photo

torch = pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")

from aei.codec.training.export.export import restore_model
from aei.codec.training.export.margins import visible_halo
from aei.codec.training.networks.latent_codec import LatentCodec, NetworkConfig

FADING, SHARP = 1e-3, 30.0


def network(reach: float) -> LatentCodec:
    """Six 3x3 convolutions at 1/16, whose taps beside the middle are as large as `reach`."""
    torch.manual_seed(0)
    config = NetworkConfig(
        latents=16, width8=16, blocks8=1, width16=24, blocks16=6, prior_width=16, prior_blocks=1,
        hyper_latents=8, anchors=3,
    )  # fmt: skip
    basis, _ = torch.linalg.qr(torch.randn(768, 16))
    model = LatentCodec(config, basis.T.contiguous(), torch.ones(16))
    for block in (*model.g_s.blocks16, *model.g_s.blocks8):
        side = torch.ones(3, 3, dtype=torch.bool)
        side[1, 1] = False
        block.dw.weight.data[:, :, side] *= reach
    return model.eval()


def test_what_is_out_of_sight_is_left_out():
    photo = synthetic_photo(128, 192)
    assert visible_halo(network(0.0), [photo]) == 1
    assert 1 <= visible_halo(network(FADING), [photo]) <= 3
    far = network(SHARP)
    assert visible_halo(far, [photo]) == far.config.halo == 7


def test_the_shipped_margin_is_enough_for_noise(codec):
    assert visible_halo(restore_model(codec.bundle).eval(), []) <= codec.bundle.halo
    # and so for the run time, by pixels
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    tiles, whole = (codec.encode(noise, 40, tile_side=side) for side in (64, 0))
    assert len(tiles) > len(whole)
    full = np.asarray(codec.decode(tiles)).astype(int)
    part = np.asarray(codec.decode(tiles, region=(64, 64, 64, 64))).astype(int)
    differs = np.abs(part - full[64:128, 64:128])
    assert differs.max() <= 1
    assert (differs > 0).mean() < 0.01

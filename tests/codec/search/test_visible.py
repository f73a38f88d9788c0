"""What SSIMULACRA 2 sees, as the encoder counts it: gradients are right, and what shows is kept."""

from __future__ import annotations

import numpy as np
import pytest
from aei.codec.search import masking, ssimulacra2
from conftest import synthetic_photo


def photo(height: int, width: int) -> np.ndarray:
    """float32 (3, H, W) in 0..1."""
    return (synthetic_photo(height, width) / np.float32(255)).transpose(2, 0, 1).copy()


@pytest.mark.parametrize(("height", "width"), [(131, 70), (64, 64), (9, 40)])
def test_slope_is_that_of_the_sum(height, width):
    x = photo(height, width)
    scales = ssimulacra2.channels_of(x)
    rng = np.random.default_rng(1)
    x_hat = np.clip(x + rng.normal(0, 0.03, x.shape), 0.02, 0.98).astype(np.float32)
    _, gradient = ssimulacra2.slope(scales, x_hat)
    way = gradient / np.abs(gradient).max()
    more, less = (ssimulacra2.slope(scales, x_hat + s * 0.002 * way)[0] for s in (1, -1))
    expected = float((gradient * way).sum(dtype=np.float64))
    assert (more - less) / 0.004 == pytest.approx(expected, rel=0.05)


def test_the_same_image_has_no_error_and_tiny_ones_no_scale():
    x = photo(80, 70)
    total, _ = ssimulacra2.slope(ssimulacra2.channels_of(x), x)
    assert total == pytest.approx(0, abs=0.05)
    small = x[:, :7, :30]
    total, gradient = ssimulacra2.slope(ssimulacra2.channels_of(small), small + np.float32(0.1))
    assert total == 0
    assert not gradient.any()


def test_it_is_the_sum_that_models_are_trained_with():
    torch = pytest.importorskip("torch", reason="needs the [train] extra")
    from aei.codec.training.losses.ssimulacra2 import ssimulacra2_sum

    x = photo(96, 128)
    x_hat = np.clip(x + np.random.default_rng(2).normal(0, 0.02, x.shape), 0, 1).astype(np.float32)
    one, gradient = ssimulacra2.slope(ssimulacra2.channels_of(x), x_hat)
    tensor = torch.tensor(x_hat - 0.5)[None].requires_grad_()
    total = ssimulacra2_sum(tensor, torch.tensor(x - 0.5)[None])
    total.sum().backward()
    assert total.item() == pytest.approx(one, rel=2e-3)
    inside = (x_hat > 0) & (x_hat < 1)  # a clip has any slope at its corner
    difference = (gradient - tensor.grad[0].numpy())[inside]
    assert np.linalg.norm(difference) < 0.02 * np.linalg.norm(gradient)


def test_errors_show_where_it_is_flat_or_dark():
    rng = np.random.default_rng(3)
    x = np.full((1, 3, 64, 96), 0.1, np.float32)
    x[..., 32:64] += rng.normal(0, 0.1, (64, 32)).astype(np.float32)  # texture
    x[..., 64:] = -0.4  # dark
    worth = masking.worth(x, 16)
    assert worth.shape == (4, 6)
    flat, texture, dark = (worth[:, i : i + 2].mean() for i in (0, 2, 4))
    assert dark > flat > 2 * texture


def test_tuned_for_the_look_nothing_filters_it_away(codec):
    from aei.formats import parse
    from aei.formats.sections import FILTER

    image = synthetic_photo(150, 203)
    assert FILTER not in parse(codec.encode(image, quality=80)).sections
    assert codec.encode(image) != codec.encode(image, tune="psnr")
    assert codec.encode(image) == codec.encode(image, tune="ssimulacra2", effort=1)

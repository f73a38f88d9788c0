"""Butteraugli as a loss is the metric, away from borders, and can be minimised."""

import numpy as np
import pytest
from aei.codec.metrics import butteraugli as metric
from conftest import synthetic_photo

torch = pytest.importorskip("torch")

from aei.codec.training import losses
from aei.codec.training.losses.butteraugli import butteraugli_squared, error_map


def pair(size: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    original = synthetic_photo(size, size)
    rng = np.random.default_rng(size)
    wrong = original + rng.normal(0, noise, original.shape)
    return original, np.clip(np.rint(wrong), 0, 255).astype(np.uint8)


def tensor(image: np.ndarray):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 - 0.5


@pytest.mark.parametrize("noise", [2, 8])
def test_the_map_is_the_metric_s(noise):
    original, distorted = pair(96, noise)
    got = error_map(tensor(distorted), tensor(original))[0].numpy()
    want = metric.error_map(original, distorted)
    inner = (slice(24, -24),) * 2
    np.testing.assert_allclose(got[inner], want[inner], rtol=0.05, atol=0.02)


def test_it_falls_along_its_gradient():
    original, distorted = pair(64, 10)
    x, x_hat = tensor(original), tensor(distorted).requires_grad_()
    before = losses.butteraugli(x_hat, x).sum()
    before.backward()
    assert torch.isfinite(x_hat.grad).all()
    step = x_hat.grad / x_hat.grad.norm() * 0.2
    assert butteraugli_squared(x_hat - step, x).item() < butteraugli_squared(x_hat, x).item()


def test_equal_images_cost_nothing_and_have_a_gradient():
    x = tensor(pair(64, 1)[0])
    x_hat = x.clone().requires_grad_()
    value = losses.butteraugli(x_hat, x).sum()
    value.backward()
    assert value.item() < 1e-6
    assert torch.isfinite(x_hat.grad).all()

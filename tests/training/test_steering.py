"""Training along the trellis: the encoder's choice, the rate of its code words, and where their
points lie."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")

from aei.codec.exact.quantise import choose_symbols
from aei.codec.exact.symbols import reconstruct
from aei.codec.training.config import TrainConfig
from aei.codec.training.networks.latent_codec import LatentCodec
from aei.codec.training.optimisers import make_optimiser
from aei.codec.training.symbols.steering import ONE, Steering, cells
from aei.codec.training.symbols.tables import FIRST, add_trellis, levels
from golden_files import codec_of
from scipy.stats import norm
from tiny_network import TINY


def drawn(count: int, seed: int = 1):
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 30, count).astype(np.uint8)
    scale = np.array([sigma for sigma, _ in levels()])[index]
    return rng.normal(0, scale).astype(np.float32), scale.astype(np.float32), index


def rounded(residual: np.ndarray):
    points = torch.from_numpy(residual).round()
    return points, points.abs() - 0.5, points.abs() + 0.5


def test_training_and_the_encoder_choose_the_same_points():
    prior = add_trellis(codec_of("tiny").bundle.prior)
    residual, scale, index = drawn(5000)
    values, tables = choose_symbols(prior, residual.astype(np.float64), index, 14.0)
    theirs = reconstruct(prior, values, index, tables) / ONE
    before = rounded(residual)
    shape = (5, 10, 100)
    ours, low, high = Steering(14.0).steer(
        *(torch.from_numpy(a).view(shape) for a in (residual, scale)),
        *(a.view(shape) for a in before),
        learn=False,
    )
    part = index >= FIRST
    np.testing.assert_array_equal(ours.flatten()[part], theirs[part].astype(np.float32))
    for new, old in zip((ours, low, high), before):
        assert torch.equal(new.flatten()[~part], old[~part])
    assert (low <= ours.abs()).all()
    assert (ours.abs() <= high).all()


def test_other_layouts_give_the_same():
    """Residuals come out of convolutions whose channels lie last in memory."""
    residual, scale, _ = drawn(2 * 4 * 6 * 8)
    tensors = [torch.from_numpy(a).view(2, 4, 6, 8) for a in (residual, scale)]
    tensors += [a.view(2, 4, 6, 8) for a in rounded(residual)]
    plain = Steering(14.0).steer(*tensors, learn=False)
    turned = [a.contiguous(memory_format=torch.channels_last) for a in tensors]
    for a, b in zip(plain, Steering(14.0).steer(*turned, learn=False)):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shifted", [0, 1])
def test_cells_part_the_line(shifted):
    values = np.arange(-40, 41)
    low, high = cells(values, np.full(len(values), shifted), 0.67)
    half = values >= 0
    np.testing.assert_allclose(high[half][:-1], low[half][1:])
    assert low[values == 0] == -high[values == 0]
    mass = norm.cdf(high) - norm.cdf(low)
    assert mass.sum() == pytest.approx(1)


def test_points_move_to_where_the_residuals_lie():
    steering = Steering(14.0)
    scale = torch.full((20_000,), levels()[12][0])

    def off_by(steering, learn):
        """How far beyond the residuals the points of the plain quantiser's 1 lie, on average, in
        steps."""
        residual = scale * torch.randn(len(scale), generator=torch.manual_seed(3))
        points, *_ = steering.steer(residual, scale, *rounded(residual.numpy()), learn=learn)
        one = (points.abs() > 0.9) & (points.abs() < 1.5)
        return ((points - residual) * points.sign())[one].mean()

    before = off_by(steering, learn=False)
    assert before > 0.1
    for _ in range(30):
        off_by(steering, learn=True)
    assert abs(off_by(steering, learn=False)) < 0.3 * before
    other = Steering(14.0)
    other.load_state_dict(steering.state_dict())
    np.testing.assert_array_equal(other.trellis.offsets, steering.trellis.offsets)


def test_the_state_of_a_trellis_with_other_scales_is_let_go():
    steering = Steering(14.0)
    steering.load_state_dict({"seen": torch.ones(2, 2, len(levels()) - FIRST - 1, 2)})
    assert not steering.seen.any()
    assert not steering.trellis.offsets.any()


def test_a_model_pays_for_what_the_trellis_chose():
    torch.manual_seed(0)
    model = LatentCodec(TINY, 0.03 * torch.randn(16, 768), torch.ones(16))
    model.rounding = 14.0
    x, index = torch.rand(1, 3, 128, 128) - 0.5, torch.tensor([250.0])
    plain = model(x, index, noisy=False)
    model.steering = Steering(14.0)
    out = model(x, index, noisy=False)
    assert out["y_bits"] != plain["y_bits"]
    assert not torch.equal(out["x_hat"], plain["x_hat"])
    out = model(x, index)
    (out["y_bits"].sum() + out["x_hat"].square().sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model.scale_bias.anchors.grad.abs().sum() > 0


def test_muon_turns_matrices_and_leaves_the_rest_to_adamw():
    model = LatentCodec(TINY, 0.03 * torch.randn(16, 768), torch.ones(16))
    optimiser = make_optimiser(model, TrainConfig(optimiser="muon", lr=4e-3))
    kinds = {id(p): g["use_muon"] for g in optimiser.param_groups for p in g["params"]}
    assert len(kinds) == len(list(model.parameters()))
    block = model.g_a.blocks16[0]
    assert kinds[id(block.up.weight)]
    assert not kinds[id(block.dw.weight)]
    assert not kinds[id(model.g_a.klt.weight)]
    assert not kinds[id(model.gain.anchors)]
    before = model.state_dict()["g_s.stem.weight"].clone()
    out = model(torch.rand(1, 3, 128, 128) - 0.5, torch.tensor([100.0]))
    out["x_hat"].square().mean().backward()
    optimiser.step()
    assert not torch.equal(model.g_s.stem.weight, before)
